"""A run folder, or one recorded case, as what the rules look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from harness.casefile import read_case
from harness.diagnosis.bugs import Bug, diagnosed, distinct_bugs
from harness.diagnosis.documents import Documents, read_documents
from harness.diagnosis.recorded import recorded_outcome
from harness.errors import ResultError
from harness.outcome import Outcome
from harness.run import YARDSTICKS, Run, read_outcome

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


def bugs_of_recordings(folders: Sequence[Path], documents: Documents) -> tuple[Bug, ...]:
    """What recorded cases say of the runs that they come from. Raises ``CaseError``."""
    return distinct_bugs([recorded_outcome(read_case(folder)) for folder in folders], (), documents)
