"""How near every pose is to the oracle's: by solver, pose by pose, and beside a baseline that only keeps the initial pose.

Only what makes a pose fail is marked. A number beyond a tolerance in a pose that passes, because its cost is lower or because it is
measured against another yardstick, fails nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.diagnosis.ofrun import ORACLE
from harness.outcome import Outcome
from harness.report.text import clean, number
from harness.report.words import how_words, judgement, mark, meaning
from harness.report.yardsticks import MEASURES, Parity, Tolerance, exceeds

SHOWN_YARDSTICKS = ("oracle", "optimum")


@dataclass(frozen=True)
class Number:
    """``fails``: it is beyond its tolerance, and that is why the pose is not the oracle's."""

    text: str
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
class SolverRow:
    """The poses of a solver run one way: how many, how many are not the oracle's, and the largest of each error."""

    solver: str
    tool: str
    poses: int
    off: int
    worst: tuple[Number, ...]


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
            tool=how_words(outcome.how),
            href=href,
            mark=mark(outcome),
            judgement=meaning(outcome),
            failed=outcome.expected is False,
            why=clean(parity.why),
        )
        for outcome, parity, href in entries
        if not parity.errors
    )


def parity_rows(entries: Sequence[Entry], tolerances: Mapping[str, Tolerance]) -> tuple[ParityRow, ...]:
    """What failed first. That the oracle agrees with itself is no news."""
    rows = [_parity_row(*entry, tolerances) for entry in _poses(entries)]
    return tuple(sorted(rows, key=lambda row: not row.failed))


def _poses(entries: Sequence[Entry]) -> list[Entry]:
    return [
        (outcome, parity, href)
        for outcome, parity, href in entries
        if parity.errors and outcome.judged and not (outcome.solver == ORACLE and parity.within)
    ]


def solver_rows(entries: Sequence[Entry], tolerances: Mapping[str, Tolerance]) -> tuple[SolverRow, ...]:
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in _poses(entries):
        groups.setdefault((entry[0].solver, entry[0].how), []).append(entry)
    rows = []
    for (solver, how), members in groups.items():
        off = [entry for entry in members if not entry[1].within]
        worst = []
        for name in MEASURES:
            values = [entry[1].errors.get("oracle", {}).get(name) for entry in members]
            found = [value for value in values if value is not None]
            value = max(found, key=lambda it: math.inf if math.isnan(it) else it, default=None)
            worst.append(Number(number(value), bool(off) and exceeds(value, tolerances.get(name))))
        rows.append(SolverRow(clean(solver), how_words(how), len(members), len(off), tuple(worst)))
    return tuple(rows)


def _parity_row(outcome: Outcome, parity: Parity, href: str, tolerances: Mapping[str, Tolerance]) -> ParityRow:
    errors = [it for yardstick in SHOWN_YARDSTICKS for it in _numbers(parity, yardstick, tolerances, judgement(outcome) is False)]
    change = None if parity.cost is None or not parity.cost_oracle else parity.cost / parity.cost_oracle - 1
    return ParityRow(
        case=clean(outcome.case),
        solver=clean(outcome.solver),
        tool=how_words(outcome.how),
        href=href,
        mark=mark(outcome),
        judgement=meaning(outcome),
        failed=outcome.expected is False,
        errors=tuple(errors),
        cost=number(parity.cost, 5),
        cost_change="\u2013" if change is None else ("+" if change > 0 else "") + number(change, 2),
        iterations="\u2013" if outcome.iterations is None else str(outcome.iterations),
        iterations_oracle="\u2013" if parity.iterations_oracle is None else str(parity.iterations_oracle),
        divergence=_divergence(outcome, parity),
        within="within" if parity.within else "out",
        why=clean(parity.why),
    )


def _divergence(outcome: Outcome, parity: Parity) -> str:
    """A solver that reported no iterations neither left the oracle's trace nor kept to it."""
    if not outcome.trace:
        return "\u2013"
    return "never" if parity.first_divergence is None else str(parity.first_divergence)


def _numbers(parity: Parity, yardstick: str, tolerances: Mapping[str, Tolerance], failed: bool) -> list[Number]:
    """The tolerances are of the distance from the oracle: no other number fails anything."""
    errors = parity.errors.get(yardstick, {})
    fails = failed and yardstick == "oracle" and not parity.within
    return [
        Number(number(errors.get(name)), fails and exceeds(errors.get(name), tolerances.get(name))) for name in MEASURES
    ]  # fmt: skip


def baselines(entries: Sequence[Entry]) -> tuple[Baseline, ...]:
    """One table per solver that claims no parity, of the replays without a tool."""
    plain = [entry for entry in entries if entry[0].how == "none" and entry[1].errors]
    judged = list(dict.fromkeys(outcome.solver for outcome, _, _ in plain if outcome.judged and outcome.solver != ORACLE))
    unjudged = list(dict.fromkeys(outcome.solver for outcome, _, _ in plain if not outcome.judged))
    by_key = {(outcome.case, outcome.solver): parity for outcome, parity, _ in plain}
    found = []
    for name in unjudged:
        rows = []
        for outcome, parity, href in plain:
            if outcome.solver != name:
                continue
            errors = _numbers(parity, "oracle", {}, failed=False)
            for other in judged:
                its = by_key.get((outcome.case, other))
                errors += _numbers(its, "oracle", {}, failed=False) if its else [Number("\u2013")] * len(MEASURES)
            ratio = None if parity.cost is None or not parity.cost_oracle else parity.cost / parity.cost_oracle
            rows.append(BaselineRow(clean(outcome.case), href, number(ratio), tuple(errors)))
        found.append(Baseline(clean(name), tuple(clean(other) for other in judged), tuple(rows)))
    return tuple(found)
