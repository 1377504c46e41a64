"""The parity of every pose, and what a baseline that only keeps the initial pose costs beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.outcome import Outcome
from harness.report.text import clean, number
from harness.report.words import MARK_MEANINGS, MARKS
from harness.report.yardsticks import MEASURES, Parity, Tolerance, exceeds

SHOWN_YARDSTICKS = ("oracle", "optimum")


@dataclass(frozen=True)
class Number:
    """``over``: beyond its tolerance. ``fails``: and that is why the pose is out of tolerance."""

    text: str
    over: bool = False
    fails: bool = False


@dataclass(frozen=True)
class ParityRow:
    case: str
    solver: str
    tool: str
    href: str
    mark: str
    judgement: str
    failed: bool
    errors: tuple[Number, ...]
    cost: str
    cost_change: str
    iterations: str
    iterations_oracle: str
    divergence: str
    within: str
    why: str


@dataclass(frozen=True)
class BaselineRow:
    case: str
    href: str
    cost_ratio: str
    errors: tuple[Number, ...]


@dataclass(frozen=True)
class Baseline:
    """``name`` is the solver that is not judged; each row has its four measures, then those of each of ``others``."""

    name: str
    others: tuple[str, ...]
    rows: tuple[BaselineRow, ...]


Entry = tuple[Outcome, Parity, str]
"""An outcome that has a parity, and the link to its section."""


@dataclass(frozen=True)
class OpRow:
    """An op's result beside the oracle's: there is no pose to measure, so the words of the comparison stand for it."""

    case: str
    solver: str
    tool: str
    href: str
    mark: str
    judgement: str
    failed: bool
    why: str


def op_rows(entries: Sequence[Entry]) -> tuple[OpRow, ...]:
    return tuple(
        OpRow(
            case=clean(outcome.case),
            solver=clean(outcome.solver),
            tool=clean(outcome.how),
            href=href,
            mark=MARKS[outcome.expected],
            judgement=MARK_MEANINGS[outcome.expected],
            failed=outcome.expected is False,
            why=clean(parity.why),
        )
        for outcome, parity, href in entries
        if not parity.errors
    )


def parity_rows(entries: Sequence[Entry], tolerances: Mapping[str, Tolerance]) -> tuple[ParityRow, ...]:
    return tuple(_parity_row(*entry, tolerances) for entry in entries if entry[1].errors)


def _parity_row(outcome: Outcome, parity: Parity, href: str, tolerances: Mapping[str, Tolerance]) -> ParityRow:
    fails = outcome.judged and not parity.within
    errors = [n for yardstick in SHOWN_YARDSTICKS for n in _numbers(parity, yardstick, tolerances, fails)]
    change = None if parity.cost is None or not parity.cost_oracle else parity.cost / parity.cost_oracle - 1
    return ParityRow(
        case=clean(outcome.case),
        solver=clean(outcome.solver),
        tool=clean(outcome.how),
        href=href,
        mark=MARKS[outcome.expected],
        judgement=MARK_MEANINGS[outcome.expected],
        failed=outcome.expected is False,
        errors=tuple(errors),
        cost=number(parity.cost, 5),
        cost_change="\u2013" if change is None else ("+" if change > 0 else "") + number(change, 2),
        iterations="\u2013" if outcome.iterations is None else str(outcome.iterations),
        iterations_oracle="\u2013" if parity.iterations_oracle is None else str(parity.iterations_oracle),
        divergence="never" if parity.first_divergence is None else str(parity.first_divergence),
        within="not judged" if not outcome.judged else "within" if parity.within else "out",
        why=clean(parity.why),
    )


def _numbers(parity: Parity, yardstick: str, tolerances: Mapping[str, Tolerance], fails: bool) -> list[Number]:
    errors = parity.errors.get(yardstick, {})
    numbers = []
    for measure in MEASURES:
        over = exceeds(errors.get(measure), tolerances.get(measure))
        numbers.append(Number(number(errors.get(measure), 2), over, over and fails))
    return numbers


def baselines(entries: Sequence[Entry], tolerances: Mapping[str, Tolerance]) -> tuple[Baseline, ...]:
    """One table per solver that claims no parity, of the replays without a tool."""
    plain = [entry for entry in entries if entry[0].how == "none" and entry[1].errors]
    judged = list(dict.fromkeys(outcome.solver for outcome, _, _ in plain if outcome.judged))
    unjudged = list(dict.fromkeys(outcome.solver for outcome, _, _ in plain if not outcome.judged))
    by_key = {(outcome.case, outcome.solver): parity for outcome, parity, _ in plain}
    found = []
    for name in unjudged:
        rows = []
        for outcome, parity, href in plain:
            if outcome.solver != name:
                continue
            errors = _numbers(parity, "oracle", tolerances, False)
            for other in judged:
                its = by_key.get((outcome.case, other))
                errors += _numbers(its, "oracle", tolerances, not its.within) if its else [Number("\u2013")] * len(MEASURES)
            ratio = None if parity.cost is None or not parity.cost_oracle else parity.cost / parity.cost_oracle
            rows.append(BaselineRow(clean(outcome.case), href, number(ratio), tuple(errors)))
        found.append(Baseline(clean(name), tuple(clean(other) for other in judged), tuple(rows)))
    return tuple(found)
