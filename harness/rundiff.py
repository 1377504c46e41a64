"""Two runs side by side, by signature: per case, solver and way of running what is new, fixed, changed, same, or not comparable.

A failure is the same one when its signatures are (``harness.diagnosis.signature``), so runs of different machines compare; their
times do not. A layout sweep is a way of running, with the signatures of what failed in other layouts than the recorded one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.diagnosis.bugs import is_failure
from harness.diagnosis.ofrun import documents_of, swept_faults
from harness.diagnosis.signature import signatures
from harness.diagnosis.sweeps import Sweep
from harness.outcome import Kind, Outcome
from harness.run import Run

NEW, FIXED, CHANGED, SAME, NOT_COMPARABLE = "new", "fixed", "changed", "same", "not comparable"
NOT_WATCHED = ("never attached", "timed out", "tool failed", "unsupported", "kernel not launched")
_MACHINE = ("cpu", "cores", "gpus")


@dataclass(frozen=True)
class Change:
    """One case, solver and way of running it in both runs. ``parity`` and ``speed`` are B's distance and solve time over A's.

    ``worse`` where B fails in a way that A did not. NaN where there is nothing to divide.
    """

    case: str
    solver: str
    how: str
    what: str
    a: str
    b: str
    d_sigma_a: float
    d_sigma_b: float
    parity: float
    speed: float
    worse: bool = False
    why: str = ""


@dataclass(frozen=True)
class BugChange:
    """One signature: how often it was seen in each run, among what both could show."""

    signature: str
    what: str
    a: int
    b: int
    cases: tuple[str, ...]
    solvers: tuple[str, ...]


@dataclass(frozen=True)
class Speed:
    """B's solve times over A's for one solver and way: the median of paired ratios and an interval that holds it with 95 %."""

    solver: str
    how: str
    pairs: int
    ratio: float
    low: float
    high: float

    @property
    def words(self) -> str:
        if self.pairs < 6:
            return "too few pairs for an interval"
        return "within noise" if self.low <= 1 <= self.high else "slower" if self.low > 1 else "faster"


@dataclass(frozen=True)
class Comparison:
    """``speeds`` is empty, and ``machines`` says why, where the runs are of two machines."""

    changes: tuple[Change, ...]
    bugs: tuple[BugChange, ...]
    speeds: tuple[Speed, ...]
    machines: str

    @property
    def worse(self) -> bool:
        return any(change.worse for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"worse": self.worse}


Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Seen:
    """What one run has of a case, a solver and a way of running it. ``silent`` says why that is nothing to compare."""

    end: tuple[str, ...]
    words: str
    bugs: tuple[str, ...]
    silent: str = ""
    d_sigma: float = math.nan
    seconds: float | None = None


def diff(run_a: Run, run_b: Run) -> Comparison:
    """Every (case, solver, way of running) of either run, in order of name."""
    a, b = _seen(run_a), _seen(run_b)
    machines = _machines(run_a, run_b)
    other_values = {case for case in run_a.cases.keys() | run_b.cases.keys() if _values(run_a, case) != _values(run_b, case)}
    keys = sorted(a.keys() | b.keys())
    changes = tuple(_change(key, a.get(key), b.get(key), same_case=key[0] not in other_values, timed=not machines) for key in keys)
    comparable = [change for change in changes if change.what != NOT_COMPARABLE]
    return Comparison(changes, _bugs(comparable, a, b), _speeds(changes), machines)


def _seen(run: Run) -> dict[Key, _Seen]:
    found = {outcome.key: _of_outcome(outcome) for outcome in run.outcomes}
    documents, _ = documents_of(run)
    swept = swept_faults(run, documents)
    for sweep in documents.sweeps:
        found[sweep.case, sweep.solver, sweep.how] = _of_sweep(sweep, [outcome for outcome in swept if sweep.is_of(outcome)])
    return found


def _of_outcome(outcome: Outcome) -> _Seen:
    silent = ""
    if outcome.kind in (Kind.UNAVAILABLE, Kind.INCONCLUSIVE):
        silent = f"{{}} gave no result: {outcome.reason}"
    elif outcome.tool != "none" and outcome.tool_state in NOT_WATCHED:
        silent = f"{outcome.tool} did not watch {{}}: {outcome.tool_state}"
    end = (outcome.kind.value, outcome.status or "")
    return _Seen(end, _words(outcome), _bugs_of(outcome), silent, _d_sigma(outcome), outcome.solve_seconds)


def _of_sweep(sweep: Sweep, faults: Sequence[Outcome]) -> _Seen:
    bugs = tuple(dict.fromkeys(named for outcome in faults for named in _bugs_of(outcome)))
    if sweep.elsewhere and not bugs:  # the outcomes are not there any more
        bugs = tuple(dict.fromkeys(layout.sort or layout.outcome for layout in sweep.elsewhere))
    return _Seen((), sweep.rule, bugs, "" if sweep.answered else f"{{}} gave no result: {sweep.rule}")


def _change(key: Key, a: _Seen | None, b: _Seen | None, *, same_case: bool, timed: bool) -> Change:
    what, why = _what(a, b, same_case=same_case)
    d_a, d_b = (math.nan if it is None else it.d_sigma for it in (a, b))
    # Two solves that needed different numbers of iterations did not do the same work, but that is what changed.
    speed = _ratio(a.seconds, b.seconds) if timed and a and b and what != NOT_COMPARABLE else math.nan
    worse = what == NEW or (what == CHANGED and a is not None and b is not None and bool(set(b.bugs) - set(a.bugs)))
    return Change(*key, what, a.words if a else "", b.words if b else "", d_a, d_b, _ratio(d_a, d_b), speed, worse, why)


def _what(a: _Seen | None, b: _Seen | None, *, same_case: bool) -> tuple[str, str]:
    if a is None or b is None:
        return NOT_COMPARABLE, f"only in {'B' if a is None else 'A'}"
    if not same_case:
        return NOT_COMPARABLE, "the case's values differ"
    for name, seen in (("A", a), ("B", b)):
        if seen.silent:
            return NOT_COMPARABLE, seen.silent.replace("{}", name, 1)
    mine, theirs = set(a.bugs), set(b.bugs)
    if mine != theirs:
        if not mine or not theirs:
            return (NEW, "") if theirs else (FIXED, "")
        return CHANGED, "fails in another way" if theirs - mine else "fails in fewer ways"
    if mine:
        return SAME, ""
    if a.end != b.end:
        return CHANGED, "another outcome, and both are as expected"
    return SAME, ""


def _values(run: Run, case: str) -> Any:
    return run.cases.get(case, {}).get("sha256")


def _bugs_of(outcome: Outcome) -> tuple[str, ...]:
    """The signatures of a failure; one that has none is named after its kind, so that no failure is lost."""
    if not is_failure(outcome):
        return ()
    return signatures(outcome) or (f"{outcome.kind.value} {outcome.status or ''}".strip(),)


def _bugs(comparable: Sequence[Change], a: Mapping[Key, _Seen], b: Mapping[Key, _Seen]) -> tuple[BugChange, ...]:
    seen: dict[str, tuple[list[Change], list[Change]]] = {}
    for change in comparable:
        key = (change.case, change.solver, change.how)
        for side, seen_in in enumerate((a, b)):
            for named in seen_in[key].bugs:
                seen.setdefault(named, ([], []))[side].append(change)
    found = []
    for named, (before, after) in seen.items():
        what = NEW if not before else FIXED if not after else SAME if len(before) == len(after) else CHANGED
        both = before + after
        names = (tuple(dict.fromkeys(change.case for change in both)), tuple(dict.fromkeys(change.solver for change in both)))
        found.append(BugChange(named, what, len(before), len(after), *names))
    return tuple(sorted(found, key=lambda bug: ((NEW, CHANGED, SAME, FIXED).index(bug.what), -bug.b - bug.a, bug.signature)))


def _speeds(changes: Sequence[Change]) -> tuple[Speed, ...]:
    ratios: dict[tuple[str, str], list[float]] = {}
    for change in changes:
        if math.isfinite(change.speed):
            ratios.setdefault((change.solver, change.how), []).append(change.speed)
    return tuple(Speed(*key, len(found), *_median(sorted(found))) for key, found in sorted(ratios.items()))


def _median(ordered: Sequence[float]) -> tuple[float, float, float]:
    """Median, and the order statistics between which the true one lies with at least 95 %, whatever the distribution."""
    n = len(ordered)
    median = ordered[n // 2] if n % 2 else math.sqrt(ordered[n // 2 - 1] * ordered[n // 2])
    below, rank = 0.0, 0
    while rank < n // 2 and below + math.comb(n, rank) / 2**n <= 0.025:
        below += math.comb(n, rank) / 2**n
        rank += 1
    rank = max(rank - 1, 0)
    return median, ordered[rank], ordered[n - 1 - rank]


def _machines(run_a: Run, run_b: Run) -> str:
    """How the machines differ in what times depend on; empty where they do not."""
    a, b = run_a.environment, run_b.environment
    return "; ".join(f"{name}: {a.get(name)} and {b.get(name)}" for name in _MACHINE if a.get(name) != b.get(name))


def _words(outcome: Outcome) -> str:
    crash = outcome.exit.name if outcome.exit is not None and outcome.exit.crashed else ""
    return f"{outcome.kind.value} {outcome.status or crash or (outcome.exception.type if outcome.exception else '')}".strip()


def _d_sigma(outcome: Outcome) -> float:
    against = (outcome.parity or {}).get("oracle")
    try:
        return float(against.get("d_sigma", math.nan)) if isinstance(against, dict) else math.nan
    except (TypeError, ValueError):  # a stranger's run
        return math.nan


def _ratio(a: float | None, b: float | None) -> float:
    return b / a if a is not None and b is not None and 0 < a < math.inf and 0 < b < math.inf else math.nan
