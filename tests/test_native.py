"""The CPU library against the oracle, under the tolerances of harness.compare, whatever types and layouts it is given."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_runs import NATIVE, arrays_of, bits, each_kind, solve
from problem_factory import (
    LARGE,
    REFERENCE,
    SHIPPED,
    WITH_POSE,
    oracle_of,
    poisoned,
    random_case,
    run,
    shipped,
    with_options,
)  # fmt: skip

from harness.case import Case
from harness.compare import exceeded, parity
from harness.outcome import Outcome
from sim3solve.problem import Solution, Status


def fixed(examples: int) -> settings:
    return settings(derandomize=True, deadline=None, max_examples=examples)


def assert_parity(mine: Outcome, oracle: Outcome, case: Case) -> None:
    """The same status in as many steps, every yardstick under its limit, and no excuse by a lower cost."""
    assert mine.status == oracle.status
    measured = parity(mine, oracle, case)
    assert measured is not None
    assert exceeded(measured["oracle"]) == []
    assert measured["within"], measured["why"]
    assert measured["first_divergence"] is None
    assert mine.iterations == oracle.iterations
    assert math.isclose(mine.cost or 0, oracle.cost or 0, rel_tol=1e-3, abs_tol=1e-6)


def assert_no_pose(solution: Solution, status: Status) -> None:
    assert solution.status is status
    for T in (solution.T_WCf, solution.T_CkCf):
        assert T.shape == (1, 8)
        assert np.isnan(np.asarray(T)).all()


# --- parity -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*WITH_POSE, LARGE])
def test_shipped_cases_have_the_oracles_pose(name: str) -> None:
    assert_parity(run(NATIVE, shipped(name)), oracle_of(name), shipped(name))


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in (*WITH_POSE, LARGE)])
def test_shipped_cases_without_a_pose_have_the_oracles_status(name: str) -> None:
    mine, oracle = solve(shipped(name)), oracle_of(name)
    assert_no_pose(mine, Status(oracle.status))
    assert mine.iterations == oracle.iterations
    assert np.isclose(mine.cost, math.nan if oracle.cost is None else oracle.cost, rtol=1e-3, atol=1e-6, equal_nan=True)


@each_kind
@fixed(250)
@given(seed=st.integers(0, 2**32), n=st.sampled_from([31, 33, 300, 3000]), outliers=st.sampled_from([0.0, 0.1, 0.3]))
def test_random_problems_have_the_oracles_pose(kind: str, seed: int, n: int, outliers: float) -> None:
    case = random_case(kind, seed, n, outliers=outliers, pixel_border=-60.0)
    assert_parity(run(NATIVE, case), run(REFERENCE, case), case)


@each_kind
@pytest.mark.parametrize("max_iters", [1, 2])
def test_a_solve_cut_short_has_the_oracles_pose(kind: str, max_iters: int) -> None:
    case = with_options(random_case(kind, 2), max_iters=max_iters)
    mine = run(NATIVE, case)
    assert mine.status == "MAX_ITERATIONS"
    assert_parity(mine, run(REFERENCE, case), case)


@each_kind
@pytest.mark.parametrize("world", [1e3, 1e5])
def test_far_from_the_worlds_origin_nothing_is_lost(kind: str, world: float) -> None:
    """The start T_WCk^-1 T_WCf is a difference of large numbers, and one step does not yet forget where it started."""
    case = with_options(random_case(kind, 21, world=world, float_type="float64"), max_iters=1)
    assert_parity(run(NATIVE, case), run(REFERENCE, case), case)


# --- statuses ---------------------------------------------------------------------------------------------------------------------


@each_kind
@fixed(50)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 6))
def test_few_points_have_the_oracles_status(kind: str, seed: int, n: int) -> None:
    case = random_case(kind, seed, n, outliers=0.0, pixel_border=-60.0)
    mine, oracle = run(NATIVE, case), run(REFERENCE, case)
    assert mine.status == oracle.status
    if n < 3:
        assert mine.status == "TOO_FEW_MATCHES"


@fixed(200)
@given(seed=st.integers(0, 2**32), n=st.integers(3, 300), scale=st.sampled_from([1e-4, 1.0, 1e4]))
def test_points_on_a_line_fix_no_pose(seed: int, n: int, scale: float) -> None:
    case = random_case("ray_dist", seed, n, line=True)
    scaled = {name: a * np.float32(scale) if name in ("Xf", "Xk") else a for name, a in case.values.items()}
    assert_no_pose(solve(dataclasses.replace(case, values=scaled)), Status.NOT_POSITIVE_DEFINITE)


@each_kind
@pytest.mark.parametrize(
    ("name", "value"),
    [("Xf", math.nan), ("Xf", math.inf), ("target", math.nan), ("target", -math.inf), ("Qk", math.nan), ("Qk", -1.0)],
)
def test_bad_values_in_a_row_that_counts_are_reported(kind: str, name: str, value: float) -> None:
    case = random_case(kind, 3)
    arrays = arrays_of(case)
    name = {"target": "meas_k" if kind == "calib" else "Xk"}.get(name, name)
    valid = arrays["valid_opt"] & arrays["valid_meas_k"] if kind == "calib" else arrays["valid_opt"]
    spoiled = arrays[name].copy()
    spoiled[int(valid[:, 0].nonzero()[0][0])] = value
    assert solve(case).status is Status.CONVERGED
    assert_no_pose(solve(case, **{name: spoiled}), Status.NON_FINITE)


@pytest.mark.parametrize("name", ["T_WCf", "T_WCk"])
@pytest.mark.parametrize(
    ("column", "value"), [(1, math.nan), (1, math.inf), (4, math.inf), (7, 0.0), (7, -1.0), (slice(3, 7), 0.0)]
)
def test_a_pose_that_is_none_is_reported(name: str, column: Any, value: float) -> None:
    case = random_case("ray_dist", 3)
    spoiled = arrays_of(case)[name].copy()
    spoiled[0, column] = value
    assert_no_pose(solve(case, **{name: spoiled}), Status.NON_FINITE)


def test_points_that_leave_the_image_are_too_few() -> None:
    """Enough points count, but fewer than three are seen at the first pose: the cost there is stated all the same."""
    case = with_options(random_case("calib", 3), pixel_border=191.3)
    mine, oracle = run(NATIVE, case), run(REFERENCE, case)
    assert mine.status == oracle.status == "TOO_FEW_MATCHES"
    assert mine.cost == pytest.approx(oracle.cost, rel=1e-3)


# --- what must not matter ---------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 3e38])
def test_rows_that_do_not_count_change_not_one_bit(kind: str, value: float) -> None:
    case = random_case(kind, 9, pixel_border=-60.0)
    values = poisoned(dict(case.values), lambda shape: np.full(shape, value))
    solution = solve(case)
    assert solution.status is Status.CONVERGED
    assert bits(solution) == bits(solve(dataclasses.replace(case, values=values)))


@each_kind
def test_the_bits_are_the_same_in_every_run_and_for_any_number_of_threads(kind: str) -> None:
    case = random_case(kind, 15, n=30_000)
    first = bits(solve(case, threads=1))
    assert {bits(solve(case, threads=(1, 2, 3, 8)[i % 4])) for i in range(100)} == {first}
