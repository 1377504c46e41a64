"""The command line: documents on stdout, exit codes 0, 1 and 2, help with examples, and errors that name file and field."""

from __future__ import annotations

import importlib.metadata
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_cli import harness

from harness.runfolder import resolved

ROOT = Path(__file__).parent.parent
REAL = "cases/real-fr1-desk-0-8-ray"


def test_replay_json_is_the_documented_document(tmp_path):
    words = ["replay", REAL, "--solver", "torch", "--json", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "harness", *words], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    assert set(document) >= {"run", "environment", "outcomes"}
    (outcome,) = document["outcomes"]
    assert set(outcome) >= {
        "case", "solver", "tool", "outcome", "status", "exit", "signal", "stage", "seconds", "iterations", "cost", "T_WCf",
        "T_CkCf", "parity", "findings", "verdict", "repeat",
    }  # fmt: skip
    assert (outcome["case"], outcome["solver"], outcome["outcome"]) == ("real-fr1-desk-0-8-ray", "torch", "OK")
    assert outcome["parity"]["within"] is True
    assert len(outcome["T_CkCf"]) == 8 and math.isclose(sum(x * x for x in outcome["T_CkCf"][3:7]), 1, abs_tol=1e-5)
    assert document["environment"]["os"] and document["environment"]["torch"]
    assert (tmp_path / document["run"] / "index.html").is_file()


def test_a_failure_is_exit_code_1_and_is_explained(tmp_path):
    done = harness("replay", "cases/degenerate-n-33", "--solver", "tests/windows/faults_of_both.py:abort", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "CRASHED" in done.stdout and "again: python -m harness replay" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("replay", REAL, "--solver", "cude"), "unknown"),
        (("replay", "no/such/case"), "no such folder"),
        (("replay", REAL, "--tool", "valgrind"), "unknown"),
        (("replay", REAL, "--device", "tpu"), "must be auto, cpu, cuda"),
        (("replay", REAL, "--timeout", "-1"), "--timeout"),
        (("replay",), "Missing argument"),
        (("report", "no/such/run"), "run.json"),
        (("case", "show", "tests"), "case.json"),
        (("import", "tum", "no/such/sequence", "--pair", "0:1"), "no/such/sequence"),
        (("import", "synthetic", "moon"), "unknown"),
        (("import", "synthetic", "all", "--size", "0x5"), "WIDTHxHEIGHT"),
        (("frobnicate",), "No such command"),
    ],
)
def test_wrong_use_is_exit_code_2_and_no_traceback(words, message, tmp_path):
    done = harness(*words, *(["--out", str(tmp_path)] if words[0] == "replay" else []))
    assert done.returncode == 2, done
    assert message in " ".join(done.stderr.replace("\\", "/").split())
    assert "Traceback" not in done.stderr


VERBS = ["repro", "replay", "report", "compare", "history", "import tum", "import synthetic"]
VERBS += [f"case {verb}" for verb in ("list", "show", "verify", "pack", "unpack")]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb):
    done = harness(*verb.split(), "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout


def test_case_verbs(tmp_path):
    listed = json.loads(harness("case", "list", "cases", "--json").stdout)["cases"]
    assert len(listed) == len(list((ROOT / "cases").glob("*/case.json")))
    shown = json.loads(harness("case", "show", REAL, "--json").stdout)
    assert shown["schema"] == "sim3solve-case/1" and shown["id"] == "real-fr1-desk-0-8-ray"
    assert "CC BY" in harness("case", "show", REAL).stdout
    archive = tmp_path / "case.zip"
    assert harness("case", "pack", REAL, str(archive)).returncode == 0
    assert harness("case", "unpack", str(archive), "--into", str(tmp_path)).returncode == 0
    copy = tmp_path / "real-fr1-desk-0-8-ray"
    assert (copy / "tensors.safetensors").read_bytes() == (ROOT / REAL / "tensors.safetensors").read_bytes()
    data = bytearray((copy / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "tensors.safetensors").write_bytes(data)
    done = harness("case", "verify", str(copy), "--json")
    problem = json.loads(done.stdout)["problems"][0]
    assert done.returncode == 1 and problem["file"].endswith("tensors.safetensors") and problem["field"]


def test_a_broken_case_stops_a_replay_with_file_and_field(tmp_path):
    copy = tmp_path / "broken"
    shutil.copytree(ROOT / "cases" / "degenerate-n-33", copy)
    document = json.loads((copy / "case.json").read_text())
    document["options"] = {"huber": -1.0}
    (copy / "case.json").write_text(json.dumps(document))
    done = harness("replay", str(copy), "--out", str(tmp_path / "runs"))
    assert done.returncode == 2
    assert "case.json" in done.stderr and "huber" in done.stderr


def test_import_writes_a_case_that_replays(tmp_path):
    done = harness("import", "synthetic", "room-ray", "--size", "32x24", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    again = harness("import", "synthetic", "room-ray", "--size", "32x24", "--out", str(tmp_path))
    assert again.returncode == 2 and "exists already" in again.stderr
    case = tmp_path / "synthetic-room-ray"
    assert harness("replay", str(case), "--solver", "torch", "--out", str(tmp_path / "runs")).returncode == 0


def test_report_is_written_again_from_the_run_alone(tmp_path):
    harness("replay", "cases/degenerate-n-0", "--solver", "skip", "--out", str(tmp_path))
    page = resolved(tmp_path / "latest") / "index.html"
    before = page.read_bytes()
    page.unlink()
    assert harness("report", str(tmp_path / "latest")).returncode == 0
    assert page.read_bytes() == before


def test_runs_from_any_folder(tmp_path):
    """A folder called harness in the user's own project is not taken for ours by the children."""
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    program = "import sys; sys.path.pop(0); from harness.cli.main import main; main()"
    argv = [sys.executable, "-c", program, "replay", str(ROOT / "cases" / "degenerate-n-33"), "--solver", "torch", "--out", "runs"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_version_is_that_of_the_package():
    done = harness("--version")
    try:
        version = importlib.metadata.version("sim3solve")
    except importlib.metadata.PackageNotFoundError:  # where only its folder is on the path
        version = "not installed: run from its sources"
    assert (done.returncode, done.stdout) == (0, f"{version}\n")


def test_the_parent_never_imports_torch(tmp_path):
    """A broken torch must not take the harness along: not with --help, not with a whole replay and its report."""
    program = (
        "import sys; from harness.cli.main import app\n"
        f"try: app(['replay', 'cases/degenerate-n-33', '--solver', 'torch', '--out', {str(tmp_path)!r}])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "bad = {'torch', 'harness.solvers', 'harness.worker', 'sim3solve.pytorch', 'sim3solve.reference'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
