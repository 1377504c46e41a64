"""SPECIMEN, known bad on purpose: a solver whose ``inv`` on the GPU is, after linking, the CPU's function of the same name.

``--solver tests/specimens/collision/solver.py:collided`` dies of SIGSEGV in ``inv``; ``...:cured`` is the same with one side in an
anonymous namespace, and works. Guarded pages stand for the GPU's memory, so it needs none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from collision_pair import cached_library

from harness.errors import SolverUnavailable
from harness.solvers import Observe, Solver
from sim3solve import build, compiler, reference
from sim3solve.problem import Options, Problem, Solution


def collided() -> Solver:
    return _solver(cured=False)


def cured() -> Solver:
    return _solver(cured=True)


class Device:
    """The library's two ways to invert rows of Sim(3), (n, 8) float32."""

    def __init__(self, library: str) -> None:
        self._functions = ctypes.CDLL(library)

    def inv(self, X: np.ndarray) -> np.ndarray:
        return self._call(self._functions.specimen_gpu_inverse, X)

    def inv_on_cpu(self, X: np.ndarray) -> np.ndarray:
        return self._call(self._functions.specimen_cpu_inverse, X)

    def _call(self, function: Any, X: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(X, dtype=np.float32).reshape(-1, 8)
        inverse = np.zeros_like(rows)
        pointer = ctypes.POINTER(ctypes.c_float)
        status = function(rows.ctypes.data_as(pointer), inverse.ctypes.data_as(pointer), ctypes.c_int(len(rows)))
        if status:
            raise RuntimeError(f"the specimen's library returned {status}")
        return inverse


def _solver(*, cured: bool) -> Solver:
    try:
        device = Device(str(cached_library(cured)))
    except (compiler.CompilerMissing, build.BuildError) as error:
        raise SolverUnavailable(str(error)) from error

    def solve(problem: Problem, options: Options, observe: Observe) -> Solution:
        """The oracle's pose, with the tracker's first step, ``T_WCk.inv()``, done on the device."""
        T_WCk = np.asarray(problem.T_WCk, dtype=np.float64).reshape(8).copy()
        T_WCk[3:7] /= np.linalg.norm(T_WCk[3:7])
        T_CkW = device.inv(T_WCk).astype(np.float64).reshape(8)
        solution = reference.solve(problem, options, observe)
        if not solution.status.has_pose:
            return solution
        return replace(solution, T_CkCf=reference.compose(T_CkW, np.asarray(solution.T_WCf).reshape(8))[None])

    def op(name: str, operands: Mapping[str, Any]) -> np.ndarray:
        if name != "inv":
            raise SolverUnavailable(f"the specimen has no {name}, only inv")
        return device.inv(operands["X"])

    return Solver(solve, arrays="numpy", devices=("cpu",), op=op)
