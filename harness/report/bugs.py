"""The distinct bugs of a run as the report shows them: a row each at the top, and the diagnosis beside an outcome's evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.diagnosis.bugs import NOT_TRIED, Bug
from harness.diagnosis.ofrun import bugs_of, diagnosed_run, documents_of
from harness.outcome import Diagnosis, Fact, Kind, Outcome
from harness.report.symptoms import bug_symptom, gravest_first
from harness.report.text import clean, count, shorten
from harness.report.words import label, style
from harness.run import Run

_SENTENCE, _QUOTE = 500, 300
_SOLVERS, _BADGES, _LONG = 4, 3, 80


@dataclass(frozen=True)
class BugRow:
    """``members`` are the positions of the run's outcomes that show it; ``badges`` are (CSS class, words) of how they ended."""

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


@dataclass(frozen=True)
class Diagnoses:
    """The run with its diagnoses, its distinct bugs, and one line for each file beside it that could not be read."""

    run: Run
    bugs: tuple[Bug, ...]
    problems: tuple[str, ...]


def diagnose_run(run: Run) -> Diagnoses:
    documents, problems = documents_of(run)
    run = diagnosed_run(run, documents)
    return Diagnoses(run, bugs_of(run, documents, known=True), tuple(clean(problem) for problem in problems))


def bug_rows(bugs: tuple[Bug, ...], outcomes: Sequence[Outcome], hrefs: Mapping[int, str],
             labels: Mapping[str, str]) -> tuple[BugRow, ...]:  # fmt: skip
    """The gravest first. ``outcomes`` are the run's, ``hrefs`` maps the position of each to its link, ``labels`` a solver's
    name to what it is called."""
    at = {outcome.key: i for i, outcome in enumerate(outcomes)}
    members = {id(bug): tuple(at[key] for key in bug.outcomes if key in at) for bug in bugs}
    judged = [(bug, bug_symptom(bug, [outcomes[i] for i in members[id(bug)]])) for bug in bugs]
    rows = []
    for number, (bug, symptom) in enumerate(gravest_first(judged), 1):
        mine = members[id(bug)]
        badges = dict.fromkeys((style(outcomes[i]), " ".join(filter(None, label(outcomes[i])))) for i in mine)
        rows.append(
            BugRow(
                number=number,
                anchor=f"bug-{number}",
                sentence=shorten(bug.diagnosis.sentence, _SENTENCE),
                cause=clean(bug.diagnosis.cause),
                confidence=bug.diagnosis.confidence,
                signature=clean(bug.signature),
                symptom=symptom.words,
                badges=tuple(badges)[:_BADGES],
                cases=bug.cases,
                solvers=bug.solvers,
                fix=shorten(bug.diagnosis.fix, _SENTENCE),
                members=mine,
                first=hrefs[mine[0]] if mine else "",
                failure=bug.failure,
                shown_by=_shown_by(bug, labels),
                tried=any(outcomes[i].kind is not Kind.UNAVAILABLE for i in mine) or not mine,
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
