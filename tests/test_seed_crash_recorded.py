"""The seed crash as it was measured on an NVIDIA H200, kept whole: what the harness concludes from it is tested on any machine.

lietorch e7df865 built with weak stubs and no inlining, its CPU object linked first; the run of ``op-sim3-identity-inv-cuda`` with
and without memcheck (compute-sanitizer 2025.3.1), the audit of the two objects and the probe's 7856 calls. Paths were made neutral.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness.diagnosis.documents import Documents, read_audit, read_probe
from harness.diagnosis.ofrun import diagnosed_run, documents_of
from harness.probe.conclusion import findings
from harness.probe.rungs import Result, Rung
from harness.run import Run, read_run

KEPT = Path(__file__).parent / "recordings" / "seed-lietorch-collided.tar.xz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("seed")
    with tarfile.open(KEPT) as archive:
        archive.extractall(into, filter="data")
    return into / "run"


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_run(folder)


def test_both_runs_died_on_the_host_and_memcheck_saw_no_error_of_the_device(run: Run) -> None:
    outcomes = {o.tool: o for o in run.outcomes}
    assert {tool: (o.kind.value, o.exit and o.exit.signal) for tool, o in outcomes.items()} == dict.fromkeys(
        ("none", "memcheck"), ("CRASHED", "SIGSEGV")
    )
    watched = outcomes["memcheck"]
    assert watched.tool_state == "tool failed" and not watched.findings
    assert any("ERROR SUMMARY: 0 errors" in note for note in watched.notes)


def test_without_the_audit_the_collision_is_likely(run: Run) -> None:
    (bug,) = diagnosed_run(run, Documents()).bugs
    assert (bug.diagnosis.cause, bug.diagnosis.confidence) == ("host-symbol-collision", "likely")
    assert bug.signature == "crash | access-violation | group_ops.forward < groups.apply_op < groups.inv"


def test_with_the_audit_and_the_probe_it_is_proven(folder: Path, run: Run) -> None:
    own, problems = documents_of(run)  # audit.json and probe.json in the run's folder
    assert not problems and len(own.audits) == 1 and own.probe is not None
    (bug,) = diagnosed_run(run, own).bugs
    assert (bug.diagnosis.cause, bug.diagnosis.confidence) == ("host-symbol-collision", "proven")
    assert "144 kernels" in bug.diagnosis.sentence and "misaligned" not in bug.diagnosis.sentence
    assert any("inv_forward_kernel<SE3<float>, float>" in fact.quote for fact in bug.diagnosis.facts)
    assert read_audit(folder / "audit.json") == own.audits[0] and read_probe(folder / "probe.json") == own.probe


def test_the_command_says_so(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "diagnose", str(folder), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (bug,) = json.loads(done.stdout)["bugs"]
    assert (bug["cause"], bug["confidence"]) == ("host-symbol-collision", "proven")


def test_the_probe_puts_its_finger_on_the_cuda_path_of_every_op(folder: Path) -> None:
    kept = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
    names = ("op", "group", "dtype", "device", "batch", "layout", "stream", "thread")
    results = [Result(Rung(*(rung[n] for n in names)), rung["result"], rung["error"], rung["detail"]) for rung in kept["rungs"]]
    crashed = {r.rung.op for r in results if r.result == "crash"}
    assert {r.rung.device for r in results if r.result == "crash"} == {"cuda:0"}
    assert crashed == {r.rung.op for r in results} - {"Identity"}
    (collision,) = [f for f in findings(results) if "host symbol collision" in f.cause]
    assert collision.first.rung.device == "cuda:0"
