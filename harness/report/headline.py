"""The verdict line: how much went as expected, what did not, what could not be tried, and whether the run finished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.ofrun import Diagnosed
from harness.outcome import Kind, Outcome
from harness.report.text import clean, count
from harness.report.words import Counts, counted, how_words
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


def headline(found: Diagnosed, aside: str = "", *, missed: bool = False, doubtful: bool = False) -> Headline:
    """``aside`` goes before the others; ``missed``: a planted fault went unnoticed, so that nothing here can be called good;
    ``doubtful``: something of the run is not known.
    """
    run = found.run
    tried = [outcome for outcome in run.outcomes if outcome.kind is not Kind.UNAVAILABLE]
    n = counted(run.outcomes)
    unjudged = Counter(outcome.kind.value for outcome in tried if outcome.expected is None)
    pending = len(pending_tasks(run))
    swept = [sweep for sweep in found.sweeps if sweep.answered]
    elsewhere = sum(bool(sweep.elsewhere) for sweep in swept)
    doubtful = doubtful or bool(unjudged or pending or found.unreproduced) or not (n.judged and run.finished)
    state = "bad" if n.failed or missed or elsewhere else "unsure" if doubtful else "good"
    asides = (*filter(None, [aside]), *_recordings(found.unreproduced), *_asides(run, unjudged, pending))
    return Headline(state, _text(run.outcomes, n, elsewhere, len(swept)), asides, _not_run(run))


def pending_tasks(run: Run) -> list[tuple[str, str, str]]:
    """What was planned and has no outcome."""
    done = {outcome.key for outcome in run.outcomes}
    return [(case, solver, tool) for case, solver, tool in run.plan.get("tasks", []) if (case, solver, tool) not in done]


def _text(outcomes: Sequence[Outcome], n: Counts, elsewhere: int, swept: int) -> str:
    """How many of what, and what became of all of them: the numbers add up to the outcomes of the run. ``elsewhere`` of ``swept``
    sweeps found a fault in a layout that is not the recorded one."""
    if not n.judged:
        return "Nothing has been judged"
    size = f"{count(len({it.case for it in outcomes}), 'case')} \u00d7 {count(len({it.solver for it in outcomes}), 'solver')}"
    ways = dict.fromkeys(how_words(it.how) for it in outcomes if it.how != "none")
    if ways:
        size += (", also" if any(it.how == "none" for it in outcomes) else "") + " under " + ", ".join(ways)
    parts = (
        [f"{n.judged - n.failed} of {n.judged} as expected", count(n.failed, "failure")]
        if n.failed
        else [f"all {n.judged} as expected"]
    )
    parts += [f"{n.baseline} of a baseline that is not judged"] if n.baseline else []
    parts += [f"{n.not_run} not run here"] if n.not_run else []
    if not elsewhere:
        return f"{size}: {', '.join(parts)}"
    return f"{size}: as recorded {', '.join(parts)}; in other layouts {elsewhere} of {swept} fault{'s' if elsewhere == 1 else ''}"


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


def _recordings(told: tuple[str, ...]) -> tuple[str, ...]:
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
