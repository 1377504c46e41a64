"""Each verb once on Windows, on the smallest case: that it works there at all. What it does is tested by its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_cli import ROOT, harness

from harness.casefile import read_document

pytestmark = pytest.mark.skipif(os.name != "nt", reason="Windows' own")
CASE = ROOT / "cases" / "degenerate-n-33"
FAULTS = Path(__file__).with_name("faults_of_both.py")
MINE = """from harness.solvers import Solver
def make():
    return Solver(lambda problem, options, observe: {}, arrays="numpy", devices=("cpu",))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of two runs of native and of a solver that is wrong in the first and raises in the second."""
    out = tmp_path_factory.mktemp("runs")
    mine = out / "mine.py"
    mine.write_text(MINE.format("(problem.T_WCf, problem.T_WCf)"), encoding="utf-8")
    done = harness("replay", str(CASE), "--solver", "native", "--solver", f"{mine}:make", "--out", str(out))
    assert done.returncode in (0, 1), done.stdout + done.stderr
    mine.write_text(MINE.format("int('no number')"), encoding="utf-8")
    done = harness("replay", str(CASE), "--solver", "native", "--solver", f"{mine}:make", "--out", str(out))
    assert done.returncode == 1, done.stdout + done.stderr
    return out


def test_compare_and_history(runs):
    first, second = sorted(runs.glob("2*"))
    done = harness("compare", str(first), str(second), "--json")
    assert done.returncode in (0, 1) and json.loads(done.stdout)["a"] == str(first), done.stderr
    done = harness("history", str(runs))
    assert done.returncode == 1 and "new in the newest run: raised | ValueError" in done.stdout, done.stdout + done.stderr


def test_minimize(tmp_path):
    solver = f"{FAULTS}:access_violation"
    few = ["--max-runs", "3", "--tries", "1", "--timeout", "300", "--out", str(tmp_path / "out")]
    done = harness("minimize", str(CASE), "--solver", solver, *few, "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "crash | access-violation" in done.stdout
    (smaller,) = (tmp_path / "out").glob("*/case.json")
    assert read_document(smaller.parent).n_points < read_document(CASE).n_points


def test_fuzz(tmp_path):
    done = harness("fuzz", str(CASE), "--executions", "4", "--timeout", "120", "--out", str(tmp_path / "fuzz"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["executions"] >= 4


def test_bisect_says_that_it_needs_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = harness("bisect", str(CASE), "--good", "HEAD~1", "--bad", "HEAD")
    assert done.returncode == 2 and "git" in done.stderr and "Traceback" not in done.stderr


def test_probe_of_what_is_not_installed():
    done = harness("probe", "lietorch")
    assert done.returncode == 1 and "No module named" in done.stdout, done.stdout + done.stderr


def test_audit(tmp_path):
    done = harness("audit", sys.executable, "--json")
    assert done.returncode == 0 and "PE" in done.stdout, done.stderr


def test_doctor():
    done = harness("doctor", "--timeout", "300", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["solver native"]["state"] == "ok", checks["solver native"]
    assert checks["ASan"]["state"] == checks["UBSan"]["state"] == "skip"
    assert "--memory exact" in checks["ASan"]["fix"]


def test_record_names_how_the_program_ended(tmp_path):
    program = tmp_path / "main.py"
    program.write_text("import os; os._exit(-1)", encoding="utf-8")
    done = harness("record", "--out", str(tmp_path / "recorded"), "--json", "--", sys.executable, str(program))
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit"]["name"], document["exit"]["crashed"]) == (1, "exit -1", False)
    assert document["calls"] == [] and "never imported" in document["why_empty"]


def test_record_starts_the_python_of_path(tmp_path, monkeypatch):
    """Windows itself looks first in the folder of the program that asks: there lies the Python below a virtual environment."""
    other = tmp_path / "venv"
    other.mkdir()
    (other / "python.bat").write_text("@exit 7\n", encoding="ascii")
    monkeypatch.setenv("PATH", f"{other}{os.pathsep}{os.environ['PATH']}")
    done = harness("record", "--out", str(tmp_path / "recorded"), "--json", "--", "python", "-c", "import os; os._exit(77)")
    assert json.loads(done.stdout)["exit"]["code"] == 7


def test_replay_in_exact_memory_and_by_pytest(tmp_path):
    done = harness("replay", str(CASE), "--solver", "native", "--memory", "exact", "--memory", "poison", "--out", str(tmp_path))
    assert done.returncode == 0 and "2 of 2 as expected" in done.stdout, done.stdout + done.stderr
    words = ["-p", "no:cacheprovider", str(CASE), "--solver", "native", "-q"]
    argv = [sys.executable, "-m", "pytest", *words]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace", timeout=280)
    assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout + ran.stderr
