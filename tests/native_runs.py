"""The CPU library as the tests run it. Skips a test module where there is no compiler; a compiler that fails is no skip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problem_factory import arrays_for

from harness import solvers
from harness.case import Case
from sim3solve import compiler, native
from sim3solve.problem import PROBLEMS, Solution

try:
    compiler.find()
except compiler.CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)

NATIVE = solvers.native()
each_kind = pytest.mark.parametrize("kind", ["ray_dist", "calib"])


def arrays_of(case: Case) -> dict[str, np.ndarray]:
    return arrays_for(NATIVE, case)


def solve(case: Case, threads: int | None = None, **changed: Any) -> Solution:
    return native.solve(PROBLEMS[case.document.kind](**arrays_of(case) | changed), case.options, threads=threads)


def bits(solution: Solution) -> tuple[Any, ...]:
    """All of a solution; NaN compares equal to itself."""
    poses = (np.asarray(solution.T_WCf).tobytes(), np.asarray(solution.T_CkCf).tobytes())
    return *poses, solution.status, solution.iterations, repr(solution.cost), solution.trace
