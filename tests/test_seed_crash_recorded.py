"""The seed crash as it was measured on an NVIDIA H200, kept whole: what the harness concludes from it is tested on any machine.

It was provoked: lietorch e7df865 built with weak stubs and no inlining, its CPU object linked first. Kept are the run of
``op-sim3-identity-inv-cuda`` with and without memcheck (compute-sanitizer 2025.3.1), the audit of the two objects and the probe.
Paths were made neutral. What the pages say of it is compared with it.
"""

from __future__ import annotations

import dataclasses
import json
import re
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

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests" / "recordings" / "seed-lietorch-collided.tar.xz"
STUDY = (ROOT / "docs" / "case-study.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")


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
    assert any("inv_forward_kernel<Sim3<float>, float>" in fact.quote for fact in bug.diagnosis.facts)
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


def results_of(folder: Path) -> list[Result]:
    kept = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
    names = ("op", "group", "dtype", "device", "batch", "layout", "stream", "thread")
    return [
        Result(Rung(*(rung[n] for n in names)), rung["result"], _number(rung["error"]), rung["detail"]) for rung in kept["rungs"]
    ]


def _number(error: float | str | None) -> float | None:
    return None if error is None else float(error)  # JSON has no inf: a word


def test_the_probe_puts_its_finger_on_the_cuda_path_of_every_op(folder: Path) -> None:
    results = results_of(folder)
    crashed = {r.rung.op for r in results if r.result == "crash"}
    assert {r.rung.device for r in results if r.result == "crash"} == {"cuda:0"}
    assert crashed == {r.rung.op for r in results} - {"Identity"}
    (collision,) = [f for f in findings(results) if "host symbol collision" in f.cause]
    assert collision.first.rung.device == "cuda:0"


@pytest.mark.parametrize("page", [STUDY, RESULTS], ids=["case-study.md", "RESULTS.md"])
def test_the_pages_count_the_rungs_as_they_were_recorded(folder: Path, page: str) -> None:
    results = results_of(folder)
    not_climbed = sum(r.not_climbed for r in results)
    deaths = [r for r in results if r.result == "crash"]
    counted = f"{len(results)} rungs: {len(results) - not_climbed} tried, {not_climbed} not climbed, {len(deaths)} deaths"
    assert counted in " ".join(page.split()) and not re.search(r"\d{4} calls", page)
    assert {r.rung.batch for r in deaths} == {1, 7} and "1 and 7" in page
    on_cpu = {r.rung: r for r in results}
    same = [on_cpu[dataclasses.replace(death.rung, device="cpu")] for death in deaths]
    lossy = [r for r in same if r.result == "wrong"]
    assert all(r.result == "ok" or (r in lossy and r.rung.near_zero) for r in same)
    assert re.search(rf"but for {len(lossy)} of (those calls|them), which lose digits near zero", " ".join(page.split()))


def test_the_case_study_says_what_is_recorded(folder: Path, run: Run) -> None:
    own, _ = documents_of(run)
    (bug,) = diagnosed_run(run, own).bugs
    words = " ".join(re.sub(r"^> ?", "", STUDY, flags=re.M).split())
    assert bug.diagnosis.sentence in words and f"Refuted by: {bug.diagnosis.refute}" in words
    assert f"{len(own.audits[0].collisions)} launch stubs in a CUDA file" in words
    (stack,) = [o.faulthandler for o in run.outcomes if o.tool == "none"]
    shown = re.findall(r'^  File "(lietorch/\S+)", (line \d+ in \w+)$', STUDY, flags=re.M)
    assert len(shown) == 3 and all(re.search(rf'/{re.escape(file)}", {call}$', stack, flags=re.M) for file, call in shown)


def test_the_case_study_says_at_once_that_the_crash_was_provoked() -> None:
    first = STUDY.partition("\n\n")[2].partition("\n\n")[0]
    for word in ("provoked", "-static-global-template-stub=false", "-fno-inline", "CPU object first"):
        assert word in first, word
