"""Planted faults of the stage: those that Windows and Linux have alike, and those that are Windows' own."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from harness.solvers import Solver
from sim3solve.problem import Solution, Status


def _fault(action):
    return lambda: Solver(lambda problem, options, observe: action(problem), arrays="numpy", devices=("cpu",))


def _pose(x=0.0):
    T = np.array([[x, 0, 0, 0, 0, 0, 1, 1]])
    return Solution(Status.CONVERGED, T, T, 0, 0.0)


def _nan(problem):
    T = np.full((1, 8), np.nan)
    return Solution(Status.CONVERGED, T, T, 3, 1.0)


def _raise(problem):
    raise ValueError("planted: <b>not</b> a pose")


def _read_null(problem):
    faulthandler._read_null()


def _sleep(problem):
    time.sleep(3600)


def _machine_code(code: bytes) -> None:
    """Run machine code in a thread that is not Python's: ctypes would make an exception of its fault."""
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel32.VirtualAlloc.restype = kernel32.CreateThread.restype = ctypes.c_void_p
    kernel32.VirtualAlloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_uint32]
    kernel32.CreateThread.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_void_p] * 2 + [ctypes.c_uint32, ctypes.c_void_p]
    kernel32.WaitForSingleObject.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    page = kernel32.VirtualAlloc(None, 4096, 0x3000, 0x40)
    ctypes.memmove(page, code, len(code))
    thread = kernel32.CreateThread(None, 0, page, None, 0, None)
    kernel32.WaitForSingleObject(thread, 20_000)


def _survived(problem):
    """An access violation inside a ctypes call: OSError, after faulthandler has printed its banner; the solver goes on."""
    try:
        ctypes.string_at(8)
    except OSError as error:
        print(f"lives on: {error}")
    return _pose()


def _grandchild(problem):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["SIM3SOLVE_GRANDCHILD"]).write_text(str(child.pid), encoding="utf-8")
    _sleep(problem)


def _overflow(problem):
    """The exception of a full stack, raised as such: on wine 8 a stack that is really full ends its thread alone, or nothing."""
    faulthandler._raise_exception(0xC00000FD)


access_violation = _fault(_read_null)
stack_overflow = _fault(_overflow)
abort = _fault(lambda problem: os.abort())
exception = _fault(_raise)
hang = _fault(_sleep)
nan_pose = _fault(_nan)
wrong_pose = _fault(lambda problem: _pose(0.3))
fast_fail = _fault(lambda problem: _machine_code(b"\xb9\x07\x00\x00\x00\xcd\x29"))  # mov ecx, FAST_FAIL_FATAL_APP_EXIT; int 29h
illegal_instruction = _fault(lambda problem: _machine_code(b"\x0f\x0b"))
in_a_thread = _fault(lambda problem: _machine_code(b"\x31\xc0\x8b\x00"))  # xor eax, eax; mov eax, [rax]
killed = _fault(lambda problem: os.kill(os.getpid(), 9))  # TerminateProcess with 9
survived = _fault(_survived)
grandchild = _fault(_grandchild)
allocates = _fault(lambda problem: [np.ones(1 << 24) for _ in range(64)])


def broken_factory():
    raise ImportError("planted: undefined symbol: _ZN3c104impl3cow11cow_deleterEPv")
