"""The report of runs that are hostile, huge, empty or cut short."""

from __future__ import annotations

import errno
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import html_tree
import pandas as pd
import pyarrow.parquet as pq
import pytest
import report_run as made
from typer.testing import CliRunner

from harness.cli import main as cli
from harness.errors import ResultError
from harness.outcome import ExceptionInfo, Exit, Kind, Outcome
from harness.report import sheets, write
from harness.report.cases import MOST_PICTURES
from harness.report.text import clean
from harness.report.write import write_report
from harness.run import OUTCOMES

HOSTILE = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\" onfocus='x' {{7*7}} $\\frac{$ & "
    "\x00\x1b[31m\udc80\ud83d\u202e"
)


def report(folder: Path, outcomes: list[Outcome], **options: Any) -> html_tree.Element:
    html = write_report(made.write_run(folder / "run", outcomes, **options)).read_text(encoding="utf-8")
    page = html_tree.parse(html)
    html_tree.check_links(page)
    return page


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    tail = {"tool": HOSTILE, "stderr": HOSTILE, "stdout": HOSTILE, "notes": (HOSTILE,), "verdict": HOSTILE, "faulthandler": HOSTILE}
    info = ExceptionInfo(HOSTILE, HOSTILE, HOSTILE)
    bad = made.outcome(HOSTILE, HOSTILE, Kind.RAISED, expected=False, exception=info,
                       exit=Exit(-11, HOSTILE, HOSTILE, True, HOSTILE), findings=({HOSTILE: HOSTILE},),
                       values={HOSTILE: [HOSTILE]}, device=HOSTILE, **tail)  # fmt: skip
    drawn = [
        replace(made.solved(HOSTILE, solver, 1), parity=made.parity(9.0) | {"why": HOSTILE}) for solver in (HOSTILE + "2", "torch")
    ]
    missing = made.outcome(HOSTILE, "cuda", Kind.UNAVAILABLE, stage="", expected=None, reason=HOSTILE)
    summary = {**dict.fromkeys(made.case_summary("a"), HOSTILE), "n_points": 3, "tags": [HOSTILE]}
    page = report(tmp_path, [bad, *drawn, missing], cases={HOSTILE: summary}, ascii_json=True)
    assert [script.attributes for script in page.all("script")] == [{}]
    assert not page.all("img")
    assert not [name for e in page.walk() for name in e.attributes if name.startswith("on")]
    assert "alert(1)" in page.by_id("main").text
    assert "49" not in page.all("title")[0].text
    html = (tmp_path / "run" / "index.html").read_bytes().decode("utf-8")
    assert not {"\x00", "\x1b", "\u202e"} & set(html)
    assert [pre.text for pre in page.all("article", "failure")[0].all("pre")].count(
        clean(HOSTILE)
    ) == 4  # traceback and the three outputs
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert rows[0]["exception_message"] == clean(HOSTILE)


def test_dollars_in_a_name_are_not_formulas(tmp_path: Path) -> None:
    page = report(tmp_path, [made.solved("$\\frac{$", "$\\no$", 1)])
    assert [text.text for text in page.all("text") if "frac" in text.text] == ["$\\frac{$"]


def test_megabytes_of_output_are_cut_in_the_middle(tmp_path: Path) -> None:
    text = "first line\n" + "x" * 5_000_000 + "\nlast line"
    crash = made.outcome("loud", "torch", Kind.CRASHED, stage="solving", expected=False, exit=made.SEGFAULT, stdout=text)
    [article] = report(tmp_path, [crash]).all("article", "failure")
    parts = [pre.text for pre in article.all("pre") if pre.attributes.get("class") != "repeat"]
    assert parts[0].startswith("first line")
    assert parts[1].endswith("last line")
    omitted = len(text) - len("".join(parts))
    assert f"{omitted:,} characters left out" in article.text
    assert omitted > 4_900_000


def test_an_empty_run(tmp_path: Path) -> None:
    page = report(tmp_path, [])
    assert page.all("h1")[0].words == "? Nothing has been judged"
    assert "Nothing was planned" in page.text
    assert pd.read_csv(tmp_path / "run" / "results.csv").empty
    assert pq.read_table(tmp_path / "run" / "results.parquet").num_rows == 0


def test_an_unfinished_run_says_so_and_shows_what_is_missing(tmp_path: Path) -> None:
    page = report(
        tmp_path, [made.solved("one", "torch", 1)], finished=False, extra_tasks=[["one", "skip", "none"], ["two", "skip", "none"]]
    )
    header = page.all("header", "unsure")[0].words
    assert "This run was not finished: 2 replays still to do" in header
    assert [cell.words for cell in page.all("table", "matrix")[0].all("td", "k-pending")] == ["… not run"] * 2


def test_a_run_without_failures(tmp_path: Path) -> None:
    page = report(tmp_path, [made.solved("one", solver, 1) for solver in made.SOLVERS])
    assert page.all("h1")[0].words == "✓ All 2 outcomes as expected"
    assert page.all("header", "good")
    assert not page.all("article")


def test_traces_of_nan_and_infinity_are_drawn_as_far_as_they_go(tmp_path: Path) -> None:
    nowhere = tuple(replace(record, cost=math.nan, delta_norm=math.inf) for record in made.trace(3))
    first = replace(made.solved("lost", "torch", 1), trace=nowhere, parity=made.parity(math.inf, within=False), expected=False)
    page = report(
        tmp_path, [first, replace(made.solved("flat", "torch", 1), trace=made.trace(3, start=0.0)), made.solved("part", "skip", 0)]
    )
    assert len(page.all("details", "pictures")) == 3
    drawn = [path.attributes.get("d", "") for path in page.all("path")]
    assert drawn and not any("nan" in d.lower() or "inf" in d.lower() for d in drawn)


def test_two_outcomes_of_one_name_get_two_sections(tmp_path: Path) -> None:
    same = made.solved("twice", "torch", 1)
    page = report(tmp_path, [same, replace(same, tool="a b"), replace(same, tool="a/b")])
    assert len([it for it in page.all("details") if "data-outcome" in it.attributes]) == 3


def test_a_damaged_outcome_costs_only_itself_and_is_named(tmp_path: Path) -> None:
    wrong = made.parity(1.0)
    wrong["oracle"]["d_sigma"] = "much"
    outcomes = [made.solved(case, "torch", 1) for case in ("one", "two", "three")]
    outcomes[1] = replace(outcomes[1], parity=wrong)
    folder = made.write_run(tmp_path / "run", outcomes)
    (folder / OUTCOMES / "00000.json").write_text('{"case": "one<script>"', encoding="utf-8")
    page = html_tree.parse(write_report(folder).read_text(encoding="utf-8"))
    [header] = page.all("header", "unsure")
    assert "2 outcomes left out, because damaged: 00000.json: json: " in header.words
    assert "two torch none: parity.oracle.d_sigma: is not a number: 'much'" in header.words
    assert [row["case"] for row in pq.read_table(folder / "results.parquet").to_pylist()] == ["three"]
    (folder / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(ResultError, match=r"run\.json: json"):
        write_report(folder)


@pytest.mark.parametrize("name", ["index.html", "results.csv", "results.parquet"])
def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made.write_run(tmp_path / "run", [made.solved("one", "torch", 1)])
    (folder / name).mkdir()
    with pytest.raises(ResultError, match=f"{name}: file: cannot be written: "):
        write_report(folder)
    monkeypatch.setattr("sys.argv", ["harness", "report", str(folder)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and "cannot be written" in capsys.readouterr().err


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = made.write_run(tmp_path / "run", [made.solved("one", "torch", 1)])
    monkeypatch.setattr(write, "write_bytes", full)
    with pytest.raises(ResultError, match=r"results\.parquet: file: cannot be written: No space left on device"):
        write_report(folder)


def test_a_sheet_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    folder = made.write_run(tmp_path / "run", [made.solved("one", "torch", 1)])
    (folder / "cases-0001.html").mkdir()
    with pytest.raises(ResultError, match=r"cases-0001\.html: file: cannot be removed"):
        write_report(folder)


@pytest.mark.slow
def test_two_thousand_outcomes(tmp_path: Path) -> None:
    outcomes = [made.solved(f"case-{i:03}", solver, i % 11) for i in range(500) for solver in (*made.SOLVERS, "mine.py:fast")]
    loud = {"stderr": "warning\n" * 500, "stdout": "step\n" * 9000}
    outcomes[::5] = [
        made.outcome(it.case, it.solver, Kind.CRASHED, stage="solving", expected=False, exit=made.SEGFAULT, **loud)
        for it in outcomes[::5]
    ]
    folder = made.write_run(tmp_path / "run", outcomes)
    began = time.perf_counter()
    file = write_report(folder)
    assert time.perf_counter() - began < 60  # a few seconds on an idle machine
    pages = {it.name: html_tree.parse(it.read_text(encoding="utf-8")) for it in file.parent.glob("*.html")}
    assert len(pages) > 2 and all((file.parent / name).stat().st_size < 3e6 for name in pages)
    index = pages.pop(file.name)
    for page in (index, *pages.values()):
        html_tree.check_links(page, pages | {file.name: index})
    assert index.all("h1")[0].words == "✗ 4 bugs in 4 solvers: crash (SIGSEGV) on 400 cases"
    assert "400 failures" in index.all("p", "counts")[0].text
    details = [e for page in pages.values() for e in page.walk() if "data-outcome" in e.attributes]
    assert {e.attributes["id"] for e in details} == {e.attributes["id"] for e in index.all("li") if "data-outcome" in e.attributes}
    assert len(details) == 2000
    assert sum(len(page.all("details", "pictures")) for page in pages.values()) == MOST_PICTURES
    assert "of 420 cases there are none here" in index.text


def test_a_smaller_report_takes_the_pages_of_a_larger_one_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made.write_run(tmp_path / "run", [made.solved(f"case-{i}", "torch", i) for i in range(4)])
    monkeypatch.setattr(write, "PAGE_BYTES", 1000)
    monkeypatch.setattr(sheets, "SHEET_BYTES", 1000)
    write_report(folder, pictures=False)
    assert sorted(it.name for it in folder.glob("*.html")) == [f"cases-{i:04}.html" for i in (1, 2, 3, 4)] + ["index.html"]
    assert CliRunner().invoke(cli.app, ["report", str(folder), "--no-pictures", "--one-file"]).exit_code == 0
    assert [it.name for it in folder.glob("*.html")] == ["index.html"]
    assert "case-3" in (folder / "index.html").read_text(encoding="utf-8")
