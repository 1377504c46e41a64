"""The case x solver matrix, with one column per tool where a run used several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.outcome import Outcome
from harness.report.text import clean
from harness.report.words import how_words, label, mark, meaning, style, what_happened
from harness.run import Run


@dataclass(frozen=True)
class Cell:
    """``href`` is empty where there is no outcome."""

    href: str
    mark: str
    judgement: str
    word: str
    detail: str
    style: str
    failed: bool
    sentence: str


@dataclass(frozen=True)
class Row:
    case: str
    title: str
    href: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Matrix:
    """``solvers`` is (name, tools it was run under); cells follow them in order, None where nothing was planned."""

    solvers: tuple[tuple[str, tuple[str, ...]], ...]
    several_tools: bool
    rows: tuple[Row, ...]


NOT_FINISHED = Cell("", "\u2026", "no outcome", "not run", "", "k-pending", False, "planned, but this run has no outcome for it")


def build_matrix(run: Run, outcome_hrefs: Mapping[int, str], case_hrefs: Mapping[str, str]) -> Matrix:
    """``outcome_hrefs`` maps the position of an outcome in ``run.outcomes`` to its link, ``case_hrefs`` a case id to its."""
    planned = {(case, solver, tool) for case, solver, tool in run.plan.get("tasks", [])}
    found = {outcome.key: (outcome, outcome_hrefs[i]) for i, outcome in enumerate(run.outcomes)}
    keys = list(dict.fromkeys([*((c, s, t) for c, s, t in run.plan.get("tasks", [])), *found]))
    tools: dict[str, dict[str, None]] = {}
    for _, solver, tool in keys:
        tools.setdefault(solver, {})[tool] = None
    columns = [(solver, tool) for solver, its_tools in tools.items() for tool in its_tools]
    rows = []
    for case in dict.fromkeys(case for case, _, _ in keys):
        cells = []
        for solver, tool in columns:
            key = (case, solver, tool)
            cells.append(_cell(*found[key]) if key in found else NOT_FINISHED if key in planned else None)
        title = clean(str(run.cases.get(case, {}).get("title") or ""))
        rows.append(Row(clean(case), title, case_hrefs[case], tuple(cells)))
    names = tuple((clean(solver), tuple(how_words(tool) for tool in its_tools)) for solver, its_tools in tools.items())
    return Matrix(names, len({tool for _, tool in columns}) > 1, tuple(rows))


def _cell(outcome: Outcome, href: str) -> Cell:
    word, detail = label(outcome)
    return Cell(
        href=href,
        mark=mark(outcome),
        judgement=meaning(outcome),
        word=word,
        detail=detail,
        style=style(outcome),
        failed=outcome.expected is False,
        sentence=what_happened(outcome),
    )
