"""The yardsticks measure known errors rightly and refuse what is no number."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from case_factory import make_case
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_factory import REFERENCE, WITH_POSE, oracle_of, outcome_of, problem_of, random_case, run, shipped
from scipy.spatial.transform import Rotation
from test_sim3_maps import generator, tangent

from harness.case import Case
from harness.compare import TOLERANCES, exceeded, huber_objective, log, parity, pose_error, pose_matrix
from harness.outcome import Kind, Outcome
from sim3solve import reference
from sim3solve.problem import Solution, Status

FIXED = settings(derandomize=True, deadline=None, max_examples=60)
T0 = np.array([0.3, -1.2, 2.0, *Rotation.from_rotvec([0.4, -0.9, 0.2]).as_quat(), 1.7])
CASE = random_case("ray_dist", 1)


def pose_from(M: np.ndarray) -> np.ndarray:
    s = np.cbrt(np.linalg.det(M[:3, :3]))
    return np.concatenate([M[:3, 3], Rotation.from_matrix(M[:3, :3] / s).as_quat(), [s]])


def displaced(T: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Exp(delta) T, by SciPy's matrix exponential."""
    return pose_from(scipy.linalg.expm(generator(delta)) @ pose_matrix(T))


# --- distances --------------------------------------------------------------------------------------------------------------------


@FIXED
@given(delta=tangent())
def test_log_is_scipys_matrix_logarithm_and_undoes_exp(delta: np.ndarray) -> None:
    E = scipy.linalg.expm(generator(delta))
    theta = np.linalg.norm(delta[3:6])
    if theta > math.pi:  # the same similarity by the shorter turn has another tangent
        delta = log(E)
        E = scipy.linalg.expm(generator(delta))
    back = log(E)
    if theta < math.pi - 1e-6:  # at a half turn the axis has either sign
        assert np.abs(back - delta).max() < 1e-7
        assert np.abs(back[3:] - delta[3:]).max() < 1e-9
        assert np.abs(generator(back) - np.real(scipy.linalg.logm(E))).max() < 1e-6
    assert np.abs(scipy.linalg.expm(generator(back)) - E).max() < 1e-9 * max(1, np.abs(E).max())


@FIXED
@given(delta=tangent())
def test_a_pose_is_at_no_distance_from_itself_whatever_the_quaternions_sign(delta: np.ndarray) -> None:
    T = pose_from(scipy.linalg.expm(generator(delta)))
    flipped = T * np.array([1, 1, 1, -1, -1, -1, -1, 1])
    for other in (T, flipped):
        error = pose_error(other, T, 1.0, np.eye(7))
        assert set(error) == set(TOLERANCES)
        assert all(value < 1e-12 * max(1, np.abs(T).max()) for value in error.values())
        assert exceeded(error) == []


@pytest.mark.parametrize("degrees", [1e-4, 0.5, 90.0, 179.9])
def test_a_rotation_is_measured_in_degrees(degrees: float) -> None:
    axis = np.array([0.6, 0.0, -0.8])
    M = np.eye(4)
    M[:3, :3] = Rotation.from_rotvec(math.radians(degrees) * axis).as_matrix()
    turned = pose_from(M @ pose_matrix(T0))
    error = pose_error(turned, T0, 2.0)
    assert math.isclose(error["rotation_deg"], degrees, rel_tol=1e-9, abs_tol=1e-11)
    assert error["log_scale"] < 1e-14
    assert error["translation_rel"] < 1e-14
    assert math.isnan(error["d_sigma"])
    assert ("rotation_deg" in exceeded(error)) == (degrees > 1e-3)


def test_a_translation_is_measured_relative_to_depth() -> None:
    moved = T0 + np.array([0.03, 0, -0.04, 0, 0, 0, 0, 0])
    assert math.isclose(pose_error(moved, T0, 2.0)["translation_rel"], 0.025, rel_tol=1e-12)
    assert math.isclose(pose_error(moved, T0, 200.0)["translation_rel"], 0.00025, rel_tol=1e-10)


@pytest.mark.parametrize("factor", [1.01, 1 / 1.01, 1e3, 1e-3])
def test_a_scale_is_measured_by_its_logarithm_either_way(factor: float) -> None:
    origin = np.array([0, 0, 0, *T0[3:7], T0[7]])
    error = pose_error(origin * np.array([1] * 7 + [factor]), origin, 1.0)
    assert math.isclose(error["log_scale"], abs(math.log(factor)), rel_tol=1e-12)
    assert error["rotation_deg"] < 1e-10


@FIXED
@given(seed=st.integers(0, 2**32), size=st.sampled_from([1e-6, 1e-3, 0.3]))
def test_d_is_the_length_of_the_tangent_in_standard_deviations(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    A, delta = rng.normal(size=(9, 7)), size * rng.normal(size=7)
    H = A.T @ A
    error = pose_error(displaced(T0, delta), T0, 1.0, H)
    assert math.isclose(error["d_sigma"], math.sqrt(delta @ H @ delta), rel_tol=1e-6)


NO_POSES = {
    "NaN": [math.nan] * 8, "infinity": [math.inf] * 8, "zeros": [0.0] * 8, "scale 0": [*T0[:7], 0.0], "scale < 0": [*T0[:7], -1.0],
    "quaternion 0": [*T0[:3], 0, 0, 0, 0, 1.0], "huge": [1e300] * 8, "tiny": [1e-300] * 8, "huge scale": [*T0[:7], 1e200],
    "tiny scale": [*T0[:7], 1e-200], "one NaN": [*T0[:5], math.nan, *T0[6:]], "one infinity": [math.inf, *T0[1:]],
}  # fmt: skip


@pytest.mark.parametrize("what", NO_POSES)
def test_what_is_no_pose_fails_every_tolerance(what: str) -> None:
    for error in (pose_error(NO_POSES[what], T0, 1.0, np.eye(7)), pose_error(T0, NO_POSES[what], 1.0, np.eye(7))):
        assert exceeded(error) == list(TOLERANCES)
    assert math.isnan(huber_objective(CASE, NO_POSES[what]))


@pytest.mark.parametrize("name", TOLERANCES)
def test_nan_exceeds_every_limit(name: str) -> None:
    fine = dict.fromkeys(TOLERANCES, 0.0)
    assert exceeded(fine) == []
    assert exceeded(fine | {name: math.nan}) == [name]
    assert exceeded(fine | {name: math.inf}) == [name]
    assert exceeded(fine | {name: TOLERANCES[name]["limit"]}) == []
    assert exceeded(fine | {name: 1.001 * TOLERANCES[name]["limit"]}) == [name]


def test_nan_in_the_information_is_no_agreement() -> None:
    assert math.isnan(pose_error(T0, T0, 1.0, np.full((7, 7), math.nan))["d_sigma"])


# --- the cost ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_POSE)
def test_the_objective_is_the_oracles(name: str) -> None:
    case, problem = shipped(name), problem_of(shipped(name))
    points, T_WCf, T_WCk = reference.select(problem)
    for T in (np.array(oracle_of(name).T_CkCf), reference.compose(reference.inverse(T_WCk), T_WCf)):
        expected = reference.linearize(points, T, case.options).objective
        assert math.isclose(huber_objective(case, T), expected, rel_tol=1e-9, abs_tol=1e-9)


# --- parity -----------------------------------------------------------------------------------------------------------------------


def answer(case: Case, T_CkCf: np.ndarray, **fields: Any) -> Outcome:
    """What a solver that returned this relative pose would leave."""
    world = pose_from(pose_matrix(case.as_float("T_WCk")[0]) @ pose_matrix(T_CkCf))
    return outcome_of(case, Solution(Status.CONVERGED, world, T_CkCf, 3, 1.0), **fields)


def oracle_at(case: Case, T: np.ndarray) -> Outcome:
    """The oracle's outcome moved to another pose, as one that had stopped there would look."""
    return dataclasses.replace(run(REFERENCE, case), T_CkCf=tuple(T.tolist()))


OPTIMUM = np.array(run(REFERENCE, CASE).values["optimum"]["T_CkCf"])
OFF = displaced(OPTIMUM, np.full(7, 0.01))


def test_the_same_pose_agrees_and_another_of_higher_cost_does_not() -> None:
    same = parity(answer(CASE, OPTIMUM), oracle_at(CASE, OPTIMUM), CASE)
    assert same is not None
    assert (same["within"], same["why"]) == (True, "within every limit")
    assert max(same["optimum"].values()) < 1e-6
    worse = parity(answer(CASE, OFF), oracle_at(CASE, OPTIMUM), CASE)
    assert worse is not None
    assert worse["cost"] > worse["cost_oracle"]
    assert not worse["within"]
    assert "rotation_deg" in worse["why"]


def test_another_pose_of_lower_cost_is_no_failure() -> None:
    better = parity(answer(CASE, OPTIMUM), oracle_at(CASE, OFF), CASE)
    assert better is not None
    assert exceeded(better["oracle"]) == list(TOLERANCES)
    assert better["within"]
    assert "lower cost" in better["why"]


def test_a_cost_lowered_by_losing_points_is_a_failure() -> None:
    """Turned away from the scene nothing is in the image, and the calibrated cost is zero."""
    case = random_case("calib", 1)
    away = reference.compose(np.array([0, 0, 0, 0, 1.0, 0, 0, 1]), np.array(run(REFERENCE, case).T_CkCf))
    assert huber_objective(case, away) == 0.0
    lost = parity(answer(case, away), run(REFERENCE, case), case)
    assert lost is not None
    assert not lost["within"]
    assert "fewer points" in lost["why"]


@pytest.mark.parametrize("what", NO_POSES)
def test_a_garbage_pose_is_judged_and_never_within(what: str) -> None:
    solution = Solution(Status.CONVERGED, np.array(NO_POSES[what]), np.array(NO_POSES[what]), 3, 1.0)
    for case in (CASE, random_case("calib", 1)):
        measured = parity(outcome_of(case, solution), run(REFERENCE, case), case)
        assert measured is not None
        assert not measured["within"]
    half = dataclasses.replace(answer(CASE, OPTIMUM), T_WCf=tuple(float(x) for x in NO_POSES[what]))
    measured = parity(half, oracle_at(CASE, OPTIMUM), CASE)
    assert measured is not None
    assert (measured["within"], measured["why"]) == (False, "T_WCf is not T_WCk T_CkCf")


@pytest.mark.parametrize("column", [0, 4, 7])
def test_a_world_pose_that_contradicts_the_relative_pose_is_caught(column: int) -> None:
    mine = answer(CASE, OPTIMUM)
    assert mine.T_WCf is not None
    wrong = list(mine.T_WCf)
    wrong[column] += 0.01
    measured = parity(dataclasses.replace(mine, T_WCf=tuple(wrong)), oracle_at(CASE, OPTIMUM), CASE)
    assert measured is not None
    assert (measured["within"], measured["why"]) == (False, "T_WCf is not T_WCk T_CkCf")


def test_there_is_no_parity_without_two_poses() -> None:
    none = dataclasses.replace(answer(CASE, OPTIMUM), T_CkCf=None)
    assert parity(none, run(REFERENCE, CASE), CASE) is None
    assert parity(answer(CASE, OPTIMUM), dataclasses.replace(run(REFERENCE, CASE), values={}), CASE) is None


@pytest.mark.parametrize("planted", [0, 1, 3])
def test_the_first_divergence_is_where_it_was_planted(planted: int) -> None:
    oracle = run(REFERENCE, CASE)
    assert len(oracle.trace) == 4
    records = list(oracle.trace)
    for k in range(planted, len(records)):
        T = displaced(np.array(records[k].T_CkCf), np.array([0, 0, 0, 0, 1e-3, 0, 0]))
        records[k] = dataclasses.replace(records[k], T_CkCf=tuple(T.tolist()))
    for trace, expected in ((tuple(records), planted), (oracle.trace, None), (oracle.trace[:2], None), ((), None)):
        measured = parity(dataclasses.replace(oracle, trace=trace), oracle, CASE)
        assert measured is not None
        assert measured["first_divergence"] == expected


def test_a_nan_in_a_trace_is_a_divergence() -> None:
    oracle = run(REFERENCE, CASE)
    gone = (oracle.trace[0], dataclasses.replace(oracle.trace[1], T_CkCf=(math.nan,) * 8), *oracle.trace[2:])
    measured = parity(dataclasses.replace(oracle, trace=gone), oracle, CASE)
    assert measured is not None
    assert measured["first_divergence"] == 1


def op_outcome(value: Any) -> Outcome:
    return Outcome("op", "x", "none", Kind.OK, "written", 0.0, "", status="CONVERGED", values={"op_value": value})


@pytest.mark.parametrize(
    ("mine", "within"),
    [
        ([T0.tolist()], True), ([(T0 * [1, 1, 1, -1, -1, -1, -1, 1]).tolist()], True),
        ([displaced(T0, np.full(7, 1e-6)).tolist()], True), ([displaced(T0, np.full(7, 1e-3)).tolist()], False),
        ([[math.nan] * 8], False), ([["nan"] * 8], False), ([[0.0] * 8], False), ([T0.tolist()] * 2, False),
    ],
)  # fmt: skip
def test_an_operations_result_is_compared_as_a_pose(mine: Any, within: bool) -> None:
    measured = parity(op_outcome(mine), op_outcome([T0.tolist()]), make_case("op", 1, op="inv"))
    assert measured is not None
    assert measured["within"] is within


@pytest.mark.parametrize(("offset", "within"), [(0.0, True), (4e-6, True), (4e-5, False), (math.nan, False)])
def test_an_operations_points_are_compared_as_numbers(offset: float, within: bool) -> None:
    p = np.array([[1.0, 2.0, -3.0]])
    measured = parity(op_outcome((p + offset).tolist()), op_outcome(p.tolist()), make_case("op", 1, op="act"))
    assert measured is not None
    assert measured["within"] is within


def test_an_operation_without_a_result_has_no_parity() -> None:
    empty = dataclasses.replace(op_outcome([T0.tolist()]), values={})
    assert parity(empty, op_outcome([T0.tolist()]), make_case("op", 1, op="inv")) is None
