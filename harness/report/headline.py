"""The verdict line: how much went as expected, what did not, what could not be tried, and whether the run finished."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.diagnosis.ofrun import unreproduced_of
from harness.outcome import Kind, Outcome
from harness.report.text import clean, count
from harness.run import Run

_RECORDINGS = 3


@dataclass(frozen=True)
class NotRun:
    """Solvers that could not be tried for one and the same reason; ``cases`` is how many cases that cost."""

    solvers: tuple[str, ...]
    reason: str
    cases: int


@dataclass(frozen=True)
class Headline:
    """``state`` is good, bad or unsure; ``asides`` are sentences a reader must not miss."""

    state: str
    text: str
    asides: tuple[str, ...]
    not_run: tuple[NotRun, ...]


def headline(run: Run, aside: str = "", *, missed: bool = False) -> Headline:
    """``aside`` goes before the others; ``missed``: a planted fault went unnoticed, so that nothing here can be called good."""
    tried = [outcome for outcome in run.outcomes if outcome.kind is not Kind.UNAVAILABLE]
    judged = [outcome for outcome in run.outcomes if outcome.expected is not None]
    failures = sum(outcome.expected is False for outcome in judged)
    unjudged = Counter(outcome.kind.value for outcome in tried if outcome.expected is None)
    pending = len(pending_tasks(run))
    lost = unreproduced_of(run)
    good = judged and not unjudged and run.finished and not pending and not lost
    state = "bad" if failures or missed else "good" if good else "unsure"
    asides = (*filter(None, [aside]), *_recordings([told for _, told in lost]), *_asides(run, unjudged, pending))
    return Headline(state, _text(tried, len(judged), failures), asides, _not_run(run))


def pending_tasks(run: Run) -> list[tuple[str, str, str]]:
    """What was planned and has no outcome."""
    done = {outcome.key for outcome in run.outcomes}
    return [(case, solver, tool) for case, solver, tool in run.plan.get("tasks", []) if (case, solver, tool) not in done]


def _text(tried: list[Outcome], judged: int, failures: int) -> str:
    if not judged:
        return "Nothing has been judged"
    size = f"{count(len({it.case for it in tried}), 'case')} \u00d7 {count(len({it.solver for it in tried}), 'solver')}"
    tools = dict.fromkeys(clean(it.how) for it in tried if it.how != "none")
    if tools:
        size += (", also" if any(it.how == "none" for it in tried) else "") + " under " + ", ".join(tools)
    if not failures:
        return f"{size}: all {judged} as expected"
    return f"{size}: {judged - failures} of {judged} as expected; {count(failures, 'failure')}"


def _asides(run: Run, unjudged: Counter[str], pending: int) -> tuple[str, ...]:
    asides = []
    if run.finished is None:
        asides.append(f"This run was not finished: {count(pending, 'replay')} still to do. What is below is what it has so far.")
    elif pending:
        asides.append(f"{count(pending, 'planned replay')} left no outcome.")
    if unjudged:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(unjudged.items()))
        asides.append(f"Neither as expected nor a failure: {kinds}.")
    return tuple(asides)


def _recordings(told: list[str]) -> tuple[str, ...]:
    more = len(told) - _RECORDINGS
    return (*told[:_RECORDINGS], *([f"The same holds for {count(more, 'more recorded call')}."] if more > 0 else []))


def _not_run(run: Run) -> tuple[NotRun, ...]:
    solvers: dict[str, list[str]] = {}
    cases: dict[str, set[str]] = {}
    for outcome in run.outcomes:
        if outcome.kind is Kind.UNAVAILABLE:
            reason = clean(outcome.reason or "")
            solvers.setdefault(reason, []).append(clean(outcome.solver))
            cases.setdefault(reason, set()).add(outcome.case)
    for solver, why in (run.plan.get("unavailable") or {}).items():
        solvers.setdefault(clean(str(why)), []).append(clean(solver))
    return tuple(
        NotRun(tuple(dict.fromkeys(names)), reason, len(cases.get(reason, ()))) for reason, names in solvers.items()
    )  # fmt: skip
