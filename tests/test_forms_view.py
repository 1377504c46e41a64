"""``harness view``: what is in the scene, and that Rerun itself reads it back."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_run import POSE, outcome, write_run

from harness.casefile import read_case
from harness.compare import pose_matrix
from harness.errors import HarnessError, UsageError
from harness.forms import view as module
from harness.forms.view import INITIAL, poses, scene, view

ROOT = Path(__file__).parents[1]
RAY, CALIB = (read_case(ROOT / "cases" / name) for name in ("synthetic-outliers", "synthetic-outliers-calib"))


class Logged(dict):
    """An archetype with what it was made of."""

    def __init__(self, *positional, **named):
        super().__init__(named, positional=positional)


class FakeRerun:
    Points3D = LineStrips3D = TextDocument = Logged

    class ViewCoordinates:
        RDF = "RDF"


@pytest.mark.parametrize("case", [RAY, CALIB], ids=["ray_dist", "calib"])
def test_the_scene(case):
    """Each entity against the values of the case, by this test's own mathematics."""
    truth = case.document.truth_T_CkCf
    drawn = scene(FakeRerun, case, {INITIAL: POSE, "my/solver.py:make": truth})
    assert {path for path in drawn if path.endswith("Xf/valid")} == {"Ck/initial/Xf/valid", "Ck/my_solver.py_make/Xf/valid"}
    valid = case.values["valid_opt"][:, 0].copy()
    if case.document.kind == "calib":
        valid &= case.values["valid_meas_k"][:, 0]
    points = drawn["Ck/Xk/valid"]["positional"][0]
    np.testing.assert_array_equal(points, case.as_float("Xk")[valid].astype(np.float32))
    assert len(points) + len(drawn["Ck/Xk/masked"]["positional"][0]) == case.document.n_points
    tx, ty, tz, qx, qy, qz, qw, s = truth
    Xf = case.as_float("Xf")[valid]
    q, t = np.array([qx, qy, qz]), np.array([tx, ty, tz])
    expected = s * (Xf + 2 * np.cross(q, np.cross(q, Xf) + qw * Xf)) + t
    moved = drawn["Ck/my_solver.py_make/Xf/valid"]
    np.testing.assert_allclose(moved["positional"][0], expected, rtol=1e-5, atol=1e-5)
    # At the true pose most points fit, and the outliers do not; where the solver began, hardly any fits.
    colours = [drawn[f"Ck/{name}/Xf/valid"]["colors"] for name in ("my_solver.py_make", INITIAL)]
    red, began = ((colour == [210, 50, 40]).all(axis=1).mean() for colour in colours)
    assert 0.02 < red < 0.6 and began > 0.8 > 2 * red
    strips = drawn["Ck/my_solver.py_make/camera"]["positional"][0]
    np.testing.assert_allclose(strips[1][0], t, rtol=1e-5)  # the frustum's tip is where the camera is
    assert len(strips) == 5 and np.ptp(drawn["Ck/camera"]["positional"][0][0][:, 2]) == 0


def test_the_frustum_of_a_calibrated_case_is_the_image_s():
    corners = scene(FakeRerun, CALIB, {})["Ck/camera"]["positional"][0][0][:4]
    K, (height, width) = CALIB.as_float("K"), CALIB.options.img_size
    pixel = (corners / corners[:, 2:]) @ K.T
    np.testing.assert_allclose(pixel[:, :2], [[0, 0], [width, 0], [width, height], [0, height]], atol=1e-3)


def test_poses_that_are_none_are_left_out():
    nan = (float("nan"),) * 8
    outcomes = [outcome(RAY.id, "good", T_CkCf=POSE), outcome(RAY.id, "bad", T_CkCf=nan), outcome("other", "x", T_CkCf=POSE)]
    found = poses(RAY, [*outcomes, outcome(RAY.id, "good", tool="asan", T_CkCf=POSE)])
    assert list(found) == [INITIAL, "good", "good asan", "truth"]
    T_WCk, T_WCf = (pose_matrix(RAY.as_float(name)[0]) for name in ("T_WCk", "T_WCf"))
    np.testing.assert_allclose(T_WCk @ pose_matrix(found[INITIAL]), T_WCf, atol=1e-9)


@pytest.mark.parametrize("name", ["degenerate-n-0", "degenerate-nan-valid", "degenerate-inf-valid", "degenerate-pose-nan",
                                  "degenerate-pose-scale-zero", "degenerate-valid-0", "degenerate-calib-behind"])  # fmt: skip
def test_degenerate_cases_have_a_scene_of_finite_points(name):
    case = read_case(ROOT / "cases" / name)
    for path, it in scene(FakeRerun, case, poses(case, [outcome(name, "s", T_CkCf=POSE)])).items():
        if "X" in path:
            assert np.isfinite(it["positional"][0]).all() and len(it["colors"]) in (1, len(it["positional"][0]))


def test_rerun_reads_it_back(tmp_path):
    """The real rerun-sdk: the file is saved by the command line, without a display, and read by Rerun's own reader."""
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed, or has no reader of recordings")
    run = write_run(tmp_path / "run", [outcome(CALIB.id, "torch", T_CkCf=POSE)])
    file = tmp_path / "new" / "a.rrd"
    argv = [sys.executable, "-m", "harness", "view", f"cases/{CALIB.id}", "--run", str(run), "--save", str(file)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    chunks = {str(it.entity_path): it for it in chunk.RrdReader(str(file)).stream()}
    wanted = {f"/Ck/{base}/Xf/{kind}" for base in ("initial", "torch", "truth") for kind in ("valid", "masked")}
    wanted |= {f"/Ck/{base}camera" for base in ("", "initial/", "torch/", "truth/")} | {
        "/Ck/Xk/valid",
        "/Ck/Xk/masked",
        "/about",
        "/Ck",
    }
    assert wanted == {path for path in chunks if not path.startswith("/__")}
    batch = chunks["/Ck/Xk/valid"].to_record_batch()
    column = next(name for name in batch.schema.names if "positions" in name.lower())
    valid = CALIB.values["valid_opt"][:, 0] & CALIB.values["valid_meas_k"][:, 0]
    np.testing.assert_array_equal(np.array(batch.column(column)[0].as_py()), CALIB.as_float("Xk")[valid].astype(np.float32))


def test_a_scene_that_cannot_be_written_is_an_error_at_once_and_leaves_nothing(tmp_path, monkeypatch):
    """Rerun's own writer waited for ever on a full disk."""
    pytest.importorskip("rerun")
    monkeypatch.setattr(module, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(HarnessError, match=r"a\.rrd: cannot be written: No space left"):
        view(RAY, (), tmp_path / "a.rrd")
    monkeypatch.undo()
    (tmp_path / "folder.rrd").mkdir()
    with pytest.raises(HarnessError, match=r"folder\.rrd: cannot be written"):
        view(RAY, (), tmp_path / "folder.rrd")
    assert [it.name for it in tmp_path.iterdir()] == ["folder.rrd"]


def test_without_rerun_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(UsageError, match="python -m pip install rerun-sdk"):
        view(RAY, (), None)
    assert "rerun" not in vars(module)


def test_an_op_case_has_nothing_to_look_at():
    with pytest.raises(UsageError, match="kind: an op case"):
        view(read_case(ROOT / "cases" / "op-sim3-identity-inv-cuda"), (), None)
