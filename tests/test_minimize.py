"""On planted faults the true minimum is reached, in a bounded number of runs, and never that of another fault."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from minimize_cases import FAULTS, operation, poisoned, run

from harness.case import TensorSpec
from harness.casefile import read_case, read_document
from harness.errors import SolverUnavailable, UsageError
from harness.minimize.ddmin import PROBES
from harness.minimize.result import EXPECTED, HEALTHY, MINIMIZED, NOT_SHOWN

ROOT = Path(__file__).parent.parent
CASES = ROOT / "cases"
posix = pytest.mark.skipif(os.name == "nt", reason="a fatal access becomes an exception of ctypes' on Windows")
SLOW = pytest.mark.slow
BIG = 196608
AROUND = 3 + 3 + 30
"""Runs besides those for points: the whole case, the smaller one, and iterations and values at most."""


def plain(case: Path, *but: str) -> bool:
    """Whether all tensors but these are in C order, at a multiple of 512, in memory of their own."""
    specs = {name: spec for name, spec in read_document(case).tensors.items() if name not in but}
    return all(spec == TensorSpec.contiguous(spec.dtype, spec.shape) for spec in specs.values())


@posix
def test_the_one_poisonous_point_of_a_whole_image(tmp_path):
    case = poisoned(tmp_path, BIG, 123457, title="a room", tags=("synthetic",))
    result = run(case, "one_point", tmp_path / "out")
    assert result.state == MINIMIZED and result.failed and result.complete and not result.stopped
    assert result.rows == (123457,) and (result.before.points, result.after.points) == (BIG, 1)
    assert result.runs <= 2 * math.ceil(math.log2(BIG)) + len(PROBES) + AROUND
    assert (result.rate, result.rate_after, result.verified) == (1.0, 1.0, True)
    assert "access-violation" in result.failure and "minimize_faults" in result.failure
    # An ordinary case, which says where it comes from and expects what a mended solver does.
    small = read_case(tmp_path / "out" / "room-min")
    assert result.case == small.path and small.document.tags == ("synthetic", "minimized")
    assert small.as_float("Xk").tolist() == [[7654.25, 0, 0]] and small.options.max_iters == 1
    assert small.as_float("T_WCk").tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]] and plain(small.path)
    source = small.document.provenance.source
    assert "minimized from the case room" in source and "1 of 196608 points kept: 123457" in source and "made for a test" in source
    assert small.document.expect.outcomes == ("SOLVER_STATUS",) and small.document.expect.statuses[0] == "TOO_FEW_MATCHES"
    for solver, code in (("reference", 0), (f"{FAULTS}:one_point", 1)):
        argv = [sys.executable, "-m", "harness", "replay", str(small.path), "--solver", solver, "--out", str(tmp_path / "runs")]
        assert subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=120).returncode == code
    document = json.loads((tmp_path / "out" / "minimize.json").read_text())
    assert document["case"] == "room-min" and document["rows"] == [123457] and document["state"] == MINIMIZED
    assert sum(line["runs"] for line in document["history"]) <= document["runs"] - 6  # less the whole case's and the last ones
    assert {line["phase"] for line in document["history"]} >= {"points", "iterations", "values and memory"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["answers.jsonl", "minimize.json", "room-min"]


@posix
@pytest.mark.slow
def test_the_pair_that_only_fails_together(tmp_path):
    result = run(poisoned(tmp_path, BIG, 9000, 123457), "two_points", tmp_path / "out")
    assert result.rows == (9000, 123457) and result.complete
    assert result.runs <= 2 * (2 * math.ceil(math.log2(BIG)) + 12) + AROUND  # twice: both cores look ahead


@posix
@pytest.mark.slow
def test_a_number_of_points_whichever_they_are(tmp_path):
    result = run(poisoned(tmp_path, BIG), "at_least_33", tmp_path / "out")
    assert result.after.points == 33 and result.complete and result.runs <= 120 + 2 * AROUND


@posix
def test_three_iterations_and_no_more(tmp_path):
    result = run(poisoned(tmp_path), "third_iteration", tmp_path / "out")
    assert (result.after.iterations, result.after.points) == (3, 1) and result.before.iterations == 50
    assert "_third_iteration" in result.failure


@posix
@pytest.mark.parametrize(
    ("solver", "tensor", "spec", "kept"),
    [
        pytest.param("strided", "Xf", {"stride": (6, 2)},
                     lambda spec: spec.stride[1] == 2 and spec.storage_offset == 0, marks=SLOW),
        pytest.param("strided", "Xf", {"stride": (1, 2000)}, lambda spec: spec.stride == (1, 2000), marks=SLOW),
        ("gapped", "Xk", {"stride": (4, 1)}, lambda spec: spec.stride == (4, 1) and spec.data_ptr_mod_512 == 0),
        ("misaligned", "Xk", {"storage_offset": 5, "data_ptr_mod_512": 20},
         lambda spec: spec.data_ptr_mod_512 == 20 and spec.storage_offset == 0 and spec.stride == (3, 1)),
    ],
)  # fmt: skip
def test_what_it_needs_of_a_layout_is_kept_and_nothing_else(tmp_path, solver, tensor, spec, kept):
    base = {"dtype": "float32", "shape": (2000, 3), "stride": (3, 1), "storage_offset": 12, "data_ptr_mod_512": 48}
    others = {"Qk": TensorSpec(dtype="float32", shape=(2000, 1), stride=(2, 1), storage_offset=3, data_ptr_mod_512=12)}
    case = poisoned(tmp_path, 2000, 700, specs={tensor: TensorSpec(**base | spec), **others})
    result = run(case, solver, tmp_path / "out")
    assert result.after.points == 1 and result.complete and result.verified
    assert kept(read_document(result.case).tensors[tensor]) and plain(result.case, tensor)


@posix
def test_a_point_that_must_lie_where_it_lay(tmp_path):
    """Row 1027 of rows of 12 bytes lies 4 bytes past a multiple of 16; moved up to the front it would not."""
    result = run(poisoned(tmp_path, 2000, 1027), "row_misaligned", tmp_path / "out", target="outcome:CRASHED")
    assert result.rows == (1027,) and result.verified
    spec = read_document(result.case).tensors["Xk"]
    assert spec.data_ptr_mod_512 % 16 == 4 and plain(result.case, "Xk")
    assert "the first of them lies where point 1027 lay" in read_document(result.case).provenance.source


@posix
def test_sharing_that_is_needed_is_kept(tmp_path):
    result = run(CASES / "layout-same-tensor", "shared", tmp_path / "out", target="outcome:CRASHED")
    tensors = read_document(result.case).tensors
    assert result.after.points == 1 and tensors["Xf"].alias_group == tensors["Xk"].alias_group is not None
    assert plain(result.case, "Xf", "Xk")


@posix
def test_one_pose_is_needed_and_the_other_is_not(tmp_path):
    result = run(poisoned(tmp_path), "keyframe_pose", tmp_path / "out")
    small = read_case(result.case)
    (pose,) = small.as_float("T_WCk").tolist()
    assert small.as_float("T_WCf").tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]]
    assert pose[0] != 0 and abs(pose[0] - float(f"{pose[0]:.2g}")) < 1e-6  # two digits
    assert pose[1:6] == [0] * 5 and (small.as_float("Xf") == 1).all()


@posix
@pytest.mark.slow
def test_it_never_becomes_another_bug(tmp_path):
    """With fewer than ten points this solver aborts instead: another signature."""
    case = poisoned(tmp_path, 2000, 700)
    result = run(case, "two_bugs", tmp_path / "out")
    assert result.after.points == 10 and 700 in result.rows and "access-violation" in result.failure
    assert any("abort" in line.answer and not line.fails for line in result.history)
    looser = run(case, "two_bugs", tmp_path / "out", target="outcome:CRASHED")
    assert looser.rows == (700,) and looser.failure == "outcome CRASHED"


@pytest.mark.slow
def test_a_wrong_pose_is_told_by_the_oracle_at_every_step(tmp_path):
    result = run(poisoned(tmp_path, 600, 321), "wrong_pose", tmp_path / "out")
    assert 321 in result.rows and result.after.points == 3 and result.failure.startswith("signature wrong-pose")
    assert read_document(result.case).expect.parity


@pytest.mark.slow
def test_a_limit_on_the_distance_is_kept(tmp_path):
    result = run(poisoned(tmp_path, 600, 321), "wrong_pose", tmp_path / "out", target="d>2", max_runs=120)
    assert 321 in result.rows and result.verified and result.after.points < 10
    assert all("wrong-pose" in line.answer for line in result.history if line.fails)


@pytest.mark.slow
def test_a_status_that_the_oracle_does_not_give_stays_one(tmp_path):
    """Points on a line have no pose for anybody. Only where the oracle has one, or another reason, it is the bug."""
    result = run(poisoned(tmp_path, 600, 321), "no_pose", tmp_path / "out")
    assert result.rows == (321,) and result.failure.startswith("signature status | NOT_POSITIVE_DEFINITE")
    assert read_document(result.case).expect.statuses[0] == "TOO_FEW_MATCHES"


@posix
@pytest.mark.slow
def test_a_failure_that_comes_and_goes_is_voted_on(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMIZE_LOG", str(tmp_path / "log"))
    case = poisoned(tmp_path, 60, 41)
    result = run(case, "sometimes", tmp_path / "out", target="outcome:CRASHED", jobs=1, max_runs=200)
    assert result.rows == (41,) and (result.tries, result.tries_after) == (20, 20)
    assert 0.6 <= result.rate <= 0.7 and 0.6 <= result.rate_after <= 0.7 and result.verified
    assert all(line.runs >= 3 for line in result.history)


@pytest.mark.slow
def test_a_hang_is_minimized_within_its_own_limit(tmp_path):
    result = run(poisoned(tmp_path, 16, 11), "hangs", tmp_path / "out", timeout=1.5, jobs=4, tries=5, max_runs=24)
    assert result.rows == (11,) and result.failure == "signature timeout | solving | minimize_faults.solve"
    assert (result.rate, result.rate_after) == (1, 1)


@posix
def test_the_batch_of_an_operation(tmp_path):
    result = run(operation(tmp_path, 500, 321), "op", tmp_path / "out")
    assert result.rows == (321,) and result.verified
    assert read_case(result.case).as_float("X").tolist() == [[0, 0, 0, 0, 0, 0, 1, 2.5]]
    assert "1 of 500 rows kept: 321" in read_document(result.case).provenance.source


@posix
@pytest.mark.slow
def test_a_calibrated_case(tmp_path):
    result = run(CASES / "synthetic-room-calib", "at_least_33", tmp_path / "out")
    small = read_case(result.case)
    assert result.after.points == 33 and small.document.kind == "calib" and (small.as_float("meas_k") == 1).all()


# --- nothing to minimize ----------------------------------------------------------------------------------------------------------


def test_what_does_not_fail_is_said(tmp_path):
    result = run(CASES / "degenerate-n-33", "reference", tmp_path / "out")
    assert (result.state, result.failed, result.case) == (HEALTHY, False, None) and "does not fail" in result.said
    assert json.loads((tmp_path / "out" / "minimize.json").read_text())["state"] == HEALTHY


@pytest.mark.slow
def test_what_fails_as_the_case_expects_is_said_and_minimized_when_asked_for(tmp_path):
    case = CASES / "degenerate-nan-valid"
    result = run(case, "reference", tmp_path / "out")
    assert (result.state, result.failed) == (EXPECTED, False) and "NON_FINITE" in result.said
    asked = run(case, "reference", tmp_path / "out", target="status:NON_FINITE")
    assert asked.state == MINIMIZED and asked.expected and not asked.failed and asked.verified
    document = read_document(asked.case)
    assert asked.after.points == 1 and document.expect == read_document(case).expect


def test_what_shows_another_failure_than_asked_for_is_said(tmp_path):
    result = run(poisoned(tmp_path, 50), "wrong_pose", tmp_path / "out", target="outcome:CRASHED")
    assert result.state == NOT_SHOWN and result.failed and "does not show outcome CRASHED" in result.said


def test_what_cannot_be_tried_is_an_error(tmp_path):
    with pytest.raises(SolverUnavailable):
        run(poisoned(tmp_path, 50), "unavailable", tmp_path / "out")
    with pytest.raises(UsageError, match="--memory heap"):
        run(tmp_path / "room", "one_point", tmp_path / "out", memory="heap")
