"""Two runs side by side: what is new, fixed, broken, changed, the same, or not comparable, per case, solver and tool."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from harness.outcome import Kind, Outcome
from harness.run import Run


@dataclass(frozen=True)
class Change:
    """``what`` is one of same, fixed, broken, changed, only-in-a, only-in-b, not-comparable. ``speed``: B's solve time over A's."""

    case: str
    solver: str
    tool: str
    what: str
    a: str
    b: str
    d_sigma_a: float
    d_sigma_b: float
    speed: float
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def diff(run_a: Run, run_b: Run) -> list[Change]:
    """Every (case, solver, tool) of either run, in order of name."""
    a, b = ({outcome.key: outcome for outcome in run.outcomes} for run in (run_a, run_b))
    changes = []
    for key in sorted(a.keys() | b.keys()):
        mine, theirs = a.get(key), b.get(key)
        what, why = _what(mine, theirs, run_a, run_b)
        changes.append(
            Change(*key, what, _words(mine), _words(theirs), _d_sigma(mine), _d_sigma(theirs), _speed(mine, theirs), why)
        )
    return changes


def _what(a: Outcome | None, b: Outcome | None, run_a: Run, run_b: Run) -> tuple[str, str]:
    if a is None or b is None:
        return ("only-in-b" if a is None else "only-in-a"), ""
    if run_a.cases[a.case].get("sha256") != run_b.cases[b.case].get("sha256"):
        return "not-comparable", "the case's values differ"
    untried = [name for name, outcome in (("A", a), ("B", b)) if outcome.kind in (Kind.UNAVAILABLE, Kind.INCONCLUSIVE)]
    if untried and a.kind is not b.kind:
        return "not-comparable", f"{' and '.join(untried)} gave no result"
    if a.expected != b.expected:
        return ("fixed" if b.expected else "broken"), ""
    if (a.kind, a.status, _exit(a)) != (b.kind, b.status, _exit(b)):
        return "changed", ""
    return "same", ""


def _words(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    detail = outcome.status or _exit(outcome) or (outcome.exception.type if outcome.exception else "")
    return f"{outcome.kind.value} {detail}".strip()


def _exit(outcome: Outcome) -> str:
    return outcome.exit.name if outcome.exit is not None and outcome.exit.crashed else ""


def _d_sigma(outcome: Outcome | None) -> float:
    against = ((outcome.parity if outcome else None) or {}).get("oracle") or {}
    return float(against.get("d_sigma", math.nan))


def _speed(a: Outcome | None, b: Outcome | None) -> float:
    if a is None or b is None or not a.solve_seconds or not b.solve_seconds:
        return math.nan
    return b.solve_seconds / a.solve_seconds
