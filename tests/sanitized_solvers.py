"""Solvers for ``--tool asan`` and ``ubsan``: a user's, with a library of its own, and the shipped one with a fault planted."""

from __future__ import annotations

import ctypes
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.solvers import Solver
from sim3solve import compiler, native
from sim3solve.build import inline_sources
from sim3solve.problem import Options, Problem, Solution

LIBRARY = "TEST_LIBRARY"
"""The user's library, built beforehand by the test."""
READ = "const float* row = view.data + i * view.row;"
PLANTED = {
    "a_row_too_far": "const float* row = view.data + (i + 1) * view.row;",
    "a_wide_load": READ + " x[0] = float(*reinterpret_cast<const double*>(row));",
}  # fmt: skip


def _with_library(call: str) -> Callable[[], Solver]:
    """A user's solver: it hands the points to a function of its library, then solves as the shipped one does."""

    def make() -> Solver:
        library = ctypes.CDLL(os.environ[LIBRARY])

        def solve(problem: Problem, options: Options, observe: object) -> Solution:
            Xf = np.asarray(problem.Xf)
            getattr(library, call)(ctypes.c_void_p(Xf.ctypes.data), ctypes.c_int64(Xf.size))
            return native.solve(problem, options)

        return Solver(solve, arrays="numpy", devices=("cpu",))

    return make


user_is_fine = _with_library("user_is_fine")
user_reads_past_the_end = _with_library("user_reads_past_the_end")
user_writes_past_its_own = _with_library("user_writes_past_its_own")
user_uses_freed = _with_library("user_uses_freed")
user_stores_misaligned = _with_library("user_stores_misaligned")
user_overflows_an_int = _with_library("user_overflows_an_int")
user_dereferences_null = _with_library("user_dereferences_null")


def _planted(fault: str) -> Callable[[], Solver]:
    def make() -> Solver:
        source = inline_sources("host.cpp")
        assert source.count(READ) == 1
        flags = tuple(shlex.split(os.environ.get(native.FLAGS_VARIABLE, "")))
        library = native.load(compiler.shared_library(source.replace(READ, PLANTED[fault]), extra_flags=flags))
        return Solver(
            lambda problem, options, observe: native.solve(problem, options, using=library), arrays="numpy", devices=("cpu",)
        )

    return make


a_row_too_far = _planted("a_row_too_far")
a_wide_load = _planted("a_wide_load")


def user_brings_another() -> Solver:
    """Beside the library that is built for the tool, one that is not."""
    ctypes.CDLL(os.environ[LIBRARY].replace("asan", "none"))
    return user_is_fine()


def native_wrapped() -> Solver:
    """The shipped solver under another name: the harness built it for the tool, and nothing here is the user's."""
    return Solver(lambda problem, options, observe: native.solve(problem, options), arrays="numpy", devices=("cpu",))


def oracle_alone() -> Solver:
    """Nothing but NumPy: no code of it is built for any tool."""
    from sim3solve import reference

    return Solver(reference.solve, arrays="numpy", devices=("cpu",))


def library_source(path: Path) -> Path:
    """The user's library, in a file of its own. The line of each fault ends in its name."""
    path.write_text(
        """#include <stdint.h>
#include <stdlib.h>
#include <string.h>

volatile float sink;
volatile int32_t number = INT32_MAX;

void user_is_fine(const float* x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        sink += x[i];
}

void user_reads_past_the_end(const float* x, int64_t n) {
    for (int64_t i = 0; i <= n; i++)
        sink += x[i]; // user_reads_past_the_end
}

void user_writes_past_its_own(const float* x, int64_t n) {
    float* copy = malloc(10 * sizeof(float));
    memcpy(copy, x, 44); // user_writes_past_its_own
    sink = copy[0];
    free(copy);
}

void user_uses_freed(const float* x, int64_t n) {
    float* copy = malloc(40);
    copy[1] = x[0];
    free(copy);
    sink = copy[1]; // user_uses_freed
}

void user_stores_misaligned(const float* x, int64_t n) {
    char* room = malloc(64);
    *(double*)(room + 4) = 1.0; // user_stores_misaligned
    sink = room[4];
    free(room);
}

void user_overflows_an_int(const float* x, int64_t n) {
    number = number + 1; // user_overflows_an_int
}

void user_dereferences_null(const float* x, int64_t n) {
    volatile float* nowhere = (volatile float*)(n - n);
    sink = nowhere[0]; // user_dereferences_null
}
""",
        encoding="utf-8",
    )
    return path
