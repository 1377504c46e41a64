"""Solvers that leave the oracle's trace, for pictures that must show where: ``--solver tests/short_steps.py:NAME``."""

from __future__ import annotations

from collections.abc import Callable

from harness.solvers import Solver
from sim3solve import reference


def _solver(change: Callable[[int], float]) -> Solver:
    """The oracle whose step k is ``change(k)`` times as long as it should be."""

    def solve(problem, options, observe):
        right, k = reference.step, -1

        def step(normal):
            nonlocal k
            k += 1
            return change(k) * right(normal)

        reference.step = step  # this process is the solver's own
        return reference.solve(problem, options, observe)

    return Solver(solve, arrays="numpy", devices=("cpu",))


def short() -> Solver:
    """From iteration 2 on, half of each step: it creeps, and stops too soon."""
    return _solver(lambda k: 1.0 if k < 2 else 0.5)


def wild() -> Solver:
    """Every step is 2.2 times too long: it never settles."""
    return _solver(lambda k: 2.2)
