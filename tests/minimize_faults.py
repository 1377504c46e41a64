"""Solvers with one planted fault each that needs something of its input: ``--solver tests/minimize_faults.py:NAME``.

Where ``MINIMIZE_LOG`` names a file, each writes the hash of its input there first, memory and options included: what was run.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import time
from pathlib import Path

import numpy as np

from harness.errors import SolverUnavailable
from harness.solvers import Solver
from sim3solve.problem import Iteration, Solution, Status

POISON = 7654.25
"""Planted into ``Xk`` at the first coordinate."""
IDENTITY = np.array([[0.0, 0, 0, 0, 0, 0, 1, 1]])


def _log(fields, options=None):
    if os.environ.get("MINIMIZE_LOG"):
        memory = [(array.shape, array.strides, _address(array) % 512) for array in fields]
        values = b"".join(np.ascontiguousarray(array).tobytes() for array in fields)
        with open(os.environ["MINIMIZE_LOG"], "a") as file:
            file.write(hashlib.sha256(repr((memory, options)).encode() + values).hexdigest() + "\n")


def _fault(breaks):
    """Dies of a null pointer where ``breaks(problem, options)``; elsewhere it returns a wrong pose, which is another failure."""

    def solve(problem, options, observe):
        _log(vars(problem).values(), options)
        if breaks(problem, options):
            ctypes.string_at(8)
        return Solution(Status.CONVERGED, IDENTITY, IDENTITY, 0, 0.0)

    return lambda: Solver(solve, arrays="numpy", devices=("cpu",))


def _poisoned(problem):
    return int((problem.Xk[:, 0] == POISON).sum())


def _address(array):
    return array.__array_interface__["data"][0]


def _third_iteration(problem, options, observe):
    """Only an iteration that is asked for can go wrong."""
    for k in range(options.max_iters):
        observe(k, Iteration(1.0, 1.0, problem.n_points, tuple(IDENTITY[0])))
        if k == 2:
            ctypes.string_at(8)
    return Solution(Status.MAX_ITERATIONS, IDENTITY, IDENTITY, options.max_iters, 1.0)


def _slowly(problem, options):
    time.sleep(0.1)
    return _poisoned(problem) >= 1


def _rotated(problem, options, observe):
    """Solves, and turns the pose where the poison is: a wrong pose, told only by the oracle."""
    from sim3solve import reference

    solution = reference.solve(problem, options, observe)
    if _poisoned(problem) and solution.status.has_pose:
        for pose in (solution.T_WCf, solution.T_CkCf):
            pose[0, 0] += 0.3
    return solution


def _no_pose(problem, options, observe):
    """Says that the points do not fix the pose, though with the poison among them they do."""
    from sim3solve import reference

    solution = reference.solve(problem, options, observe)
    if _poisoned(problem):
        nothing = np.full((1, 8), np.nan)
        return Solution(Status.NOT_POSITIVE_DEFINITE, nothing, nothing, 1, float("nan"))
    return solution


def _op(name, operands):
    _log(operands.values())
    if (operands["X"][:, 7] == 2.5).any():
        ctypes.string_at(8)
    return operands["X"]


one_point = _fault(lambda problem, options: _poisoned(problem) >= 1)
two_points = _fault(lambda problem, options: _poisoned(problem) >= 2)
slow = _fault(_slowly)
at_least_33 = _fault(lambda problem, options: problem.n_points >= 33)
strided = _fault(lambda problem, options: problem.Xf.strides[1] != problem.Xf.itemsize)
gapped = _fault(lambda problem, options: _poisoned(problem) and problem.Xk.strides[0] == 16)
misaligned = _fault(lambda problem, options: _address(problem.Xk) % 16 == 4)
row_misaligned = _fault(lambda problem, options: any(_address(row) % 16 == 4 and row[0] == POISON for row in problem.Xk))
keyframe_pose = _fault(lambda problem, options: problem.T_WCk[0, 0] != 0)
shared = _fault(lambda problem, options: np.shares_memory(problem.Xf, problem.Xk))
sometimes = _fault(lambda problem, options: _poisoned(problem) and len(Path(os.environ["MINIMIZE_LOG"]).read_text().split()) % 3)
"""Two runs of three, not by chance: a test that fails by chance is a defect."""
two_bugs = _fault(lambda problem, options: _poisoned(problem) and (os.abort() if problem.n_points < 10 else True))
healthy = _fault(lambda problem, options: False)


def third_iteration():
    return Solver(_third_iteration, arrays="numpy", devices=("cpu",))


def wrong_pose():
    return Solver(_rotated, arrays="numpy", devices=("cpu",))


def no_pose():
    return Solver(_no_pose, arrays="numpy", devices=("cpu",))


def _residuals():
    time.sleep(0.01)


def _jacobians():
    time.sleep(0.01)


def _cholesky():
    time.sleep(0.01)


def hangs():
    """In an iteration that never ends: whoever looks finds it in another function each time."""

    def solve(problem, options, observe):
        while _poisoned(problem):
            random.choice((_residuals, _jacobians, _cholesky))()

    return Solver(solve, arrays="numpy", devices=("cpu",))


def op():
    return Solver(lambda *_: None, arrays="numpy", devices=("cpu",), op=_op)


def unavailable():
    raise SolverUnavailable("planted: not on this machine")
