"""Specimens for any machine: functions that copy the frame's points and go wrong on the way. The shipped CPU solver goes on."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
from pathlib import Path

import numpy as np

from harness.errors import SolverUnavailable
from harness.solvers import Solver
from sim3solve import build, compiler, native
from sim3solve.problem import Options, Problem, Solution

SOURCE = Path(__file__).with_name("on_cpu.cpp")
SHOWN_AS = "tests/specimens/on_cpu.cpp"


def library(*more_flags: str, unwatched: tuple[str, ...] = ()) -> ctypes.CDLL:
    """on_cpu.cpp as a library, built for the sanitizer that this process runs under, if any. Raises ``SolverUnavailable``.

    ``unwatched`` are flags for where there is none.
    """
    flags = tuple(os.environ.get(native.FLAGS_VARIABLE, "").split()) or ("-O1", "-g", *unwatched)
    try:
        style = compiler.find().style
        flags = (*flags, *more_flags) if style == "gnu" else tuple(flag.replace("-D", "/D") for flag in more_flags)
        native.library()  # which is needed afterwards
        source = f'#line 1 "{SHOWN_AS}"\n' + SOURCE.read_text(encoding="utf-8")
        return ctypes.CDLL(str(compiler.shared_library(source, extra_flags=flags)))
    except (compiler.CompilerMissing, build.BuildError, native.NativeUnavailable) as error:
        raise SolverUnavailable(str(error)) from error


def _solver(copy, *more_flags: str, unwatched: tuple[str, ...] = ()):
    """A factory of a solver that solves with ``copy(library, Xf)`` in place of the frame's points."""

    def make() -> Solver:
        lib = library(*more_flags, unwatched=unwatched)

        def solve(problem: Problem, options: Options, observe) -> Solution:
            points = copy(lib, np.asarray(problem.Xf))
            return native.solve(dataclasses.replace(problem, Xf=points), options, observe)

        return Solver(solve, arrays="numpy", devices=("cpu",))

    return make


def _healthy(lib: ctypes.CDLL, Xf: np.ndarray) -> np.ndarray:
    copy = np.zeros_like(Xf)
    lib.sim3solve_specimen_copy(_at(Xf), _at(copy), ctypes.c_int64(Xf.size))
    return copy


def _wide_load(lib: ctypes.CDLL, Xf: np.ndarray) -> np.ndarray:
    room = np.zeros(4 * len(Xf) + 4, dtype=np.float32)
    padded = room[(-room.ctypes.data // 4) % 4 :][: 4 * len(Xf)]  # where 16 bytes may be stored: only the loads are at fault
    lib.sim3solve_specimen_wide_load(_at(Xf), _at(padded), ctypes.c_int64(len(Xf)))
    return padded.reshape(-1, 4)[:, :3]


def _past_the_end(lib: ctypes.CDLL, Xf: np.ndarray) -> np.ndarray:
    room = np.zeros((len(Xf) + 1, 3), dtype=np.float32)
    lib.sim3solve_specimen_past_the_end(_at(Xf), _at(room), ctypes.c_int64(Xf.size))
    return room[: len(Xf)]


def _uninitialised_sum(lib: ctypes.CDLL, Xf: np.ndarray) -> np.ndarray:
    for _ in range(64):  # what an application leaves behind in the heap, where the accumulator then comes to lie
        np.full(Xf.shape, 1e3, dtype=np.float32)
    copy = np.zeros_like(Xf)
    lib.sim3solve_specimen_uninitialised_sum(_at(Xf), _at(copy), ctypes.c_int64(Xf.size))
    return copy


def _long_strides(lib: ctypes.CDLL, Xf: np.ndarray) -> np.ndarray:
    copy = np.zeros(Xf.shape, dtype=np.float32)
    shape, strides = np.array(Xf.shape, dtype=np.int64), np.array(Xf.strides, dtype=np.int64)
    lib.sim3solve_specimen_long_strides(_at(Xf), _at(copy), _at(shape), _at(strides))
    return copy


def _at(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


# A processor that allows any alignment (Arm) says nothing of a wide load: there the compiler's own check stands in.
STRICT = platform.machine().lower() in ("x86_64", "amd64", "i686", "x86")
CHECKED = () if STRICT else ("-fsanitize=alignment", "-fsanitize-undefined-trap-on-error")

healthy = _solver(_healthy)
wide_load = _solver(_wide_load, unwatched=CHECKED)
past_the_end = _solver(_past_the_end)
uninitialised_sum = _solver(_uninitialised_sum)
windows_long = _solver(_long_strides, "-DLONG=int32_t")
this_long = _solver(_long_strides)
