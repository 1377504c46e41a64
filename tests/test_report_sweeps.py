"""Layout sweeps in the report: one grid for what came out alike, cells that lead to verdict and command, explained names."""

from __future__ import annotations

from typing import Any

import html_tree
import pytest
import report_run as made

from harness.jsonfile import write_json
from harness.relayout import LAYOUTS, MEANINGS
from harness.report.write import write_report
from harness.sweep.files import SWEEPS

TENSORS = {"Xf": {}, "Xk": {}}
SOLVER = "/home/somebody/solvers/mine.py:make"


def entry(layout: str, outcome: str, signature: str, faulted: bool | None, way: str) -> dict[str, Any]:
    return {
        "layout": layout, "outcome": outcome, "signature": signature, "faulted": faulted, "tensors": TENSORS,
        "verdict": f"verdict of {layout} in {way}", "repeat": command(layout, way),
    }  # fmt: skip


def command(layout: str, way: str) -> str:
    return f"python -m harness replay cases/a --solver {SOLVER} --memory {way} --layout {layout}"


def sweep(way: str, strided: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """Faults where Xf is strided, in the way that ``strided`` says."""
    faulty = {"strided": strided, "aligned-512,Xf=strided": strided}
    layouts = [
        entry(name, *faulty.get(name, ("OK", "OK CONVERGED")), name in faulty, way)
        for name in (*LAYOUTS, "aligned-512,Xf=strided", "aligned-512,Xk=strided", "aligned-512,Xf=rows")
    ]
    return {
        "case": "a", "solver": SOLVER, "tool": "none" if way == "pool" else f"none+{way}", "state": "rule", "layouts": layouts,
        "rule": "faults exactly when Xf is not contiguous", "tests": ["aligned-512,Xf=rows"],
    } | fields  # fmt: skip


def crash(way: str) -> dict[str, Any]:
    layouts = [entry(name, "CRASHED", "CRASHED SIGSEGV", True, way) for name in LAYOUTS]
    return sweep(way, ("", "")) | {"case": "b", "rule": "faults in all 9 layouts tried", "layouts": layouts}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> html_tree.Element:
    outcomes = [made.solved(case, SOLVER, 1) for case in ("a", "b")]
    folder = made.write_run(tmp_path_factory.mktemp("sweeps") / "run", outcomes)
    (folder / SWEEPS).mkdir()
    off = sweep("exact", ("OK", "OK out of tolerance"), rule="OK out of tolerance exactly when Xf is not contiguous")
    parts = [sweep("pool", ("SOLVER_STATUS", "SOLVER_STATUS NON_FINITE")), sweep("poison", ("FINDINGS", "FINDINGS uninitialized")),
             off, crash("pool"), crash("poison")]  # fmt: skip
    for i, document in enumerate(parts):
        write_json(folder / SWEEPS / f"{i}.json", document)
    found = html_tree.parse(write_report(folder, pictures=False).read_text(encoding="utf-8"))
    html_tree.check_links(found)
    return found


def test_what_came_out_alike_is_one_grid(page: html_tree.Element) -> None:
    headings = [it.all("h3")[0].words for it in page.all("div", "sweep")]
    assert headings == [
        "a \u00d7 mine.py:make plain and poisoned memory", "a \u00d7 mine.py:make exact allocations",
        "b \u00d7 mine.py:make plain and poisoned memory",
    ]  # fmt: skip
    rules = [it.all("p", "rule")[0].words for it in page.all("div", "sweep")]
    assert rules[0] == "faults exactly when Xf is not contiguous"
    assert rules[1] == "WRONG POSE exactly when Xf is not contiguous"  # as the rest of the report calls it


def test_a_cell_says_where_modes_differ_and_leads_to_its_command(page: html_tree.Element) -> None:
    grid = page.all("div", "sweep")[0]
    rows = {row.all("th")[0].words: row.all("td") for row in grid.all("tbody")[0].all("tr")}
    assert list(rows) == list(LAYOUTS)
    assert [cell.words for cell in rows["recorded"]] == ["✓no fault: OK", "", ""]
    assert [cell.words for cell in rows["strided"]] == [
        *["✗faults: NON_FINITE (plain) FINDINGS uninitialized (poisoned memory)"] * 2, "✓no fault: OK",
    ]  # fmt: skip
    shown = page.by_id(rows["strided"][1].all("a")[0].attributes["href"][1:])
    commands = [command("aligned-512,Xf=strided", way) for way in ("pool", "poison")]
    assert [pre.text for pre in shown.all("pre", "repeat")] == commands
    assert "verdict of aligned-512,Xf=strided in poison" in shown.words
    assert [it.words for it in page.all("div", "sweep")[1].all("td", "k-wrong")] == ["✗faults: WRONG POSE"] * 2


def test_layouts_that_all_end_alike_are_one_line(page: html_tree.Element) -> None:
    grid = page.all("div", "sweep")[2]
    assert not grid.all("table") and "Every layout ended alike: CRASHED SIGSEGV." in grid.words
    assert len(grid.all("pre", "repeat")) == 2 * len(LAYOUTS)


def test_every_layout_is_explained(page: html_tree.Element) -> None:
    section = next(it for it in page.all("section") if it.attributes["aria-labelledby"] == "sweeps")
    told = {row.all("dt")[0].text: row.all("dd")[0].text for row in section.all("details", "legend")[0].all("div")}
    assert told == MEANINGS
