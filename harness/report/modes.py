"""Where the memory modes of a run disagree: one row per case, solver, tool and layout that did not do the same in all of them.

Two poses are the same within what ``harness.memory`` calls agreeing, whether or not the case expects them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.memory.agreement import NOT_REPEATABLE, agree, result_of
from harness.memory.agreement import words as result_words
from harness.outcome import MEMORY_MODES, Kind, Outcome, how
from harness.report.text import clean, shorten
from harness.report.words import how_words, label, mark, meaning, style
from harness.run import Run
from harness.sanitizer.words import in_words


@dataclass(frozen=True)
class ModeCell:
    href: str
    mark: str
    judgement: str
    words: str
    why: str
    style: str


@dataclass(frozen=True)
class ModeRow:
    case: str
    solver: str
    how: str
    cells: tuple[ModeCell | None, ...]


@dataclass(frozen=True)
class Modes:
    """``rows`` are those that differ, of ``compared`` that were run in more than one mode."""

    modes: tuple[str, ...]
    rows: tuple[ModeRow, ...]
    compared: int


def build_modes(run: Run, hrefs: Mapping[int, str]) -> Modes | None:
    """None for a run in one mode. ``hrefs`` maps the position of an outcome in the run to its link."""
    found: dict[tuple[str, str, str, str], dict[str, tuple[Outcome, str]]] = {}
    for i, outcome in enumerate(run.outcomes):
        found.setdefault((outcome.case, outcome.solver, outcome.tool, outcome.layout), {})[outcome.memory] = (outcome, hrefs[i])
    several = {key: by_mode for key, by_mode in found.items() if len(by_mode) > 1}
    if not several:
        return None
    modes = tuple(mode for mode in MEMORY_MODES if any(mode in by_mode for by_mode in several.values()))
    rows = []
    for (case, solver, tool, layout), by_mode in several.items():
        outcomes = [outcome for outcome, _ in by_mode.values()]
        unlike = _unlike(outcomes)
        if unlike or len(set(map(_said, outcomes))) > 1:
            cells = tuple(_cell(*by_mode[mode], numbers=unlike) if mode in by_mode else None for mode in modes)
            rows.append(ModeRow(clean(case), clean(solver), clean(_how(tool, layout)), cells))
    return Modes(tuple(how_words(how("none", mode)) for mode in modes), tuple(rows), len(several))


def _said(outcome: Outcome) -> tuple[object, ...]:
    return (*label(outcome), outcome.expected, len(outcome.findings))


def _unlike(outcomes: Sequence[Outcome]) -> bool:
    """Whether two modes that both gave a pose gave two."""
    found = [result_of(outcome) for outcome in outcomes if outcome.kind is Kind.OK]
    return any(not agree(found[0], other) for other in found[1:])


def _how(tool: str, layout: str) -> str:
    return " ".join(word for word in (tool, layout) if word not in ("none", "recorded"))


def _cell(outcome: Outcome, href: str, *, numbers: bool) -> ModeCell:
    findings = [in_words(found) for found in outcome.findings]
    unsteady = [note for note in outcome.notes if note.startswith(NOT_REPEATABLE)]
    noted = unsteady or (outcome.notes if outcome.expected is False else ())
    why = "; ".join(findings) or (noted[0] if noted else "")
    if not why and numbers and outcome.kind is Kind.OK:
        why = result_words(result_of(outcome))
    words = " ".join(filter(None, label(outcome)))
    return ModeCell(href, mark(outcome), meaning(outcome), words, shorten(why, 160), style(outcome))
