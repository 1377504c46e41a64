"""A run folder, or one recorded case, as what the rules look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.case import Case
from harness.diagnosis.bugs import Bug, diagnosed, distinct_bugs
from harness.diagnosis.documents import Documents, read_documents
from harness.diagnosis.engine import MAX_FACTS
from harness.diagnosis.recorded import recorded_outcome
from harness.diagnosis.reproduced import not_reproduced, unreproduced
from harness.diagnosis.rule import NOT_KNOWN
from harness.errors import ResultError
from harness.outcome import Fact, Outcome
from harness.run import RECORDINGS, YARDSTICKS, Run, read_outcome

ORACLE = "reference"


def documents_of(run: Run) -> tuple[Documents, tuple[str, ...]]:
    """What lies in the run's folder beside its outcomes, and one line for each file that cannot be read."""
    return read_documents(run.folder, run.environment)


def oracles_of(run: Run) -> tuple[Outcome, ...]:
    """The oracle's outcome of every case, whether it was asked for or ran as the yardstick only."""
    own = [outcome for outcome in run.outcomes if outcome.solver == ORACLE and outcome.how == "none"]
    aside = []
    for file in sorted((run.folder / YARDSTICKS).glob("*.json")):
        try:
            aside.append(read_outcome(file))
        except ResultError:
            continue  # a run that is going on, or was damaged: a diagnosis does without
    return (*aside, *own)


def bugs_of(run: Run, documents: Documents, *, known: bool = False) -> tuple[Bug, ...]:
    """``known`` says that the run comes from ``diagnosed_run``."""
    return distinct_bugs(run.outcomes, oracles_of(run), documents, known=known)


def diagnosed_run(run: Run, documents: Documents) -> Run:
    """The run with a diagnosis in every outcome in which something is wrong, in the light of all its files."""
    return dataclasses.replace(run, outcomes=diagnosed(run.outcomes, oracles_of(run), documents))


def recordings_of(run: Run) -> tuple[Outcome, ...]:
    """How the calls ended that the run's cases were recorded from, where that was not well."""
    found = []
    for file in sorted((run.folder / RECORDINGS).glob("*.json")):
        try:
            found.append(read_outcome(file))
        except ResultError:
            continue  # damaged: the replays speak for themselves
    return tuple(recording for recording in found if recording.case in run.cases)


def unreproduced_of(run: Run) -> tuple[tuple[Outcome, str], ...]:
    """The recordings that no solver of the run reproduces, each with its diagnosis, and a sentence that says so."""
    recordings = unreproduced(recordings_of(run), run.outcomes)
    if not recordings:
        return ()
    documents, _ = documents_of(run)
    return tuple((it, _told(it, run)) for it in diagnosed(recordings, (), documents))


def _told(recorded: Outcome, run: Run) -> str:
    text = not_reproduced(recorded, run.outcomes)
    cause = recorded.diagnosis
    if cause is None or cause.confidence == NOT_KNOWN:
        return text
    return f"{text} What it left speaks for a cause: {cause.sentence} ({cause.cause}, {cause.confidence})"


def bugs_with_recordings(run: Run, documents: Documents, *, known: bool = False) -> tuple[Bug, ...]:
    """The distinct bugs of the run and of the recordings behind its cases: a replay that ends as its recording shows the same bug.

    Where none does, the bug's facts say so. The outcomes of a recording are none of the run's.
    """
    recordings = diagnosed(recordings_of(run), (), documents)
    lost = {it.key for it in unreproduced(recordings, run.outcomes)}
    bugs = distinct_bugs((*run.outcomes, *recordings), oracles_of(run), documents, known=known)
    return tuple(_with_reproduction(bug, [it for it in recordings if it.key in lost], run) for bug in bugs)


def _with_reproduction(bug: Bug, lost: Sequence[Outcome], run: Run) -> Bug:
    mine = [it for it in lost if it.key in bug.outcomes]
    if len(mine) < len(bug.outcomes):
        return bug
    facts = tuple(Fact(not_reproduced(it, run.outcomes), f"run {run.id}") for it in mine[:2])
    facts = (*bug.diagnosis.facts[: MAX_FACTS - len(facts)], *facts)
    return dataclasses.replace(bug, diagnosis=dataclasses.replace(bug.diagnosis, facts=facts))


def bugs_of_recordings(cases: Sequence[Case], documents: Documents) -> tuple[Bug, ...]:
    """What recorded cases say of the runs that they come from."""
    return distinct_bugs([recorded_outcome(case) for case in cases], (), documents)
