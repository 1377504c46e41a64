"""The numbers that are drawn are the oracle's residuals, and a point's state is what it is."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from collections.abc import Callable

import numpy as np
import pictures_run as made
import problem_factory as problems
import pytest
from PIL import Image

from harness.case import Case
from harness.compare import huber_objective, residual_rows, valid_points, whitened
from harness.report.pictures import colormap
from harness.report.pictures.columns import Look, colour_numbers, ranges
from harness.report.pictures.grid import image_grid
from harness.report.pictures.heatmaps import BAD, heat_maps
from harness.report.pictures.material import initial_pose
from harness.report.pictures.residuals import Residuals, State, residuals
from harness.report.pictures.scales import Log
from sim3solve import reference
from sim3solve.reference_sim3 import compose, inverse

IN_AN_IMAGE = ("real-fr1-desk-0-8-ray", "real-fr1-rpy-4-5-calib", "synthetic-outliers", "synthetic-outliers-calib")


def changed(case: Case, name: str, change: Callable[[np.ndarray], None]) -> Case:
    values = case.values[name].copy()
    change(values)
    return dataclasses.replace(case, values={**case.values, name: values})


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


@pytest.mark.parametrize("name", [*IN_AN_IMAGE, made.LOOSE])
@pytest.mark.parametrize("where", ["initial", "solved"])
def test_residuals_are_the_oracles(name: str, where: str) -> None:
    case = problems.shipped(name)
    T = initial_pose(case) if where == "initial" else problems.oracle_of(name).T_CkCf
    assert T is not None
    points, _, _ = reference.select(problems.problem_of(case))
    rows = reference.ray_dist_rows if points.K is None else reference.calib_rows
    r, _, s = rows(points, np.array(T), case.options)
    found = residuals(case, T)
    used = found.state == State.COUNTS
    assert used.sum() == len(r)
    if points.K is None:
        assert found.sizes[0][used] == pytest.approx(np.degrees(2 * np.arcsin(np.linalg.norm(r[:, :3], axis=1) / 2)), abs=1e-9)
        assert found.sizes[1][used] == pytest.approx(100 * r[:, 3] / points.z[:, 3], abs=1e-9)
    else:
        assert found.sizes[0][used] == pytest.approx(np.hypot(r[:, 0], r[:, 1]), abs=1e-9)
        assert found.sizes[1][used] == pytest.approx(100 * r[:, 2], abs=1e-9)
    weight = np.minimum(1, case.options.huber / np.maximum(np.abs(s * r).max(axis=1), 1e-300))
    assert found.weight[used] == pytest.approx(weight, abs=1e-9)
    assert np.isnan(found.sizes[0][~used]).all()


@pytest.mark.parametrize("name", IN_AN_IMAGE)
def test_their_huber_loss_is_the_one_that_poses_are_judged_by(name: str) -> None:
    case = problems.shipped(name)
    T = problems.oracle_of(name).T_CkCf
    assert T is not None
    rows, seen = residual_rows(case, T)
    a, k = whitened(case, rows)[seen & valid_points(case)], case.options.huber
    loss = np.where(a < k, 0.5 * a * a, k * (a - 0.5 * k)).sum()
    normal = reference.linearize(reference.select(problems.problem_of(case))[0], np.array(T), case.options)
    assert float(loss) == pytest.approx(normal.objective, rel=1e-12)
    assert huber_objective(case, T) == pytest.approx(normal.objective, rel=1e-12)


def test_every_state_is_told_from_the_others() -> None:
    case = problems.shipped(made.CALIB)
    T = problems.oracle_of(made.CALIB).T_CkCf
    assert T is not None
    used = np.flatnonzero(residuals(case, T).state == State.COUNTS)[:4]

    def nan(values: np.ndarray) -> None:
        values[used[0]] = math.nan

    def behind(values: np.ndarray) -> None:
        values[used[1]] = (0, 0, -3)

    def nothing(values: np.ndarray) -> None:
        values[used[2]] = 0

    def mask(values: np.ndarray) -> None:
        values[used[3]] = False

    for name, change in (("meas_k", nan), ("Xf", behind), ("Qk", nothing), ("valid_meas_k", mask)):
        case = changed(case, name, change)
    found = residuals(case, T)
    assert [State(state) for state in found.state[used]] == [State.UNDEFINED, State.UNSEEN, State.UNWEIGHTED, State.MASKED]
    assert np.isnan(found.sizes[0][used]).tolist() == [True, True, False, True]


@pytest.mark.parametrize("T", [(math.nan,) * 8, (0.0,) * 8, (0, 0, 0, 0, 0, 0, 1, -1.0), (1e31, 0, 0, 0, 0, 0, 1, 1)])
def test_a_pose_that_is_none_has_no_residuals(T: tuple[float, ...]) -> None:
    found = residuals(problems.shipped(made.RAY), T)
    assert not np.isfinite(found.sizes[0]).any()
    assert found.count(State.COUNTS) == 0


@pytest.mark.parametrize("name", problems.WITH_POSE)
def test_the_initial_pose_is_where_the_oracle_starts(name: str) -> None:
    case = problems.shipped(name)
    _, T_WCf, T_WCk = reference.select(problems.problem_of(case))
    expected = compose(inverse(T_WCk), T_WCf)
    found = np.array(initial_pose(case))
    sign = np.sign(found[3:7] @ expected[3:7])
    assert found * [1, 1, 1, *[sign] * 4, 1] == pytest.approx(expected, abs=1e-12, rel=1e-9)


def test_the_image_of_rays_is_found_and_never_guessed() -> None:
    real, made_up = problems.shipped("real-fr1-desk-0-8-ray"), problems.shipped(made.RAY)
    assert (image_grid(real), image_grid(made_up), image_grid(problems.shipped(made.CALIB))) == ((96, 128), (48, 64), (48, 64))
    assert image_grid(problems.shipped("layout-same-tensor")) is None
    assert image_grid(problems.shipped("degenerate-n-0")) is None
    shuffled = changed(made_up, "Xk", lambda Xk: np.random.default_rng(0).shuffle(Xk))
    assert image_grid(shuffled) is None
    assert image_grid(changed(made_up, "Xk", lambda Xk: Xk.fill(math.nan))) is None


def test_heat_maps_hold_each_pixels_colour() -> None:
    case = problems.shipped(made.RAY)
    pose = problems.oracle_of(made.RAY).T_CkCf
    start = initial_pose(case)
    assert pose is not None and start is not None
    looked = [
        Look("Initial pose", "", residuals(case, start)),
        Look("Solved pose", "", residuals(case, pose)),
        Look("Gone", "why", None),
    ]
    scales = ranges(looked)
    maps = heat_maps("ray_dist", (48, 64), looked, scales)
    for row in (0, 1):
        found = looked[row].found
        assert found is not None
        image = pixels(maps.columns[0].cells[row].uri)
        angle = found.sizes[0].reshape(48, 64)
        assert ((image == 0) == np.isnan(angle)).all()
        at = np.log(angle / scales.size.low) / math.log(scales.size.high / scales.size.low)
        expected = np.nan_to_num(1 + np.floor(np.clip(at, 0, 1) * (colormap.STEPS - 1) + 0.5))
        assert (image == expected).all()
    assert (
        pixels(maps.columns[0].cells[0].uri).max() > pixels(maps.columns[0].cells[1].uri).mean() + 10
    )  # one scale: before is brighter
    assert [column.cells[2].uri for column in maps.columns] == [""] * 4
    assert maps.columns[3].cells[1].words == "the same points"


def test_a_valid_point_that_is_no_number_has_a_colour_of_its_own() -> None:
    case = problems.shipped(made.RAY)
    pose = problems.oracle_of(made.RAY).T_CkCf
    assert pose is not None
    one = int(np.flatnonzero(case.values["valid_opt"])[500])
    broken = residuals(changed(case, "Xf", lambda Xf: Xf[one].fill(math.inf)), pose)
    looked = [Look("Solved pose", "", broken)]
    maps = heat_maps("ray_dist", (48, 64), looked, ranges(looked))
    image = Image.open(io.BytesIO(base64.b64decode(maps.columns[0].cells[0].uri.split(",")[1]))).convert("RGBA")
    assert image.getpixel((one % 64, one // 64)) == (*BAD, 255)
    assert "1 not a finite number" in maps.columns[3].cells[0].words


def test_a_large_image_is_reduced_to_medians() -> None:
    side = 256
    values = np.arange(side * side, dtype=float).reshape(side, side) % 7 + 1
    values[:2, :2] = [[5, math.nan], [3, 4]]
    state = np.where(np.isnan(values), State.MASKED, State.COUNTS).ravel().astype(np.uint8)
    found = Residuals((values.ravel(), values.ravel()), np.ones(side * side), state)
    looked = [Look("Solved pose", "", found)]
    maps = heat_maps("ray_dist", (side, side), looked, ranges(looked))
    assert maps.size == (128, 128)
    assert maps.note.startswith("Each cell is the median of 2\u00d72 points")
    image = pixels(maps.columns[0].cells[0].uri)
    assert image[0, 0] == colour_numbers(ranges(looked).size, np.array([4.0]))[0]
    assert (image > 0).all()


def test_zero_is_little_and_nan_is_nothing() -> None:
    found = colour_numbers(Log(0.1, 10.0), np.array([0.0, 0.01, 0.1, 1.0, 10.0, 1e9, math.nan]))
    assert found.tolist() == [1, 1, 1, 17, 32, 32, 0]
