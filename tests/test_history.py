"""The history of runs: every run once, whatever happens to the file, and a section of the report that shows it."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import html_tree
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_rundiff import CRASH, OK, SILENT, outcome, run

from harness import history
from harness.errors import HarnessError
from harness.history import FILE, HistoryDamaged, changes, entries, read, rebuild, record
from harness.report.history import history_section
from harness.report.pictures.material import solver_series
from harness.run import Run

ROOT = Path(__file__).parents[1]


def made(reports: Path, name: str, *outcomes, started: str = "") -> Run:
    folder = reports / name
    folder.mkdir(parents=True, exist_ok=True)
    return dataclasses.replace(run(*outcomes), id=name, folder=folder, started=started or f"2026-11-24T{name[-2:]}:00:00+00:00")


def test_a_run_is_a_row_for_each_solver_and_way():
    its = entries(run(outcome("a"), outcome("b", **OK | {"solve_seconds": 0.03, "parity": {"oracle": {"d_sigma": 0.01}}}),
                      outcome("c", **CRASH), outcome("d", **SILENT), outcome("a", "skip"), outcome("a", tool="asan")))  # fmt: skip
    by_key = {(entry.solver, entry.how): entry for entry in its}
    mine = by_key["torch", "none"]
    assert (mine.ok, mine.failed, mine.not_run, mine.median_solve_s, mine.worst_d_sigma) == (2, 1, 1, 0.02, 0.01)
    assert (
        len(mine.bugs) == 1
        and mine.bugs[0].startswith("crash")
        and set(by_key) == {("torch", "none"), ("skip", "none"), ("torch", "asan")}
    )


def test_recorded_twice_it_is_there_once_and_what_was_there_stays(tmp_path):
    for name in ("r-10", "r-11", "r-10"):
        assert record(made(tmp_path, name, outcome("a"), outcome("b", **OK | {"solve_seconds": math.nan}))) == ""
    assert [entry.run for entry in read(tmp_path)] == ["r-10", "r-11"]
    record(made(tmp_path, "r-10", outcome("ä", **CRASH)))
    assert [(entry.run, entry.failed) for entry in read(tmp_path)] == [("r-10", 1), ("r-11", 0)]
    assert math.isnan(read(tmp_path)[0].median_solve_s)


def test_many_at_once_lose_nothing(tmp_path):
    runs = [made(tmp_path, f"r-{n}", outcome()) for n in range(10, 22)]
    threads = [threading.Thread(target=record, args=(it,)) for it in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.run for entry in read(tmp_path)} == {it.id for it in runs}
    assert [file.name for file in tmp_path.glob(".*")] == []


def test_a_lock_of_the_dead_is_broken(tmp_path, monkeypatch):
    lock = tmp_path / f".{FILE}.lock"
    lock.touch()
    monkeypatch.setattr(history, "_STALE_S", 0.2)
    time.sleep(0.3)
    assert record(made(tmp_path, "r-10", outcome())) == "" and not lock.exists()


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not a table", None])
def test_a_damaged_file_is_set_aside_and_said(tmp_path, damage):
    record(made(tmp_path, "r-10", outcome()))
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(HistoryDamaged, match=FILE):
        read(tmp_path)
    said = record(made(tmp_path, "r-11", outcome()))
    assert "history.damaged-" in said and "--rebuild" in said and [entry.run for entry in read(tmp_path)] == ["r-11"]
    assert len(list(tmp_path.glob("history.damaged-*"))) == 1


def test_another_version_is_left_alone_and_other_columns_are_no_history(tmp_path):
    newer = pa.table({"run": ["x"]}).replace_schema_metadata({b"sim3solve.history": b"3"})
    pq.write_table(newer, tmp_path / FILE)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(HarnessError, match="of version 3, this one writes 2"):
        read(tmp_path)
    assert "version 3" in record(made(tmp_path, "r-10", outcome())) and (tmp_path / FILE).read_bytes() == before
    for version, said in ((b"2", "other columns"), (b"1", "older harness")):
        pq.write_table(newer.replace_schema_metadata({b"sim3solve.history": version}), tmp_path / FILE)
        with pytest.raises(HistoryDamaged, match=said):
            read(tmp_path)
    assert history_section(tmp_path / "r-10") == ""


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    gone = made(tmp_path / "reports", "r-10", outcome())
    (tmp_path / "reports" / "r-10").rmdir()
    (tmp_path / "reports").rmdir()
    assert "the run is not in" in record(gone)


class Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.words = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_the_section_shows_all_runs_and_nothing_of_theirs_is_markup(tmp_path):
    record(made(tmp_path, "r-10", outcome("a", "<script>alert(1)</script>"), outcome("b", **CRASH)))
    assert history_section(tmp_path / "r-10") == ""  # one run is no history
    record(made(tmp_path, "r-11", outcome("a", "<script>alert(1)</script>", **OK | {"solve_seconds": 0.1}), outcome("b")))
    page = Texts()
    page.feed(history_section(tmp_path / "r-11"))
    words = " ".join(page.words)
    assert page.tags.count("svg") == 1 and page.tags.count("tr") == 3 and "script" not in page.tags
    assert "this run" in words and "gone: crash | access-violation" in words and "median solve time" in words
    assert page.tags.count("rect") == 3 + 3  # as expected and failed, as expected; the legend


def test_the_section_says_when_each_run_was_how_many_bugs_it_had_and_what_this_one_changed(tmp_path):
    record(made(tmp_path, "r-10", outcome("a", **CRASH)))
    record(made(tmp_path, "r-11", outcome("a")))
    page = html_tree.parse(f"<!DOCTYPE html><html>{history_section(tmp_path / 'r-11')}</html>")
    words = [it.text for it in page.all("svg")[0].all("text")]
    for label in ("2026-11-24", "10:00", "1 bug", "0 bugs", "11:00, this run"):
        assert label in words
    assert [it.text for it in page.all("text", "here")] == ["0 bugs", "2026-11-24", "11:00, this run"]
    assert page.all("ul", "changes")[0].words.startswith("gone: crash | access-violation")
    assert not [it for it in page.all("details") if it.all("svg") or it.all("ul", "changes")]  # in sight, not folded
    record(made(tmp_path, "r-12", outcome("a", **CRASH)))
    assert "new: crash" in history_section(tmp_path / "r-12")
    record(made(tmp_path, "r-13", outcome("a", **CRASH)))
    assert "(r-12): as then, 1 bug." in history_section(tmp_path / "r-13")


def test_what_was_not_run_is_neither_new_nor_gone(tmp_path):
    """A run of other cases, another solver or under a tool lies between two that can be compared."""
    record(made(tmp_path, "r-10", outcome("a", **CRASH), outcome("b")))
    record(made(tmp_path, "r-11", outcome("b"), outcome("a", "native", **CRASH), outcome("a", tool="asan", **CRASH)))
    record(made(tmp_path, "r-12", outcome("a"), outcome("b")))
    found = read(tmp_path)
    assert changes(found, "r-11") == () and "nothing to compare with" in history_section(tmp_path / "r-11")
    (change,) = changes(found, "r-12")
    assert (change.entry.solver, change.before, change.new, len(change.gone)) == ("torch", "r-10", (), 1)
    record(made(tmp_path, "r-13", outcome("a"), outcome("b", **SILENT)))  # on one of the two cases only
    record(made(tmp_path, "r-14", outcome("a", **CRASH), outcome("b"), outcome("c", "native")))
    assert changes(read(tmp_path), "r-13") == ()
    assert [(it.before, len(it.new)) for it in changes(read(tmp_path), "r-14")] == [("r-12", 1)]
    assert "1 of 2 have none on the same cases" in history_section(tmp_path / "r-14")


def test_dates_of_many_runs_do_not_lie_on_one_another(tmp_path):
    for n in range(10, 50):
        record(made(tmp_path, f"r-{n}", outcome("a"), started=f"2026-11-24T10:{n}:00+00:00"))
    page = html_tree.parse(f"<!DOCTYPE html><html>{history_section(tmp_path / 'r-33')}</html>")
    at = sorted(float(it.attributes["x"]) for it in page.all("text") if it.text == "2026-11-24")
    assert 3 < len(at) < 40 and all(b - a > 70 for a, b in pairwise(at))


def test_a_solver_has_one_colour_on_the_whole_page(tmp_path):
    """Also one that an earlier run had and this one has not."""
    its = {name: outcome("a", name) for name in ("native", "torch", "gone")}
    record(made(tmp_path, "r-10", *its.values()))
    last = made(tmp_path, "r-11", its["torch"], its["native"])
    record(last)
    series = solver_series(last)
    page = html_tree.parse(f"<!DOCTYPE html><html>{history_section(last.folder, series)}</html>")
    drawn = {it.all("title")[0].text.partition(":")[0]: it.attributes["class"] for it in page.all("g") if it.all("title")}
    assert drawn == {name: series[name].style for name in ("native", "torch")} | {"gone": f"pic-s{len(series)}"}


def test_the_commands_keep_list_and_rebuild_it(tmp_path):
    def harness(*words):
        return subprocess.run([sys.executable, "-m", "harness", *words], cwd=ROOT, capture_output=True, text=True, timeout=200)

    out = str(tmp_path)
    solver = tmp_path / "mine.py"
    solver.write_text("def make():\n    return lambda problem, options: (problem.T_WCf, problem.T_WCf)\n", encoding="utf-8")
    harness("replay", "cases/degenerate-n-33", "--solver", "skip", "--solver", f"{solver}:make", "--out", out)
    solver.write_text("def make():\n    return lambda problem, options: 1 / 0\n", encoding="utf-8")
    harness("replay", "cases/degenerate-n-33", "--solver", "skip", "--solver", f"{solver}:make", "--out", out)
    page = (tmp_path / "latest" / "index.html").read_text(encoding="utf-8")
    assert 'id="history"' in page and 'href="#history"' in page
    told = harness("history", out, "--json")
    document = json.loads(told.stdout)
    assert told.returncode == 1 and [row["solver"] for row in document["runs"]] == ["skip", f"{solver}:make"] * 2
    assert len(document["new_bugs"]) == 1
    (tmp_path / FILE).unlink()
    again = harness("history", out, "--rebuild", "--json")
    assert json.loads(again.stdout) == document and "2 runs are in" in again.stderr
    listed = harness("history", out, "--solver", "skip", "--last", "1")
    assert listed.returncode == 0 and listed.stdout.count("skip") == 1
    (next(tmp_path.glob("2*")) / "run.json").write_text("{")
    count, problems = rebuild(tmp_path)
    assert count == 1 and "run.json" in problems[0]
    assert harness("history", str(tmp_path / "nowhere")).returncode == 2
