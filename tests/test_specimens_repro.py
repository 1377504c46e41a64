"""How ``harness repro`` shows specimens: labelled, apart from the run, counted in nothing; exit code 1 when one is not found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from html_tree import parse
from problem_factory import CASES

from harness import specimens
from harness.cli import main as cli
from harness.cli import repro
from harness.errors import ResultError
from harness.outcome import Outcome
from harness.replay import Interrupted, Request, replay
from harness.report.specimens import read_specimens
from harness.report.write import write_report
from harness.run import SPECIMENS, Run, read_run
from harness.specimens import Found, Look
from harness.specimens.table import Sight, Specimen, read_table
from sim3solve import compiler

try:
    compiler.find()
except compiler.CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)

TABLE = read_table()
THREE = [
    look
    for look in specimens.looks(TABLE, gpu=False)
    if (look.name, look.how) in (("cpu-misaligned", "none"), ("cpu-collision", "none"), ("cpu-collision", "audit"))
]  # fmt: skip
HEALTHY = Specimen(
    name="not-there", what="no fault at all", solver="on_cpu.py:healthy", cure="none", sight=(Sight(how="none", outcome="CRASHED"),)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without specimens and without a report; not to be changed."""
    request = Request((CASES / "degenerate-n-33",), ("reference", "native"), out=tmp_path_factory.mktemp("made"), command="a test")
    return replay(request)


def copy(run: Run, folder: Path) -> Run:
    return read_run(Path(shutil.copytree(run.folder, folder / run.id)))


@pytest.fixture(scope="module")
def shown(made: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Found, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specimens, "looks", lambda table, gpu: THREE)
        run = copy(made, tmp_path_factory.mktemp("shown"))
        return run, *repro.show_specimens(run)


def test_the_alignment_fault_and_the_collision_are_seen(shown: tuple[Run, Found, Path]) -> None:
    _, found, _ = shown
    assert [(row.name, row.seen, row.state) for row in found.rows] == [
        ("cpu-misaligned", "CRASHED SIGSEGV", True),
        ("cpu-collision", "CRASHED SIGSEGV; cause host-symbol-collision, likely", True),
        ("cpu-collision", "audit: 1 launch stub collides: void inverse_kernel<float>(float const*, float*, int)", True),
    ]
    assert "the GPU path of inv runs the CPU function of the same name" in found.rows[1].verdict


def test_they_count_in_nothing_of_the_run(shown: tuple[Run, Found, Path]) -> None:
    run, _, page = shown
    again = read_run(run.folder)
    assert {outcome.solver for outcome in again.outcomes} == {"reference", "native"}
    tree = parse(page.read_text(encoding="utf-8"))
    assert tree.all("h1")[0].words == "✓ All 2 outcomes as expected"
    assert "class" in tree.all("header")[0].attributes and tree.all("header")[0].attributes["class"] == "good"
    assert not (run.folder.parent / "latest").exists()  # the specimens' run is the latest of its own folder only


def test_they_are_labelled_and_lead_to_their_own_report(shown: tuple[Run, Found, Path]) -> None:
    run, found, page = shown
    tree = parse(page.read_text(encoding="utf-8"))
    assert tree.by_id("specimens").words == "Specimens: planted on purpose"
    section = next(it for it in tree.all("section") if it.attributes["aria-labelledby"] == "specimens")
    assert "cpu-misaligned" in section.words and "CRASHED SIGSEGV" in section.words and "found as it must be" in section.words
    assert "cause host-symbol-collision, likely" in section.words and "1 launch stub collides" in section.words
    [link] = [it.attributes["href"] for it in section.all("a")]
    own = page.parent / link
    assert own.is_file() and own.parent == found.runs[0].folder
    their = parse(own.read_text(encoding="utf-8"))
    assert "Planted on purpose" in their.all("header")[0].words
    assert "symbol collision" in their.words and "gpu_stand_in.o" in their.words
    assert run.folder in own.parents


def test_the_report_can_be_written_again_from_the_files(shown: tuple[Run, Found, Path]) -> None:
    run, _, page = shown
    before = page.read_bytes()
    assert write_report(run.folder).read_bytes() == before


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_ends_with_0_when_all_are_found(
    shown: tuple[Run, Found, Path], capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    run, found, page = shown
    with pytest.raises(typer.Exit) as ended:
        cli._end(run, page, as_json, rows=False, found=found)
    assert ended.value.exit_code == 0
    said = capsys.readouterr().out
    if as_json:
        document = json.loads(said)
        assert [(row["name"], row["state"]) for row in document["specimens"]] == [(row.name, True) for row in found.rows]
        assert len(document["outcomes"]) == 2
    else:
        assert "planted on purpose" in said and "2 of 2 as expected, 0 not" in said


def test_one_that_is_not_found_is_exit_code_1_and_in_doubt(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(specimens, "looks", lambda table, gpu: [Look(HEALTHY, "none", HEALTHY.sight[0])])
    run = copy(made, tmp_path)
    found, page = repro.show_specimens(run)
    with pytest.raises(typer.Exit) as ended:
        cli._end(run, page, False, rows=False, found=found)
    assert ended.value.exit_code == 1
    said = capsys.readouterr().out
    assert "NOT FOUND" in said and "2 of 2 as expected, 0 not" in said
    header = parse(page.read_text(encoding="utf-8")).all("header")[0]
    assert header.attributes["class"] == "bad" and "went unnoticed" in header.words


def test_an_interruption_among_the_specimens_leaves_the_run_and_its_report(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(specimens, "looks", lambda table, gpu: THREE)
    run = copy(made, tmp_path)

    def ctrl_c(outcome: Outcome, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"the run is finished: .*index\.html"):
        repro.show_specimens(run, progress=ctrl_c)
    assert (run.folder / "index.html").is_file() and read_run(run.folder).finished


HOSTILE = {
    "no JSON": "{",
    "no object": "[]",
    "no rows": '{"planted": false}',
    "rows are words": '{"planted": false, "rows": ["a"]}',
    "a state that is none": '{"planted": false, "rows": [{"name": "", "what": "", "cure": "", "how": "", "must": "", "seen": "", '
    '"state": "maybe", "verdict": "", "repeat": ""}]}',
    "a state that cannot be looked up": '{"planted": false, "rows": [{"name": "", "what": "", "cure": "", "how": "", "must": "", '
    '"seen": "", "state": [], "verdict": "", "repeat": ""}]}',
    "a page elsewhere": '{"planted": false, "pages": ["https://example.com"], "rows": []}',
    "a page above": '{"planted": false, "pages": ["../../x"], "rows": []}',
    "a page that runs": '{"planted": false, "pages": ["javascript:alert(1)"], "rows": []}',
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_list_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / SPECIMENS).write_text(HOSTILE[name])
    with pytest.raises(ResultError, match=r"specimens\.json"):
        read_specimens(tmp_path)


def test_what_a_list_says_is_text_and_no_page(made: Run, tmp_path: Path) -> None:
    run = copy(made, tmp_path)
    evil = "<script>alert(1)</script>\x1b[31m"
    row = dict.fromkeys(("name", "what", "cure", "how", "must", "seen", "verdict", "repeat"), evil) | {"state": True}
    (run.folder / SPECIMENS).write_text(json.dumps({"planted": False, "pages": [], "rows": [row]}))
    html = write_report(run.folder).read_text(encoding="utf-8")
    assert "<script>alert" not in html and "\x1b" not in html and "&lt;script&gt;alert(1)" in html
