"""The rules that sim3solve/problem.py states, kept by the oracle: every status, and what must not matter to the result."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_factory import SHIPPED, WITH_POSE, poisoned, problem_of, random_case, shipped, with_options

from harness.case import Case
from harness.compare import pose_error
from sim3solve import pytorch, reference
from sim3solve.problem import Options, ProblemError, RayDist, Solution, Status

FIXED = settings(derandomize=True, deadline=None, max_examples=25)
KINDS = ["ray_dist", "calib"]
each_kind = pytest.mark.parametrize("kind", KINDS)


@dataclasses.dataclass(frozen=True)
class Spoiled:
    status: Status
    kind: str
    changes: dict[str, Any]


SPOILED = {
    "NaN in a valid Xf": Spoiled(Status.NON_FINITE, "ray_dist", {"Xf": math.nan}),
    "infinity in a valid Xk": Spoiled(Status.NON_FINITE, "ray_dist", {"Xk": -math.inf}),
    "NaN confidence": Spoiled(Status.NON_FINITE, "ray_dist", {"Qk": math.nan}),
    "negative confidence": Spoiled(Status.NON_FINITE, "ray_dist", {"Qk": -1e-3}),
    "a valid Xf at the origin": Spoiled(Status.NON_FINITE, "ray_dist", {"Xf": 0.0}),
    "a valid Xk at the origin": Spoiled(Status.NON_FINITE, "ray_dist", {"Xk": 0.0}),
    "NaN in a valid measurement": Spoiled(Status.NON_FINITE, "calib", {"meas_k": math.nan}),
    "infinity in a valid calibrated Xf": Spoiled(Status.NON_FINITE, "calib", {"Xf": math.inf}),
}


def spoiled(kind: str, changes: dict[str, Any]) -> RayDist:
    """A good problem of 300 points with one value of its first valid row changed."""
    problem = problem_of(random_case(kind, 3))
    valid = problem.valid_opt & problem.valid_meas_k if kind == "calib" else problem.valid_opt
    row = int(np.flatnonzero(valid)[0])
    for name, value in changes.items():
        getattr(problem, name)[row] = value
    return problem


def options_for(kind: str) -> Options:
    return random_case(kind, 3).options


def assert_no_pose(solution: Solution, status: Status) -> None:
    assert solution.status is status
    assert not status.has_pose
    for T in (solution.T_WCf, solution.T_CkCf):
        assert T.shape == (1, 8)
        assert np.isnan(T).all()


@pytest.mark.parametrize("what", SPOILED)
def test_bad_values_in_a_row_that_counts_are_reported(what: str) -> None:
    spoil = SPOILED[what]
    assert reference.solve(spoiled(spoil.kind, {}), options_for(spoil.kind)).status is Status.CONVERGED
    assert_no_pose(reference.solve(spoiled(spoil.kind, spoil.changes), options_for(spoil.kind)), spoil.status)


def test_a_calibrated_frame_point_at_the_origin_is_no_fault() -> None:
    assert reference.solve(spoiled("calib", {"Xf": 0.0}), options_for("calib")).status.has_pose


@pytest.mark.parametrize("pose", ["T_WCf", "T_WCk"])
@pytest.mark.parametrize(
    ("column", "value"), [(0, math.nan), (2, math.inf), (7, 0.0), (7, -1.0), (7, math.nan), (slice(3, 7), 0.0)]
)
def test_a_pose_that_is_none_is_reported(pose: str, column: Any, value: float) -> None:
    problem = spoiled("ray_dist", {})
    getattr(problem, pose)[0, column] = value
    assert_no_pose(reference.solve(problem), Status.NON_FINITE)


def test_intrinsics_that_are_no_numbers_are_reported() -> None:
    problem = spoiled("calib", {})
    problem.K[0, 0] = math.nan
    assert_no_pose(reference.solve(problem, options_for("calib")), Status.NON_FINITE)


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in WITH_POSE and not name.startswith("degenerate-n-1")])
def test_shipped_cases_without_a_pose_have_none(name: str) -> None:
    (status,) = shipped(name).document.expect.statuses
    assert_no_pose(reference.solve(problem_of(shipped(name)), shipped(name).options), status)


@each_kind
@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_points_are_too_few(kind: str, count: int) -> None:
    problem = spoiled(kind, {})
    rows = np.flatnonzero(problem.valid_opt & (problem.valid_meas_k if kind == "calib" else True))
    problem.valid_opt[rows[count:]] = False
    assert_no_pose(reference.solve(problem, options_for(kind)), Status.TOO_FEW_MATCHES)
    problem = spoiled(kind, {})
    problem.Qk[rows[count:]] = 0.0  # a point without confidence does not count either
    assert_no_pose(reference.solve(problem, options_for(kind)), Status.TOO_FEW_MATCHES)


def test_points_outside_the_image_do_not_count() -> None:
    case = random_case("calib", 3)
    assert_no_pose(reference.solve(problem_of(case), dataclasses.replace(case.options, pixel_border=191.0)), Status.TOO_FEW_MATCHES)
    assert_no_pose(reference.solve(problem_of(case), dataclasses.replace(case.options, depth_eps=100.0)), Status.TOO_FEW_MATCHES)
    with pytest.raises(ProblemError, match="img_size"):
        reference.solve(problem_of(case), Options())


def test_the_image_border_is_where_upstream_draws_it() -> None:
    """A pixel counts when border < u < width - 1 - border, likewise v, and depth > depth_eps; both solvers."""
    options = Options(img_size=(48, 64), pixel_border=5.0, depth_eps=0.5)
    us, vs, zs = [4.5, 5.0, 5.5, 57.5, 58.0, 58.5], [4.5, 5.0, 5.5, 41.5, 42.0, 42.5], [-1.0, 0.0, 0.5, 1.0, 2.0]
    Y = np.array([(u * z, v * z, z) for u in us for v in vs for z in zs])
    inside = [5 < u < 58 and 5 < v < 42 and z > 0.5 for u in us for v in vs for z in zs]
    target = np.arange(3.0 * len(Y)).reshape(-1, 3)  # tells which rows are left
    points = reference.Points(Y, target, np.ones((len(Y), 1)), np.eye(3))
    r, _, _ = reference.calib_rows(points, reference.identity(), options)
    h = np.column_stack([Y[:, :2] / np.where(Y[:, 2:] == 0, 1, Y[:, 2:]), np.log(np.maximum(Y[:, 2], 1e-9))])
    assert np.allclose(r, (target - h)[inside])
    _, _, seen = pytorch.calib_rows(torch.from_numpy(Y).float(), torch.from_numpy(target).float(), torch.eye(3), options)
    assert seen.tolist() == inside


@FIXED
@given(seed=st.integers(0, 2**32), n=st.integers(3, 300))
def test_points_on_a_line_fix_no_pose(seed: int, n: int) -> None:
    case = random_case("ray_dist", seed, n=n, line=True)
    assert_no_pose(reference.solve(problem_of(case), case.options), Status.NOT_POSITIVE_DEFINITE)


@each_kind
def test_one_iteration_is_not_enough_and_says_so(kind: str) -> None:
    case = with_options(random_case(kind, 4), max_iters=1)
    solution = reference.solve(problem_of(case), case.options)
    assert (solution.status, solution.iterations, len(solution.trace)) == (Status.MAX_ITERATIONS, 1, 1)
    assert np.isfinite(solution.T_WCf).all()


# --- what must not matter ---------------------------------------------------------------------------------------------------------


def solved(case: Case) -> Solution:
    solution = reference.solve(problem_of(case), case.options)
    assert solution.status is Status.CONVERGED
    return solution


def same(a: Solution, b: Solution) -> bool:
    """To the last bit, trace and all."""
    return a.T_WCf.tobytes() == b.T_WCf.tobytes() and (a.status, a.trace, a.cost) == (b.status, b.trace, b.cost)


@each_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e38])
def test_rows_that_do_not_count_change_not_one_bit(kind: str, value: float) -> None:
    case = random_case(kind, 9, pixel_border=-60.0)
    values = poisoned(dict(case.values), lambda shape: np.full(shape, value))
    assert all(not np.array_equal(values[name], case.values[name], equal_nan=True) for name in ("Xf", "Xk", "Qk"))
    assert same(solved(case), solved(dataclasses.replace(case, values=values)))


@pytest.mark.parametrize("name", ["nan-invalid", "inf-invalid", "zero-invalid"])
def test_what_shipped_cases_hide_in_invalid_rows_does_not_matter(name: str) -> None:
    case = shipped(f"degenerate-{name}")
    cleaned = poisoned(dict(case.values), lambda shape: np.ones(shape))
    assert same(solved(case), solved(dataclasses.replace(case, values=cleaned)))


def assert_close(a: Solution, b: Solution, tolerance: float) -> None:
    assert a.iterations == b.iterations
    error = pose_error(a.T_CkCf[0], b.T_CkCf[0], 1.0)
    assert math.radians(error["rotation_deg"]) < tolerance
    assert error["translation_rel"] < tolerance
    assert error["log_scale"] < tolerance


@each_kind
@FIXED
@given(seed=st.integers(0, 2**32))
def test_the_order_of_points_does_not_matter(kind: str, seed: int) -> None:
    case = random_case(kind, seed % 7)
    order = np.random.default_rng(seed).permutation(case.document.n_points)
    per_point = {name for name, a in case.values.items() if len(a) == len(order)}
    values = {name: a[order] if name in per_point else a for name, a in case.values.items()}
    assert_close(solved(case), solved(dataclasses.replace(case, values=values)), 1e-10)


@each_kind
@pytest.mark.parametrize("chunk", [1, 7, 64, 299, 300])
def test_how_points_are_split_into_chunks_does_not_matter(kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(kind, 12)
    whole = solved(case)
    monkeypatch.setattr(reference, "CHUNK", chunk)
    assert_close(solved(case), whole, 1e-10)


@each_kind
@FIXED
@given(seed=st.integers(0, 2**32))
def test_where_the_world_is_does_not_matter(kind: str, seed: int) -> None:
    case = random_case(kind, seed % 5, float_type="float64")
    S = reference.exp(np.random.default_rng(seed).normal(size=7))
    moved = {name: reference.compose(S, case.values[name][0])[None] for name in ("T_WCf", "T_WCk")}
    there, here = solved(dataclasses.replace(case, values=case.values | moved)), solved(case)
    assert_close(there, here, 1e-9)
    in_world = pose_error(there.T_WCf[0], reference.compose(S, here.T_WCf[0]), 1.0)
    assert in_world["translation_rel"] < 1e-8
    assert in_world["rotation_deg"] < 1e-7


@each_kind
def test_the_sign_and_length_of_a_quaternion_do_not_matter(kind: str) -> None:
    case = random_case(kind, 13, float_type="float64")
    other = {name: case.values[name] * np.array([1, 1, 1, k, k, k, k, 1]) for name, k in (("T_WCf", -1.0), ("T_WCk", 3.0))}
    assert_close(solved(dataclasses.replace(case, values=case.values | other)), solved(case), 1e-11)


@each_kind
def test_inputs_are_not_written_to(kind: str) -> None:
    problem = problem_of(random_case(kind, 14))
    before = {name: a.tobytes() for name, a in vars(problem).items()}
    for a in vars(problem).values():
        a.flags.writeable = False
    reference.solve(problem, options_for(kind))
    assert before == {name: a.tobytes() for name, a in vars(problem).items()}
