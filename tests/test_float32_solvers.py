"""Both float32 solvers of the CPU against the oracle, under the tolerances of harness.compare: what any solver must do."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_factory import (
    LARGE,
    REFERENCE,
    SHIPPED,
    TORCH,
    WITH_POSE,
    assert_parity,
    oracle_of,
    poisoned,
    random_case,
    run,
    shipped,
    with_options,
)

from harness import solvers
from harness.case import Case
from harness.outcome import Outcome
from sim3solve import compiler


def _solvers() -> list[Any]:
    """Both, or one and the reason why the other is skipped. A compiler that is there and fails is no reason."""
    try:
        compiler.find()
    except compiler.CompilerMissing as missing:
        return [pytest.param(TORCH, id="torch"), pytest.param(None, id="native", marks=pytest.mark.skip(reason=str(missing)))]
    return [pytest.param(TORCH, id="torch"), pytest.param(solvers.native(), id="native")]


each_solver = pytest.mark.parametrize("solver", _solvers())
each_kind = pytest.mark.parametrize("kind", ["ray_dist", "calib"])


def fixed(examples: int) -> settings:
    return settings(derandomize=True, deadline=None, max_examples=examples)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_no_pose(mine: Outcome, status: str) -> None:
    """The status, and NaN in every number of both poses: never an identity."""
    assert mine.status == status
    assert mine.T_WCf is not None and mine.T_CkCf is not None
    assert all(math.isnan(x) for x in (*mine.T_WCf, *mine.T_CkCf))


def spoiled(case: Case, name: str, where: Any, value: float) -> Case:
    values = {key: a.copy() for key, a in case.values.items()}
    values[name][where] = value
    return dataclasses.replace(case, values=values)


# --- parity -----------------------------------------------------------------------------------------------------------------------


@each_solver
@pytest.mark.parametrize("name", [*WITH_POSE, LARGE])
def test_shipped_cases_have_the_oracles_pose(solver: solvers.Solver, name: str) -> None:
    assert_parity(run(solver, shipped(name)), oracle_of(name), shipped(name))


@each_solver
@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in (*WITH_POSE, LARGE)])
def test_shipped_cases_without_a_pose_have_the_oracles_status(solver: solvers.Solver, name: str) -> None:
    mine, oracle = run(solver, shipped(name)), oracle_of(name)
    assert oracle.status is not None
    assert_no_pose(mine, oracle.status)
    assert mine.iterations == oracle.iterations
    assert np.isclose(mine.cost, oracle.cost, rtol=1e-3, atol=1e-6, equal_nan=True)


@each_solver
@each_kind
@fixed(100)
@given(seed=st.integers(0, 2**32), n=st.sampled_from([31, 33, 300, 3000]), outliers=st.sampled_from([0.0, 0.1, 0.3]))
def test_random_problems_have_the_oracles_pose(solver: solvers.Solver, kind: str, seed: int, n: int, outliers: float) -> None:
    case = random_case(kind, seed, n, outliers=outliers, pixel_border=-60.0)
    assert_parity(run(solver, case), run(REFERENCE, case), case)


@each_solver
@each_kind
@pytest.mark.parametrize("max_iters", [1, 2])
def test_a_solve_cut_short_has_the_oracles_pose(solver: solvers.Solver, kind: str, max_iters: int) -> None:
    case = with_options(random_case(kind, 2), max_iters=max_iters)
    mine = run(solver, case)
    assert mine.status == "MAX_ITERATIONS"
    assert_parity(mine, run(REFERENCE, case), case)


@each_solver
@each_kind
@pytest.mark.parametrize("world", [1e3, 1e5])
def test_far_from_the_worlds_origin_nothing_is_lost(solver: solvers.Solver, kind: str, world: float) -> None:
    """The start T_WCk^-1 T_WCf is a difference of large numbers, and one step does not yet forget where it started."""
    case = with_options(random_case(kind, 21, world=world, float_type="float64"), max_iters=1)
    assert_parity(run(solver, case), run(REFERENCE, case), case)


# --- statuses ---------------------------------------------------------------------------------------------------------------------


@each_solver
@each_kind
@fixed(50)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 6))
def test_few_points_have_the_oracles_status(solver: solvers.Solver, kind: str, seed: int, n: int) -> None:
    case = random_case(kind, seed, n, outliers=0.0, pixel_border=-60.0)
    mine, oracle = run(solver, case), run(REFERENCE, case)
    assert mine.status == oracle.status
    if n < 3:
        assert mine.status == "TOO_FEW_MATCHES"


@each_solver
@fixed(80)
@given(seed=st.integers(0, 2**32), n=st.integers(3, 300), scale=st.sampled_from([1e-4, 1.0, 1e4]))
def test_points_on_a_line_fix_no_pose(solver: solvers.Solver, seed: int, n: int, scale: float) -> None:
    case = random_case("ray_dist", seed, n, line=True)
    scaled = {name: a * np.float32(scale) if name in ("Xf", "Xk") else a for name, a in case.values.items()}
    assert_no_pose(run(solver, dataclasses.replace(case, values=scaled)), "NOT_POSITIVE_DEFINITE")


@each_solver
@each_kind
@pytest.mark.parametrize(
    ("name", "value"),
    [("Xf", math.nan), ("Xf", math.inf), ("target", math.nan), ("target", -math.inf), ("Qk", math.nan), ("Qk", -1.0)],
)
def test_bad_values_in_a_row_that_counts_are_reported(solver: solvers.Solver, kind: str, name: str, value: float) -> None:
    case = random_case(kind, 3)
    name = {"target": "meas_k" if kind == "calib" else "Xk"}.get(name, name)
    valid = case.values["valid_opt"][:, 0] & (case.values["valid_meas_k"][:, 0] if kind == "calib" else True)
    assert run(solver, case).status == "CONVERGED"
    assert_no_pose(run(solver, spoiled(case, name, int(valid.nonzero()[0][0]), value)), "NON_FINITE")


@each_solver
@pytest.mark.parametrize("name", ["T_WCf", "T_WCk"])
@pytest.mark.parametrize(
    ("column", "value"), [(1, math.nan), (1, math.inf), (4, math.inf), (7, 0.0), (7, -1.0), (slice(3, 7), 0.0)]
)
def test_a_pose_that_is_none_is_reported(solver: solvers.Solver, name: str, column: Any, value: float) -> None:
    assert_no_pose(run(solver, spoiled(random_case("ray_dist", 3), name, (0, column), value)), "NON_FINITE")


# --- what must not matter ---------------------------------------------------------------------------------------------------------


@each_solver
@each_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 3e38])
def test_rows_that_do_not_count_change_not_one_bit(solver: solvers.Solver, kind: str, value: float) -> None:
    case = random_case(kind, 9, pixel_border=-60.0)
    mine = run(solver, case)
    assert mine.status == "CONVERGED"
    assert run(solver, dataclasses.replace(case, values=poisoned(dict(case.values), lambda shape: np.full(shape, value)))) == mine
