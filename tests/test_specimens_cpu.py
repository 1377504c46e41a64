"""The specimens that need no GPU, run: each is found, by its own tool, under its own name; and what is missed is said to be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import specimens
from harness.diagnosis.ofrun import documents_of
from harness.outcome import Kind
from harness.report.specimens import read_specimens
from harness.report.write import write_report
from harness.run import read_run
from harness.specimens import Found, Look
from harness.specimens.look import ROOT
from harness.specimens.table import Clean, Sight, Specimen, read_table
from sim3solve import compiler

try:
    compiler.find()
except compiler.CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)

TABLE = read_table()
CASE = ROOT / TABLE.case
LOOKS = specimens.looks(TABLE, gpu=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """All of them, as ``make repro`` runs them."""
    return specimens.run(LOOKS, CASE, tmp_path_factory.mktemp("specimens"), command="a test")


@pytest.mark.parametrize("i", range(len(LOOKS)), ids=[f"{look.name}-{look.how}" for look in LOOKS])
def test_it_is_found(found: Found, i: int) -> None:
    row = found.rows[i]
    assert (row.name, row.how) == (LOOKS[i].name, LOOKS[i].how)
    if row.state is None:
        pytest.skip(row.seen)
    assert row.state, f"must be {row.must}, was {row.seen}: {row.verdict}"


def test_the_watched_one_is_named_by_its_tool(found: Found) -> None:
    row = next(row for row in found.rows if row.name == "cpu-uninitialised-watched")
    assert (row.state is None) is not bool(shutil.which("valgrind") or shutil.which("clang++"))
    assert row.state is None or "ninitialised" in row.verdict


def test_their_own_run_calls_them_expected_and_planted(found: Found) -> None:
    run = read_run(found.runs[0].folder)
    tried = [outcome for outcome in run.outcomes if outcome.kind is not Kind.UNAVAILABLE]
    assert tried and all(outcome.expected is True for outcome in tried)
    assert all("Planted on purpose" in outcome.verdict for outcome in tried)
    assert any(outcome.kind is Kind.CRASHED for outcome in tried)
    shown = read_specimens(run.folder)
    assert shown is not None and shown.planted and len(shown.rows) == len(LOOKS) and not shown.missed
    html = write_report(run.folder).read_text(encoding="utf-8")
    assert "Planted on purpose" in html.partition("<main")[0]
    assert 'id="failures"' not in html


def specimen(solver: str, **sight: object) -> Specimen:
    return Specimen(name="made-up", what="nothing", solver=solver, cure="none", sight=(Sight(how="none", **sight),))


def test_what_is_not_found_is_a_failure_and_what_cannot_run_is_not(tmp_path: Path) -> None:
    missed = specimen("on_cpu.py:healthy", outcome="CRASHED")
    misnamed = specimen("on_cpu.py:past_the_end", outcome="OK", pose="wrong")
    elsewhere = TABLE.specimen[0]  # cpu-misaligned, which may crash and no more
    absent = specimen("gpu_memory.py:healthy", outcome="OK")
    wanted = [
        Look(missed, "none", missed.sight[0]), Look(misnamed, "none", misnamed.sight[0]),
        Look(Clean(solver="on_cpu.py:windows_long", how=("none",)), "none"), Look(elsewhere, "none"),
        Look(absent, "none", absent.sight[0]),
    ]  # fmt: skip
    found = specimens.run(wanted, CASE, tmp_path, command="a test")
    states = [row.state for row in found.rows]
    assert states[:4] == [False, False, False, True]
    assert states[4] in (None, True)  # True where there is a GPU
    assert found.failed
    outcomes = read_run(found.runs[0].folder).outcomes
    assert sum(outcome.expected is False for outcome in outcomes) == 3


def test_an_environment_is_set_for_its_own_look_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPECIMEN_TEST", raising=False)
    solver = tmp_path / "looks.py"
    solver.write_text(
        "import os\n"
        "def make():\n"
        "    def solve(problem, options):\n"
        "        raise ValueError('set to ' + os.environ.get('SPECIMEN_TEST', 'nothing'))\n"
        "    return solve\n"
    )
    sights = [
        Sight(how="none", outcome="RAISED", says="set to nothing"),
        Sight(how="none", environment={"SPECIMEN_TEST": "that"}, outcome="RAISED", says="set to that"),
    ]
    subject = Specimen(name="made-up", what="nothing", solver=f"{solver}:make", cure="none", sight=tuple(sights))
    found = specimens.run([Look(subject, "none", sight) for sight in sights], CASE, tmp_path / "out", command="a test")
    assert [row.state for row in found.rows] == [True, True]
    assert found.rows[1].repeat.startswith("SPECIMEN_TEST=that python") and len(found.runs) == 2
    assert "SPECIMEN_TEST" not in __import__("os").environ


def test_the_run_that_waits_for_every_launch_lies_beside_the_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so a diagnosis can tell that the two differ; a specimen that is not run so has no such file."""
    monkeypatch.delenv("CUDA_LAUNCH_BLOCKING", raising=False)
    solver = tmp_path / "skips.py"
    solver.write_text("from harness.solvers import skip as make\n")
    waits = {"CUDA_LAUNCH_BLOCKING": "1"}
    sights = (Sight(how="none", outcome="OK"), Sight(how="none", environment=waits, outcome="OK"))
    both = Specimen(name="both", what="nothing", solver=f"{solver}:make", cure="none", sight=sights)
    alone = Specimen(name="alone", what="nothing", solver=f"{solver}:make", cure="none", timeout_s=99.0, sight=sights[:1])
    wanted = [*(Look(both, "none", sight) for sight in sights), Look(alone, "none", sights[0])]
    as_it_is, waited, other = specimens.run(wanted, CASE, tmp_path / "out", command="a test").runs
    assert waited.environment["variables"] == waits and not as_it_is.environment["variables"]
    documents, problems = documents_of(as_it_is)
    assert not problems and [it.key for it in documents.blocking] == [it.key for it in waited.outcomes]
    assert documents_of(waited)[0].blocking == documents_of(other)[0].blocking == ()


def test_the_cured_ones_are_clean(tmp_path: Path) -> None:
    wanted = [
        look
        for look in specimens.looks(TABLE, gpu=False, elsewhere=True)
        if isinstance(look.subject, Clean) and look.how in ("none", "none+exact", "none+poison")
    ]
    assert {look.name for look in wanted} == {"native", "on_cpu.py:healthy", "collision/solver.py:cured"}
    found = specimens.run(wanted, CASE, tmp_path, command="a test")
    assert [(row.name, row.how, row.seen) for row in found.rows if row.state is not True] == []
