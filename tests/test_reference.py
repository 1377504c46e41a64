"""The oracle against numerical derivatives, scipy.optimize.least_squares and upstream's stopping rule."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_factory import (
    WITH_POSE,
    independent_residuals,
    median_depth,
    optimum_of,
    pose_of,
    problem_of,
    random_case,
    shipped,
    with_options,
)  # fmt: skip
from scipy.optimize import least_squares

from harness.case import Case
from harness.compare import pose_error
from sim3solve import reference
from sim3solve.problem import Iteration, Status

FIXED = settings(derandomize=True, deadline=None, max_examples=20)
KINDS = ["ray_dist", "calib"]
each_kind = pytest.mark.parametrize("kind", KINDS)


def points_of(case: Case) -> tuple[reference.Points, np.ndarray]:
    """The points that count and a pose some way off the optimum, where residuals are large and of both signs."""
    points, T_WCf, T_WCk = reference.select(problem_of(case))
    return points, reference.compose(reference.inverse(T_WCk), T_WCf)


def moved(T: np.ndarray, axis: int, h: float) -> np.ndarray:
    delta = np.zeros(7)
    delta[axis] = h
    return reference.compose(reference.exp(delta), T)


def derivative(f: Any, h: float) -> np.ndarray:
    """Central differences of f(axis, h) along the seven axes, the error of order h^2 taken out (Richardson)."""
    columns = []
    for axis in range(7):
        coarse, fine = ((f(axis, s) - f(axis, -s)) / (2 * s) for s in (h, h / 2))
        columns.append((4 * fine - coarse) / 3)
    return np.stack(columns, axis=-1)


@each_kind
@FIXED
@given(seed=st.integers(0, 2**32))
def test_jacobians_are_the_derivatives_through_a_left_update(kind: str, seed: int) -> None:
    case = random_case(kind, seed, n=25, outliers=0.0, pixel_border=-2000.0)  # so wide that no point leaves within a step
    points, T = points_of(case)
    rows = reference.ray_dist_rows if kind == "ray_dist" else reference.calib_rows
    r, J, s = rows(points, T, case.options)
    numerical = derivative(lambda axis, h: rows(points, moved(T, axis, h), case.options)[0], 3e-4)
    size = np.abs(J).max(axis=2, keepdims=True)  # row by row: pixels and log depths differ a thousandfold
    assert (np.abs(numerical - J) < 1e-7 * size).all()
    assert r.shape == s.shape == (len(points.Xf), 4 if kind == "ray_dist" else 3)
    assert (np.abs(J).max(axis=(0, 1)) > 0).all()  # every axis is felt by some row


@pytest.mark.parametrize("case", [random_case("ray_dist", 5), random_case("calib", 6), shipped("real-fr1-desk-0-8-ray")])
def test_g_is_the_gradient_of_the_huber_objective(case: Case) -> None:
    points, T = points_of(case)
    normal = reference.linearize(points, T, case.options)
    gradient = derivative(lambda axis, h: np.array(reference.linearize(points, moved(T, axis, h), case.options).objective), 1e-6)
    # A component that changes from square to linear inside the step has no third derivative: hence not 1e-9.
    assert np.abs(normal.g - gradient).max() < 1e-5 * np.abs(normal.g).max()
    assert np.array_equal(normal.H, normal.H.T)


@each_kind
def test_the_sums_are_those_of_the_definition(kind: str) -> None:
    case = random_case(kind, 8, n=400, outliers=0.3)
    points, T = points_of(case)
    r, J, s = (reference.ray_dist_rows if kind == "ray_dist" else reference.calib_rows)(points, T, case.options)
    H, g, cost, objective, k = np.zeros((7, 7)), np.zeros(7), 0.0, 0.0, case.options.huber
    linear = 0
    for i, c in np.ndindex(r.shape):
        a = abs(s[i, c] * r[i, c])
        w = 1.0 if a < k else k / a
        linear += a >= k
        H += w * s[i, c] ** 2 * np.outer(J[i, c], J[i, c])
        g += w * s[i, c] ** 2 * J[i, c] * r[i, c]
        cost += 0.5 * w * a * a
        objective += 0.5 * a * a if a < k else k * (a - 0.5 * k)
    normal = reference.linearize(points, T, case.options)
    assert 20 < linear < r.size - 20
    assert normal.n_matches == len(r)
    assert np.allclose(normal.H, H, rtol=1e-12, atol=1e-12 * np.abs(H).max())
    assert np.allclose(normal.g, g, rtol=1e-11, atol=1e-12 * np.abs(g).max())
    assert math.isclose(normal.cost, cost, rel_tol=1e-12)
    assert math.isclose(normal.objective, objective, rel_tol=1e-12)


# --- the optimum ------------------------------------------------------------------------------------------------------------------


def scipys_optimum(residuals: Any, x0: np.ndarray, huber: float) -> Any:
    x0 = np.round(x0, 9)  # scipy's first trust region is |x0| wide, unless that is zero: 1e-17 would be the end of it
    options: dict[str, Any] = {"loss": "huber", "f_scale": huber, "x_scale": "jac", "jac": "3-point"}
    return least_squares(residuals, x0, ftol=1e-15, xtol=1e-13, gtol=1e-12, max_nfev=300, **options)


def assert_scipy_agrees(case: Case) -> None:
    """The same pose to 1e-3 standard deviations and the same cost, by another algorithm in another parametrisation."""
    best, normal = optimum_of(case)
    T = best.T_CkCf[0]
    x0, residuals = independent_residuals(case, case.options, T)
    found = scipys_optimum(residuals, x0, case.options.huber)
    error = pose_error(T, pose_of(found.x), median_depth(case), normal.H)
    assert error["d_sigma"] < 1e-3
    assert error["rotation_deg"] < 1e-4
    assert error["translation_rel"] < 1e-5
    assert math.isclose(normal.objective, found.cost, rel_tol=1e-9, abs_tol=1e-12)
    assert normal.objective <= found.cost * (1 + 1e-10) + 1e-12


@pytest.mark.parametrize("name", [name for name in WITH_POSE if name.startswith(("real-", "synthetic-"))])
def test_the_optimum_of_a_shipped_case_is_that_of_scipy(name: str) -> None:
    assert_scipy_agrees(shipped(name))


@each_kind
@settings(FIXED, max_examples=8)
@given(seed=st.integers(0, 2**32), outliers=st.sampled_from([0.0, 0.1, 0.3]))
def test_the_optimum_of_a_random_problem_is_that_of_scipy(kind: str, seed: int, outliers: float) -> None:
    assert_scipy_agrees(random_case(kind, seed, outliers=outliers, pixel_border=-60.0))


def test_the_optimum_of_exact_data_is_the_truth() -> None:
    case = shipped("degenerate-scale-1e6")
    best, _ = optimum_of(case)
    assert pose_error(best.T_CkCf[0], case.document.truth_T_CkCf, 1e6)["rotation_deg"] < 1e-2


# --- where iteration stops --------------------------------------------------------------------------------------------------------


def upstreams_stop(trace: tuple[Iteration, ...], rel_error: float, delta_norm: float) -> int | None:
    """Upstream's rule written out: how many steps are made, or None if it never stops."""
    old = math.inf
    for k, it in enumerate(trace):
        relative = math.nan if math.isinf(old) else abs((old - it.cost) / old)  # (inf - c) / inf is NaN, which is below nothing
        if relative < rel_error or it.delta_norm < delta_norm:
            return k + 1
        old = it.cost
    return None


@pytest.mark.parametrize("name", ["real-fr1-desk-0-8-ray", "real-fr1-rpy-4-5-calib", "synthetic-low-overlap"])
def test_iteration_stops_where_upstreams_does(name: str) -> None:
    case = with_options(shipped(name), rel_error=0.0, delta_norm=0.0, max_iters=12)
    problem = problem_of(case)
    seen: list[tuple[int, Iteration]] = []
    free = reference.solve(problem, case.options, lambda k, it: seen.append((k, it)))
    assert (free.status, free.iterations) == (Status.MAX_ITERATIONS, 12)
    assert seen == list(enumerate(free.trace))
    stops = set()
    for rel_error, delta_norm in [
        (1e-3, 1e-3),
        (1e-1, 0.0),
        (0.5, 0.0),
        (1e9, 0.0),
        (0.0, 1e9),
        (0.0, 1e-2),
        (1e-6, 0.0),
        (0.0, 1e-4),
    ]:
        options = dataclasses.replace(case.options, rel_error=rel_error, delta_norm=delta_norm)
        expected = upstreams_stop(free.trace, rel_error, delta_norm)
        solution = reference.solve(problem, options)
        steps = expected or 12
        assert solution.status is (Status.CONVERGED if expected else Status.MAX_ITERATIONS)
        assert solution.trace == free.trace[:steps]
        assert tuple(solution.T_CkCf[0]) == free.trace[steps - 1].T_CkCf  # the last step is taken
        assert solution.cost == free.trace[steps - 1].cost
        stops.add(steps)
    assert upstreams_stop(free.trace, 1e9, 0.0) == 2  # never by cost at the first
    assert upstreams_stop(free.trace, 0.0, 1e9) == 1
    assert len(stops) >= 4


def test_every_iteration_is_that_of_the_definition() -> None:
    case = random_case("ray_dist", 11)
    points, T = points_of(case)
    for it in reference.solve(problem_of(case), case.options).trace:
        normal = reference.linearize(points, T, case.options)
        delta = -np.linalg.solve(normal.H, normal.g)
        T = reference.compose(reference.exp(delta), T)
        assert math.isclose(it.cost, normal.cost, rel_tol=1e-12)
        assert math.isclose(it.delta_norm, float(np.linalg.norm(delta)), rel_tol=1e-6)
        assert np.allclose(it.T_CkCf, T, atol=1e-10)
        assert it.n_matches == len(points.Xf)
