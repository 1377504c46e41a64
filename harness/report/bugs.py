"""The distinct bugs of a run as the report shows them: a row each at the top, and the diagnosis beside an outcome's evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.diagnosis.bugs import NOT_TRIED, Bug, Key
from harness.diagnosis.ofrun import Diagnosed, diagnosed_run, documents_of
from harness.outcome import Diagnosis, Fact, Kind, Outcome
from harness.report.symptoms import bug_symptom
from harness.report.text import clean, count, shorten
from harness.report.words import label, style
from harness.run import Run

_SENTENCE, _QUOTE = 500, 300
_SOLVERS, _BADGES, _LONG = 4, 3, 40


@dataclass(frozen=True)
class BugRow:
    """``members`` are the positions of the run's outcomes that show it, none where only a sweep or a recording does; ``badges`` are
    (CSS class, words) of how they ended; ``first`` leads to the first of them, or to the sweep, or the case that was recorded."""

    number: int
    anchor: str
    sentence: str
    cause: str
    confidence: str
    signature: str
    symptom: str
    badges: tuple[tuple[str, str], ...]
    cases: tuple[str, ...]
    solvers: tuple[str, ...]
    fix: str
    members: tuple[int, ...]
    first: str
    failure: bool
    tried: bool
    shown_by: str


@dataclass(frozen=True)
class FactView:
    """``field`` is the name of what is quoted, ``place`` what it is a field of, empty where that is the outcome itself."""

    field: str
    quote: str
    place: str


@dataclass(frozen=True)
class DiagnosisView:
    """``refute`` is empty where no cause is claimed."""

    sentence: str
    cause: str
    confidence: str
    facts: tuple[FactView, ...]
    refute: str
    test: str
    fix: str
    signature: str


def diagnose_run(run: Run) -> tuple[Diagnosed, tuple[str, ...]]:
    """The run with its diagnoses, and one line for each file beside it that could not be read."""
    documents, problems = documents_of(run)
    return diagnosed_run(run, documents), tuple(clean(problem) for problem in problems)


def bug_rows(found: Diagnosed, hrefs: Mapping[Key, str], labels: Mapping[str, str]) -> tuple[BugRow, ...]:
    """In the order of the bugs, the gravest first. ``hrefs`` maps an outcome's key to where it is shown, ``labels`` a solver's name
    to what it is called."""
    at = {outcome.key: i for i, outcome in enumerate(found.run.outcomes)}
    rows = []
    for number, bug in enumerate(found.bugs, 1):
        shown = found.showing(bug)
        badges = dict.fromkeys((style(outcome), " ".join(filter(None, label(outcome)))) for outcome in shown)
        rows.append(
            BugRow(
                number=number,
                anchor=f"bug-{number}",
                sentence=shorten(bug.diagnosis.sentence, _SENTENCE),
                cause=clean(bug.diagnosis.cause),
                confidence=bug.diagnosis.confidence,
                signature=clean(bug.signature),
                symptom=bug_symptom(bug, shown),
                badges=tuple(badges)[:_BADGES],
                cases=bug.cases,
                solvers=bug.solvers,
                fix=shorten(bug.diagnosis.fix, _SENTENCE),
                members=tuple(at[outcome.key] for outcome in shown if outcome.key in at),
                first=next((hrefs[outcome.key] for outcome in shown if outcome.key in hrefs), ""),
                failure=bug.failure,
                shown_by=_shown_by(bug, labels),
                tried=any(outcome.kind is not Kind.UNAVAILABLE for outcome in shown) or not shown,
            )
        )
    return tuple(rows)


def _shown_by(bug: Bug, labels: Mapping[str, str]) -> str:
    case = shorten(bug.cases[0], 80) if len(bug.cases) == 1 else count(len(bug.cases), "case")
    names = [labels.get(name, shorten(name, 60)) for name in bug.solvers]
    more = f" and {len(names) - _SOLVERS} more" if len(names) > _SOLVERS else ""
    return f"{', '.join(names[:_SOLVERS])}{more} on {case}"


def diagnosis_view(outcome: Outcome, said: str = "") -> DiagnosisView | None:
    """``said`` is what stands above it: a long quotation from it is not repeated."""
    diagnosis: Diagnosis | None = outcome.diagnosis
    if diagnosis is None or diagnosis.cause == NOT_TRIED:  # its reason stands above
        return None
    claimed = diagnosis.confidence != "unknown" or diagnosis.cause == "contradiction"
    return DiagnosisView(
        sentence=shorten(diagnosis.sentence, _SENTENCE),
        cause=clean(diagnosis.cause),
        confidence=diagnosis.confidence,
        facts=tuple(_fact(outcome, fact) for fact in diagnosis.facts if len(fact.quote) < _LONG or fact.quote not in said),
        refute=shorten(diagnosis.refute, _SENTENCE) if claimed else "",
        test=shorten(diagnosis.test, _SENTENCE),
        fix=shorten(diagnosis.fix, _SENTENCE),
        signature=clean(outcome.signature),
    )


def _fact(outcome: Outcome, fact: Fact) -> FactView:
    place, _, field = fact.where.rpartition(": ")
    if place == " / ".join(outcome.key):
        place = ""
    elif place.startswith(f"{outcome.case} / "):
        place = place.removeprefix(f"{outcome.case} / ").removesuffix(" / none")
    if fact.quote.startswith(f"{field}:"):
        field = ""
    return FactView(shorten(field, _QUOTE), shorten(fact.quote, _QUOTE), shorten(place, _QUOTE))
