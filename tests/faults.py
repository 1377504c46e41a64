"""Planted faults: solvers that break in one known way each. Used as ``--solver tests/faults.py:NAME``."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from harness.solvers import Solver
from sim3solve.problem import Solution, Status


def _fault(action):
    """A factory of a solver that does ``action(problem)`` instead of solving."""
    return lambda: Solver(lambda problem, options, observe: action(problem), arrays="numpy", devices=("cpu",))


def _killed(problem):
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(5)


def _illegal_instruction(problem):
    code = {"x86_64": b"\x0f\x0b", "AMD64": b"\x0f\x0b"}.get(platform.machine(), b"\x00\x00\x00\x00")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def _stack_overflow(problem):
    # Endless recursion in C: qsort calls back into Python, which calls qsort, without Python's own depth check helping.
    sys.setrecursionlimit(10**9)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    two = (ctypes.c_int * 2)(2, 1)

    @compare
    def again(a, b):
        ctypes.CDLL(None).qsort(two, 2, 4, again)
        return 0

    ctypes.CDLL(None).qsort(two, 2, 4, again)


def _fast_fail(problem):
    # What a failed security check does: glibc prints a line and aborts; Windows ends with 0xC0000409.
    libc = ctypes.CDLL(None)
    libc.__fortify_fail(b"planted fast fail") if hasattr(libc, "__fortify_fail") else libc.abort()


def _out_of_memory(problem):
    hoard = []
    while True:
        hoard.append(np.empty(1 << 25))


def _ignore_sigterm(problem):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(0.05)


def _hang_in_native_code(problem):
    ctypes.CDLL(None).pause()


def _residuals():
    time.sleep(0.01)


def _jacobians():
    time.sleep(0.01)


def _cholesky():
    time.sleep(0.01)


def _never_converge(problem):
    # As iterations do that never end: whoever looks finds it in another function each time.
    while True:
        random.choice((_residuals, _jacobians, _cholesky))()


def _leave_a_grandchild(problem):
    """A child that outlives us, and one that has left our session as well."""
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    pids = [subprocess.Popen(program, start_new_session=own).pid for own in (False, True)]
    Path("grandchildren").write_text(" ".join(map(str, pids)))
    return _pose(problem)


def _leave_a_grandchild_and_hang(problem):
    _leave_a_grandchild(problem)
    while True:
        time.sleep(0.05)


def _huge_output(problem):
    line = b"x" * 4095 + b"\n"
    for _ in range((20 << 20) // len(line)):
        os.write(1, line)
    return _pose(problem)


def _endless_output(problem):
    line = b"y" * (1 << 20)
    while True:
        os.write(2, line)


def _pose(problem):
    T = np.array([[0.0, 0, 0, 0, 0, 0, 1, 1]])
    return Solution(Status.CONVERGED, T, T, 0, 0.0)


def _nan_pose(problem):
    T = np.full((1, 8), np.nan)
    return Solution(Status.CONVERGED, T, T, 3, 1.0)


def _wrong_pose(problem):
    T = np.array([[0.3, 0, 0, 0, 0, 0, 1, 1]])
    return Solution(Status.CONVERGED, T, T, 3, 1.0)


def _raise(problem):
    raise ValueError("planted: <b>not</b> a pose")


def _cuda_message(problem):
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported")


def _overwrite_result(problem):
    # Whatever a run-away process scribbles into its result is not taken for one.
    folder = next(Path(f"/proc/self/fd/{fd}").resolve().parent for fd in (1,))
    (folder / "result.json").write_bytes(b'{"status": "CONVERGED", "T_WCf": [1, 2')
    os._exit(0)


segfault = _fault(lambda problem: ctypes.string_at(8))
abort = _fault(lambda problem: os.abort())
fast_fail = _fault(_fast_fail)
illegal_instruction = _fault(_illegal_instruction)
stack_overflow = _fault(_stack_overflow)
out_of_memory = _fault(_out_of_memory)
killed = _fault(_killed)
hang = _fault(lambda problem: time.sleep(3600))
hang_native = _fault(_hang_in_native_code)
hang_in_iterations = _fault(_never_converge)
hang_ignoring_sigterm = _fault(_ignore_sigterm)
sys_exit = _fault(lambda problem: sys.exit(0))
exit_0_without_result = _fault(lambda problem: os._exit(0))
exit_3_without_result = _fault(lambda problem: os._exit(3))
garbage_result = _fault(lambda problem: {"not": "a solution"})
garbage_file = _fault(_overwrite_result)
wrong_size = _fault(lambda problem: (np.zeros((1, 7)), np.zeros((1, 7))))
huge_output = _fault(_huge_output)
endless_output = _fault(_endless_output)
grandchild = _fault(_leave_a_grandchild)
grandchild_and_hang = _fault(_leave_a_grandchild_and_hang)
exception = _fault(_raise)
cuda_error = _fault(_cuda_message)
nan_pose = _fault(_nan_pose)
nan_pair = _fault(lambda problem: (np.full((1, 8), np.nan), np.full((1, 8), np.nan)))
wrong_pose = _fault(_wrong_pose)


def broken_factory():
    raise ImportError("planted: undefined symbol: _ZN3c104impl3cow11cow_deleterEPv")
