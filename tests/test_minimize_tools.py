"""Minimizing what only a tool or a memory mode shows, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from minimize_cases import FAULTS, poisoned, run
from typer.testing import CliRunner

from harness.case import TensorSpec
from harness.casefile import read_document
from harness.cli.main import app
from harness.errors import UsageError
from harness.minimize import Failure
from harness.minimize.failure import Answer, failure_of
from harness.sanitizer import hosttools
from sim3solve import compiler

ROOT = Path(__file__).parent.parent
CASES = ROOT / "cases"
SANITIZED = Path(__file__).with_name("sanitized_solvers.py")
MEMORY = Path(__file__).with_name("memory_faults.py")
posix = pytest.mark.skipif(os.name == "nt", reason="a fatal access becomes an exception of ctypes' on Windows")


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> str:
    try:
        hosttools.find(request.param)
    except hosttools.RuntimeMissing as missing:
        pytest.skip(str(missing))
    return request.param


@pytest.fixture
def built() -> None:
    try:
        compiler.find()
    except compiler.CompilerMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("tool", ["ubsan"], indirect=True)
def test_a_misaligned_load_that_ubsan_finds_keeps_its_alignment(tmp_path, tool):
    """Wide loads from the rows: whichever the layout, one row is misaligned; what is kept is the finding, down to one row."""
    spec = TensorSpec(dtype="float32", shape=(200, 3), stride=(4, 1), data_ptr_mod_512=4, storage_offset=1)
    case = poisoned(tmp_path, 200, specs={"Xf": spec})
    result = run(case, f"{SANITIZED}:a_wide_load", tmp_path / "out", tool=tool, timeout=120, tries=1, max_runs=60)
    assert result.failure.startswith("signature finding | misaligned") and "8B" in result.failure and result.verified
    small = read_document(result.case).tensors["Xf"]
    assert result.after.points <= 3 and small.data_ptr_mod_512 % 8 == 4 and small.storage_offset == 0
    assert "--tool ubsan" in result.repeat


@pytest.mark.parametrize("tool", ["asan"], indirect=True)
def test_a_read_past_the_end_that_asan_finds(tmp_path, tool):
    case = poisoned(tmp_path, 64)
    result = run(case, f"{SANITIZED}:a_row_too_far", tmp_path / "out", tool=tool, timeout=120, tries=1, max_runs=40)
    assert "out-of-bounds" in result.failure and result.after.points <= 3 and result.verified and result.how == "asan"


@posix
def test_a_read_past_the_end_that_exact_memory_shows(tmp_path, built):
    healthy = run(poisoned(tmp_path, 200), f"{MEMORY}:read_past", tmp_path / "pool")
    assert healthy.state == "healthy"  # a pool hides it
    result = run(tmp_path / "room", f"{MEMORY}:read_past", tmp_path / "exact", memory="exact")
    assert "crash | access-violation" in result.failure and result.verified and result.after.points == 1
    assert result.how == "none+exact" and "--memory exact" in result.repeat


@posix
def test_a_fault_of_another_layout_becomes_a_case_of_its_own(tmp_path):
    case = poisoned(tmp_path, 200, 50)
    assert run(case, "misaligned", tmp_path / "recorded", target="outcome:CRASHED").state == "not shown"
    result = run(case, "misaligned", tmp_path / "shifted", target="outcome:CRASHED", layout="shift-4")
    assert result.after.points == 1 and read_document(result.case).tensors["Xk"].data_ptr_mod_512 == 4


# --- what to keep -----------------------------------------------------------------------------------------------------------------


def test_targets_are_what_they_say():
    crash = Answer("CRASHED", ("crash | access-violation | a.b",), expected=False)
    other = Answer("CRASHED", ("crash | abort | a.b",), expected=False)
    signature = failure_of(crash)
    assert signature is not None and signature.shown_by(crash) and not signature.shown_by(other) and not signature.needs_oracle
    assert Failure.parse("outcome:CRASHED").shown_by(other) and not Failure.parse("outcome:TIMEOUT").shown_by(other)
    several = Answer("FINDINGS", ("finding | race", "finding | out-of-bounds"), expected=False)
    assert Failure.parse("signature:finding | out-of-bounds").shown_by(several)
    far = Failure.parse("d > 0.5")
    assert far.shown_by(Answer("OK", d_sigma=0.6)) and far.shown_by(Answer("OK", d_sigma=float("nan")))
    assert not far.shown_by(Answer("OK", d_sigma=0.5)) and not far.shown_by(Answer("OK"))
    status = failure_of(Answer("SOLVER_STATUS", ("status | NON_FINITE | s",), "NON_FINITE", expected=False, agrees=False))
    assert status is not None and status.unlike_oracle and status.needs_oracle
    assert not status.shown_by(Answer("SOLVER_STATUS", ("status | NON_FINITE | s",), "NON_FINITE", expected=False, agrees=True))
    assert failure_of(Answer("OK", expected=True)) is None and failure_of(Answer("CRASHED", ("crash",), expected=True)) is None
    unnamed = failure_of(Answer("OK", expected=False, agrees=False))
    assert unnamed == Failure("outcome", "OK", unlike_oracle=True)


@pytest.mark.parametrize("text", ["", "CRASHED", "outcome:DIED", "status:", "status:FINE", "d>x", "d>nan", "d>-1", "signature: "])
def test_a_target_that_means_nothing_is_refused(text):
    with pytest.raises(UsageError, match="--target"):
        Failure.parse(text)


# --- the command line -------------------------------------------------------------------------------------------------------------


def minimize(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-m", "harness", "minimize", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200)


@posix
def test_the_command_prints_a_table_and_with_json_one_document(tmp_path):
    case = poisoned(tmp_path, 300, 7)
    words = (str(case), "--solver", f"{FAULTS}:one_point", "--budget", "2m")
    done = minimize(*words, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for text in ("whole case", "smaller case", "100% of 3", "points kept: 7", "no single point can be removed", "again: python -m"):
        assert text in done.stdout
    (out,) = (tmp_path / "reports" / "minimized").iterdir()
    assert out.name.startswith("room__minimize_faults.py-one_point-") and (out / "room-min" / "case.json").is_file()
    again = minimize(*words, "--json", "--out", str(out), cwd=tmp_path)
    document = json.loads(again.stdout)
    assert document["after"] == {"points": 1, "iterations": 1, "bytes": 93} and Path(document["case"]).name == "room-min"
    assert document["kept"] > 20 and again.stderr == ""


def test_what_does_not_fail_ends_with_0(tmp_path):
    done = minimize(str(CASES / "degenerate-n-33"), "--solver", "reference", "--out", str(tmp_path / "out"))
    assert done.returncode == 0 and "healthy: the case does not fail" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-folder", "--solver", "native"], "no such folder"),
        (["cases", "--solver", "native"], "give one"),
        (["cases/degenerate-n-33", "--solver", "nativ"], "did you mean native"),
        (["cases/degenerate-n-33", "--solver", "native", "--tool", "gdb"], "--tool gdb"),
        (["cases/degenerate-n-33", "--solver", "native", "--target", "d>x"], "--target d>x"),
        (["cases/degenerate-n-33", "--solver", "native", "--budget", "soon"], "--budget soon"),
        (["cases/degenerate-n-33", "--solver", "native", "--memory", "heap"], "--memory heap"),
        (["cases/degenerate-n-33", "--solver", "native", "--layout", "sideways"], "sideways"),
        (["cases/degenerate-n-33", "--solver", "native", "--device", "tpu"], "--device tpu"),
    ],
)
def test_wrong_use_is_one_line_that_names_it(tmp_path, words, said):
    done = minimize(*words, "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_help_has_examples():
    shown = CliRunner().invoke(app, ["minimize", "--help"])
    assert shown.exit_code == 0 and "Examples:" in shown.output and "--budget" in shown.output
