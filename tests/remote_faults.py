"""Solvers for runs on a cluster: each tells in ``$TOLD`` that it began, so that a test sees what ran, where and how often."""

from __future__ import annotations

import os
import time

import numpy as np

from harness.solvers import Solver
from sim3solve.problem import Solution, Status


def _slowly(seconds):
    def solve(problem):
        with open(os.environ["TOLD"], "a") as told:
            told.write(f"{problem.Xf.shape[0]} {os.getpid()} worker{os.environ.get('WORKER', '')}\n")
        time.sleep(seconds)
        T = np.array([[0.0, 0, 0, 0, 0, 0, 1, 1]])
        return Solution(Status.CONVERGED, T, T, 0, 0.0)

    return lambda: Solver(lambda problem, options, observe: solve(problem), arrays="numpy", devices=("cpu",))


slow = _slowly(0.7)
hang = _slowly(3600)
