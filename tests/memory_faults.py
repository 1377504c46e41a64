"""Solvers with one planted memory fault each (``by_chance`` has none), on the CPU: ``--solver tests/memory_faults.py:NAME``.

Each solves properly (``sim3solve.native``) and then, in C, touches what it must not; what it read goes into its pose, as it would.
"""

from __future__ import annotations

import ctypes
import os
import time
from functools import cache

import numpy as np

from harness.solvers import Solver
from sim3solve import compiler, native
from sim3solve.problem import RayDist, Solution

SOURCE = r"""
#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif
EXPORT float sim3solve_test_load_16(const float* at) {
#if defined(__x86_64__)
  __m128 four;
  // As a compiler does for a type that claims to be aligned; it must not be told apart from movups.
  __asm__ volatile("movaps (%1), %0" : "=x"(four) : "r"(at) : "memory");
  float out[4];
  _mm_storeu_ps(out, four);
  return out[0];
#else
  if (reinterpret_cast<uintptr_t>(at) % 16) abort();
  return *at;
#endif
}
EXPORT float sim3solve_test_load(const volatile float* at) { return *at; }
EXPORT void sim3solve_test_store(volatile float* at, float value) { *at = value; }
EXPORT unsigned char sim3solve_test_load_byte(const volatile unsigned char* at) { return *at; }
EXPORT float sim3solve_test_sum_of_new(int n) {
  volatile float* mine = static_cast<float*>(malloc(sizeof(float) * static_cast<size_t>(n)));
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += mine[i];  // never written
  free(const_cast<float*>(mine));
  return sum;
}
"""


_ARGUMENTS = {
    "load_16": [ctypes.c_void_p], "load": [ctypes.c_void_p], "load_byte": [ctypes.c_void_p], "sum_of_new": [ctypes.c_int],
    "store": [ctypes.c_void_p, ctypes.c_float],
}  # fmt: skip
_RESULTS = {"load_byte": ctypes.c_ubyte, "store": None}


@cache
def library() -> ctypes.CDLL:
    return ctypes.CDLL(str(compiler.shared_library(SOURCE)))


def call(name: str, *arguments):
    function = getattr(library(), f"sim3solve_test_{name}")
    function.argtypes, function.restype = _ARGUMENTS[name], _RESULTS.get(name, ctypes.c_float)
    return function(*arguments)


def _fault(action):
    """A factory of a solver that solves, then adds what ``action(problem)`` read to its position."""

    def solve(problem, options, observe) -> Solution:
        solution = native.solve(problem, options, observe)
        read = float(action(problem) or 0.0)
        for pose in (solution.T_WCf, solution.T_CkCf):
            pose[0, 0] += np.float32(read)
        return solution

    return lambda: Solver(solve, arrays="numpy", devices=("cpu",))


def _address(array) -> int:
    return array.__array_interface__["data"][0]


def _end(array) -> int:
    """One past the last byte of a tensor in C order."""
    assert array.flags.c_contiguous
    return _address(array) + array.nbytes


def _as_if_contiguous(array):
    return np.lib.stride_tricks.as_strided(array, array.shape, (array.itemsize * array.shape[1], array.itemsize))


def ignores_strides():
    """Reads Xf as if its rows lay one after another."""

    def solve(problem, options, observe):
        fields = {name: getattr(problem, name) for name in ("Xk", "T_WCf", "T_WCk", "Qk", "valid_opt")}
        return native.solve(RayDist(Xf=_as_if_contiguous(problem.Xf), **fields), options, observe)

    return Solver(solve, arrays="numpy", devices=("cpu",))


def slow_ignores_strides():
    solver = ignores_strides()

    def solve(problem, options, observe):
        time.sleep(0.15)
        return solver.solve(problem, options, observe)

    return Solver(solve, arrays="numpy", devices=("cpu",))


def four_times():
    """Raises in its first four runs, whatever the layout, and never again. ``SOLVES`` names a file with a byte for each run."""

    def solve(problem, options, observe):
        with open(os.environ["SOLVES"], "ab") as file:
            file.write(b".")
            if file.tell() <= 4:
                raise RuntimeError("not this time")
        return native.solve(problem, options, observe)

    return Solver(solve, arrays="numpy", devices=("cpu",))


def _load_16(*names):
    return lambda problem: [call("load_16", _address(getattr(problem, name))) for name in names] and 0


RANDOM = np.random.default_rng()
_aligned = np.zeros(64, dtype=np.float32)


def _needs(condition):
    """Dies of a wide load where ``condition`` does not hold: rules with more in them than one alignment."""
    start = -_address(_aligned) % 16
    return _fault(lambda problem: call("load_16", _address(_aligned) + start + (0 if condition(problem) else 4)) and 0)


aligned_load_of_Xk = _fault(_load_16("Xk"))
aligned_load = _fault(_load_16("T_WCk"))
aligned_load_of_two = _fault(_load_16("T_WCf", "T_WCk"))
aligned_32 = _needs(lambda problem: _address(problem.Xk) % 32 == 0)
one_aligned = _needs(lambda problem: _address(problem.Xf) % 16 == 0 or _address(problem.Xk) % 16 == 0)
read_past = _fault(lambda problem: call("load", _end(problem.T_WCk)) and 0)
read_before = _fault(lambda problem: call("load", _address(problem.T_WCk) - 4) and 0)
read_one_byte_past = _fault(lambda problem: call("load_byte", _end(problem.valid_opt)) * 0)
read_past_into_pose = _fault(lambda problem: call("load", _end(problem.T_WCk)))
write_past = _fault(lambda problem: call("store", _end(problem.T_WCk), 1.5))
write_before = _fault(lambda problem: call("store", _address(problem.T_WCk) - 4, 1.5))
write_input = _fault(lambda problem: call("store", _address(problem.T_WCk), 1.5))
write_far_past = _fault(lambda problem: call("store", _end(problem.T_WCk) + 40_000, 1.5))
read_gap = _fault(lambda problem: call("load", _address(problem.Xf) + 12))
read_own = _fault(lambda problem: call("sum_of_new", 50_000))
sees_poison_as_true = _fault(lambda problem: 0.5 * (call("load_byte", _end(problem.valid_opt)) != 0))
wild = _fault(lambda problem: call("load", 8) * 0)
by_chance = _fault(lambda problem: RANDOM.random())
by_chance_and_reads_past = _fault(lambda problem: RANDOM.random() + call("load", _end(problem.T_WCk)))
slow = _fault(lambda problem: time.sleep(1.2))
slow_and_reads_past = _fault(lambda problem: time.sleep(0.8) or call("load", _end(problem.T_WCk)))
