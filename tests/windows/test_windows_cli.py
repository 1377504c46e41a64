"""The command line from a case to a report, with the native solver as a DLL and a solver that fails, as a user runs it there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_cli import harness

from harness.casefile import read_case, write_case

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="Windows' own")

ROOT = Path(__file__).parents[2]
FAILS = """
from harness.solvers import Solver

def make():
    def solve(problem, options, observe):
        raise RuntimeError("no pose today")
    return Solver(solve, arrays="numpy", devices=("cpu",))
"""
CASE = ROOT / "cases" / "degenerate-n-33"


def program(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "harness", *words]
    return subprocess.run(argv, cwd=cwd, capture_output=True, encoding="utf-8", errors="replace", timeout=250)


def test_from_cases_to_a_report_with_native_and_a_solver_that_fails(tmp_path):
    folder = tmp_path / "mit Leerzeichen ü 山"
    folder.mkdir()
    (folder / "fails.py").write_text(FAILS, encoding="utf-8")
    cases = [str(CASE), str(ROOT / "cases" / "real-fr1-desk-0-8-ray")]
    done = program("replay", *cases, "--solver", "native", "--solver", "fails.py:make", "--out", "runs", "--json", cwd=folder)
    document = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    ends = {(it["case"], it["solver"]): it for it in document["outcomes"]}
    for name in ("degenerate-n-33", "real-fr1-desk-0-8-ray"):
        assert (ends[name, "native"]["outcome"], ends[name, "native"]["expected"]) == ("OK", True)
        assert ends[name, "fails.py:make"]["outcome"] == "RAISED" and ends[name, "fails.py:make"]["expected"] is False
        assert "no pose today" in ends[name, "fails.py:make"]["exception"]["message"]
    run = next((folder / "runs").glob("2*"))
    page = (run / "index.html").read_text(encoding="utf-8")
    assert "fails.py:make" in page and "real-fr1-desk-0-8-ray" in page
    again = harness("report", str(run), cwd=folder)
    assert again.returncode == 0 and (run / "index.html").read_text(encoding="utf-8") == page
    told = harness("export", str(run), "--markdown", "-", cwd=folder)
    assert told.returncode in (0, 1) and "fails.py:make" in told.stdout


def test_a_case_with_windows_line_ends_is_the_same_case(tmp_path):
    shutil.copytree(CASE, tmp_path / "crlf")
    file = tmp_path / "crlf" / "case.json"
    file.write_bytes(file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    ours, theirs = read_case(CASE), read_case(tmp_path / "crlf")
    assert ours.document == theirs.document


def test_a_path_beyond_260_characters(tmp_path):
    """That nothing of ours stops there. It shows nothing of Windows' own limit: wine has none."""
    deep = tmp_path.joinpath(*["a folder with a long name of forty letters"] * 6)
    try:
        deep.mkdir(parents=True)
    except OSError:
        pytest.skip("long paths are off here")
    assert len(str(deep)) > 260
    written = write_case(read_case(CASE), deep / "case")
    assert read_case(deep / "case").document == written.document
