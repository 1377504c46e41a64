"""The distinct bugs of a run as the report shows them: a row each at the top, and the diagnosis beside an outcome's evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.diagnosis.bugs import NOT_TRIED, Bug
from harness.diagnosis.ofrun import bugs_with_recordings, diagnosed_run, documents_of
from harness.outcome import Diagnosis, Outcome
from harness.report.text import clean, count, shorten
from harness.run import Run

_SENTENCE, _QUOTE = 500, 300


@dataclass(frozen=True)
class BugRow:
    """``href`` leads to the first outcome that shows it; to its case, where that is a recording."""

    sentence: str
    cause: str
    confidence: str
    signature: str
    shown_by: str
    fix: str
    href: str
    failure: bool


@dataclass(frozen=True)
class DiagnosisView:
    """``facts`` are (quotation, where it stands)."""

    sentence: str
    cause: str
    confidence: str
    facts: tuple[tuple[str, str], ...]
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
    return Diagnoses(run, bugs_with_recordings(run, documents, known=True), tuple(clean(problem) for problem in problems))


def bug_rows(bugs: tuple[Bug, ...], hrefs: Mapping[tuple[str, str, str], str], cases: Mapping[str, str]) -> tuple[BugRow, ...]:
    return tuple(
        BugRow(
            sentence=shorten(bug.diagnosis.sentence, _SENTENCE),
            cause=clean(bug.diagnosis.cause),
            confidence=bug.diagnosis.confidence,
            signature=clean(bug.signature),
            shown_by=f"{count(len(bug.cases), 'case')} \u00d7 {shorten(', '.join(bug.solvers), 120)}",
            fix=shorten(bug.diagnosis.fix, _SENTENCE),
            href=next((hrefs[key] for key in bug.outcomes if key in hrefs), cases[bug.outcomes[0][0]]),
            failure=bug.failure,
        )
        for bug in bugs
    )


def diagnosis_view(outcome: Outcome) -> DiagnosisView | None:
    diagnosis: Diagnosis | None = outcome.diagnosis
    if diagnosis is None or diagnosis.cause == NOT_TRIED:  # its reason stands above
        return None
    return DiagnosisView(
        sentence=shorten(diagnosis.sentence, _SENTENCE),
        cause=clean(diagnosis.cause),
        confidence=diagnosis.confidence,
        facts=tuple((shorten(fact.quote, _QUOTE), shorten(fact.where, _QUOTE)) for fact in diagnosis.facts),
        refute=shorten(diagnosis.refute, _SENTENCE),
        test=shorten(diagnosis.test, _SENTENCE),
        fix=shorten(diagnosis.fix, _SENTENCE),
        signature=clean(outcome.signature),
    )
