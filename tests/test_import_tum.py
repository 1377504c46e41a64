"""What the TUM importer makes: of a sequence rendered here along a known path, and of real frames where there are any."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp
from tum_sequence import STEP_S, T0, T_WC, K

from harness.case import Case
from harness.casefile import write_case
from harness.importers import association, png, poses, tum_files
from harness.importers.tum import Frame, import_tum, scale_intrinsics, shrink
from sim3solve import reference
from sim3solve.problem import PROBLEMS, Status

SMALL = (64, 48)
STAMP_1 = T0 + STEP_S


def solve(case: Case) -> reference.Solution:
    return reference.solve(PROBLEMS[case.document.kind](**case.values), case.options)


def errors(T: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Rotation in degrees, translation in metres, relative scale."""
    angle = 2 * math.degrees(math.acos(min(1.0, abs(float(T[3:7] @ truth[3:7])))))
    return angle, float(np.linalg.norm(T[:3] - truth[:3])), abs(float(T[7] / truth[7]) - 1)


# --- what comes out --------------------------------------------------------------------------------------------------------------


def test_the_true_relative_pose_is_that_of_the_path(made):
    case = import_tum(made, (1, 4), SMALL)
    expected = poses.compose(poses.inverse(T_WC(STAMP_1)), T_WC(T0 + 4 * STEP_S))
    assert np.abs(np.array(case.document.truth_T_CkCf) - expected).max() < 1e-6
    assert np.abs(case.values["T_WCk"][0] - T_WC(STAMP_1)).max() < 1e-6
    assert np.array_equal(case.values["T_WCf"], case.values["T_WCk"])


def test_matches_agree_to_half_a_pixel_and_points_to_their_depth(made):
    case = import_tum(made, (0, 4), SMALL)
    valid = case.values["valid_opt"][:, 0]
    Xk, Xf = (case.as_float(name)[valid] for name in ("Xk", "Xf"))
    assert 0.4 < valid.mean() < 0.95
    small = scale_intrinsics(K, (240, 320), SMALL)
    expected = poses.act(poses.inverse(np.array(case.document.truth_T_CkCf)), Xk)
    off = project(expected, small) - project(Xf, small)
    assert np.abs(off).max() < 0.5 + 1e-3
    assert np.abs(off).max() > 0.4  # the nearest pixel, not an interpolation
    assert np.abs(off.mean(axis=0)).max() < 0.05
    assert (np.abs(expected[:, 2] - Xf[:, 2]) < 0.02 + 3 * association.depth_sigma(expected[:, 2])).all()
    pixels = project(Xf, small)
    assert np.abs(pixels - np.round(pixels)).max() < 1e-3  # each on the ray of a pixel


def test_points_lie_on_the_rays_of_their_pixels_with_the_depth_of_the_image(made):
    case = import_tum(made, (0, 2), SMALL)
    Xk = case.as_float("Xk")
    raw = np.asarray(Image.open(made / "depth" / f"{T0:.6f}.png")).astype(np.float64) / 5000
    assert np.allclose(Xk[:, 2], raw[2::5, 2::5].reshape(-1), atol=1e-6)
    seen = Xk[:, 2] > 0
    v, u = np.divmod(np.arange(len(Xk)), SMALL[0])
    uv = project(Xk[seen], scale_intrinsics(K, (240, 320), SMALL))
    assert np.abs(uv - np.stack([u, v], axis=1)[seen]).max() < 1e-4


def test_rows_without_a_match_keep_the_frames_own_point(made):
    case = import_tum(made, (0, 4), SMALL)
    own = import_tum(made, (4, 0), SMALL).values["Xk"]
    matched = association.match_projective(
        own_depth(made, 0), own_depth(made, 4), scale_intrinsics(K, (240, 320), SMALL), np.array(case.document.truth_T_CkCf)
    ).matched
    assert not matched.all()
    assert np.array_equal(case.values["Xf"][~matched], own[~matched])
    assert not case.values["valid_opt"][~matched].any()


def own_depth(folder: Path, index: int) -> np.ndarray:
    image = tum_files.read_images(folder, "depth")[index]
    return shrink(Frame(image, png.read_depth(image.file, 5000.0), poses.IDENTITY), SMALL)


def test_confidence_is_the_stated_formula(made):
    case = import_tum(made, (0, 1), SMALL)
    Qk, zk, zf = case.as_float("Qk")[:, 0], case.as_float("Xk")[:, 2], case.as_float("Xf")[:, 2]
    both = (zk > 0) & (zf > 0)
    q_k, q_f = (0.03 / (0.0012 + 0.0019 * (z[both] - 0.4) ** 2) for z in (zk, zf))
    assert np.allclose(Qk[both], np.sqrt(q_k * q_f), rtol=1e-5)
    assert not Qk[~both].any()
    assert (Qk[case.values["valid_opt"][:, 0]] > 1.5).all()


def test_far_points_are_not_valid():
    q = association.confidence(np.array([0.0, 0.5, 3.5, 3.6]))
    assert (q > 1.5).tolist() == [False, True, True, False]


@pytest.mark.parametrize("kind", ["ray_dist", "calib"])
def test_the_oracle_finds_the_path_again(made, kind):
    case = import_tum(made, (0, 4), (320, 240), kind)  # full size: at a smaller one the rounding to pixels hides the path
    solution = solve(case)
    assert solution.status is Status.CONVERGED
    angle, metres, scale = errors(solution.T_CkCf[0], np.array(case.document.truth_T_CkCf))
    assert (angle < 0.02, metres < 0.001, scale < 0.001) == (True, True, True)


def test_calibrated_measurements(made):
    case = import_tum(made, (0, 1), SMALL, "calib")
    meas_k, valid, Xk = case.as_float("meas_k"), case.values["valid_meas_k"][:, 0], case.as_float("Xk")
    v, u = np.divmod(np.arange(len(Xk)), SMALL[0])
    assert case.options.img_size == (48, 64)
    assert 0 < (~valid).sum() < 100  # the corner without depth
    assert np.array_equal(valid, Xk[:, 2] > 1e-6)
    assert not meas_k[~valid].any()
    assert np.array_equal(meas_k[valid, :2], np.stack([u, v], axis=1)[valid])
    assert np.allclose(meas_k[valid, 2], np.log(Xk[valid, 2]), atol=1e-6)
    assert np.allclose(case.values["K"], [[52.4, 0, 158.8 / 5 - 0.5], [0, 52.2, 122.2 / 5 - 0.5], [0, 0, 1]], atol=1e-4)


def test_features_match_without_geometry(made):
    pytest.importorskip("cv2", reason="needs the extra 'features'")
    case = import_tum(made, (0, 2), (160, 120), matches="features")
    valid = case.values["valid_opt"][:, 0]
    small = scale_intrinsics(K, (240, 320), (160, 120))
    expected = poses.act(poses.inverse(np.array(case.document.truth_T_CkCf)), case.as_float("Xk")[valid])
    off = np.linalg.norm(project(expected, small) - project(case.as_float("Xf")[valid], small), axis=1)
    assert valid.sum() > 40
    assert np.median(off) < 1.5
    assert off.max() > 5  # a wrong match is in: nothing has filtered them
    angle, metres, _ = errors(solve(case).T_CkCf[0], np.array(case.document.truth_T_CkCf))
    assert (angle < 1.0, metres < 0.03) == (True, True)
    assert "opencv" in case.document.provenance.versions


def test_the_case_can_be_written_and_names_its_source(made, tmp_path):
    case = write_case(import_tum(made, (0, 1), SMALL), tmp_path / "case")
    provenance = case.document.provenance
    assert provenance.licence == "CC BY 4.0"
    assert "Sturm" in provenance.attribution
    assert "IROS 2012" in provenance.attribution
    assert "K.txt" in provenance.source
    assert f"{T0:.6f}.png" in provenance.source


def project(X: np.ndarray, camera: np.ndarray) -> np.ndarray:
    return np.stack([camera[i, i] * X[:, i] / X[:, 2] + camera[i, 2] for i in (0, 1)], axis=1)


# --- what may come in ------------------------------------------------------------------------------------------------------------


def test_timestamps_name_the_same_frames_as_indices(made):
    by_index, by_stamp = (import_tum(made, pair, SMALL) for pair in ((0, 2), (T0 + 0.004, T0 + 2 * STEP_S - 0.004)))
    assert by_index.document.tensors_sha256 == by_stamp.document.tensors_sha256


def test_lists_may_be_missing(sequence):
    with_lists = import_tum(sequence, (0, 2), SMALL)
    (sequence / "depth.txt").unlink()
    (sequence / "groundtruth.txt").rename(sequence / "groundtruth_clip.txt")
    without = import_tum(sequence, (0, 2), SMALL)
    assert with_lists.document.tensors_sha256 == without.document.tensors_sha256
    assert "groundtruth_clip.txt" in without.document.provenance.source


def test_a_trajectory_may_lie_elsewhere(sequence, tmp_path):
    before = import_tum(sequence, (0, 2), SMALL)
    elsewhere = (sequence / "groundtruth.txt").rename(tmp_path / "path.txt")
    assert import_tum(sequence, (0, 2), SMALL, groundtruth=elsewhere).document.tensors_sha256 == before.document.tensors_sha256


def test_where_intrinsics_come_from(sequence, tmp_path):
    assert tum_files.find_intrinsics(sequence, "1,2,3,4")[0].tolist() == [[1, 0, 3], [0, 2, 4], [0, 0, 1]]
    assert tum_files.find_intrinsics(sequence, (1, 2, 3, 4))[1] == "given as fx,fy,cx,cy"
    assert tum_files.find_intrinsics(sequence, "fr2")[0][0, 0] == 520.9
    assert tum_files.find_intrinsics(sequence, None)[1] == "K.txt"
    for name, fx in (("rgbd_dataset_freiburg1_desk", 517.3), ("tum_fr3_office", 535.4)):
        (tmp_path / name).mkdir()
        found, origin = tum_files.find_intrinsics(tmp_path / name, None)
        assert found[0, 0] == fx
        assert "folder's name" in origin


def test_poses_are_interpolated_as_scipy_does(made):
    file = made / "groundtruth.txt"
    rows = np.loadtxt(file)
    trajectory = tum_files.read_trajectory(file)
    for stamp in (rows[3, 0], rows[3, 0] + 0.001, rows[7, 0] + 0.0099):
        T = trajectory.at(stamp, 0.1)
        assert np.allclose(T[:3], [np.interp(stamp, rows[:, 0], rows[:, i]) for i in (1, 2, 3)], atol=1e-9)
        R = Slerp(rows[:, 0], Rotation.from_quat(rows[:, 4:8]))(stamp)
        assert (Rotation.from_quat(T[3:7]) * R.inv()).magnitude() < 1e-7
    one, other = T_WC(T0), T_WC(T0 + 0.5)
    flipped = other * np.array([1, 1, 1, -1, -1, -1, -1, 1])
    assert np.allclose(poses.interpolate(one, flipped, 0.3), poses.interpolate(one, other, 0.3), atol=1e-12)
    assert np.allclose(poses.interpolate(one, one, 0.3), one)


def test_shrinking_takes_the_pixel_nearest_to_each_centre():
    depth = np.arange(480 * 640, dtype=np.float64).reshape(480, 640)
    frame = Frame(tum_files.Stamped(0.0, Path("x.png")), depth, poses.IDENTITY)
    assert np.array_equal(shrink(frame, (128, 96)), depth[2::5, 2::5])
    big = shrink(frame, (512, 384))
    centres = (np.arange(512) + 0.5) * 1.25 - 0.5
    assert np.abs(big[0] % 640 - centres).max() <= 0.5
    assert np.array_equal(shrink(frame, (640, 480)), depth)


def test_each_colour_image_goes_to_one_depth_image():
    def at(*stamps: float) -> list[tum_files.Stamped]:
        return [tum_files.Stamped(t, Path(f"{t}.png")) for t in stamps]

    # The third depth image is nearest to a colour image that is nearer still to the second.
    assert tum_files.associate(at(1.0, 2.000, 2.012, 3.0), at(0.985, 2.004, 2.031, 3.1), 0.02) == {0: 0, 1: 1, 2: 2}


# --- real frames -----------------------------------------------------------------------------------------------------------------


def real_frames() -> Path:
    folder = Path(os.environ.get("SIM3SOLVE_TUM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "tum_fr1_desk" / "frames.txt").is_file():
        pytest.skip(f"no real frames: there is no tum_fr1_desk in {folder}; set SIM3SOLVE_TUM_DATA to the folder that has it")
    return folder / "tum_fr1_desk"


@pytest.mark.parametrize("kind", ["ray_dist", "calib"])
def test_real_frames(kind):
    folder = real_frames()
    rows = [line.split() for line in (folder / "frames.txt").read_text().splitlines() if not line.startswith("#")]
    case = import_tum(folder, (0, 8), (128, 96), kind)
    listed = [poses.pose([float(x) for x in rows[i][5:8]], [float(x) for x in rows[i][8:12]]) for i in (0, 8)]
    truth = np.array(case.document.truth_T_CkCf)
    angle, metres, _ = errors(truth, poses.compose(poses.inverse(listed[0]), listed[1]))
    assert (angle < 0.01, metres < 1e-4) == (True, True)
    assert 0.5 < case.values["valid_opt"].mean() < 0.8
    angle, metres, scale = errors(solve(case).T_CkCf[0], truth)
    assert (angle < 0.1, metres < 0.005, scale < 0.01) == (True, True, True)
