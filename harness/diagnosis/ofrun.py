"""A run folder, or one recorded case, as what the rules look at."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.casefile import read_case
from harness.diagnosis.bugs import Bug, diagnosed, distinct_bugs
from harness.diagnosis.documents import Documents, read_documents
from harness.diagnosis.recorded import recorded_outcome
from harness.diagnosis.sweeps import Sweep
from harness.errors import ResultError
from harness.outcome import Outcome
from harness.run import SWEPT, YARDSTICKS, Run, read_outcome, read_run

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


def swept_faults(run: Run, documents: Documents | None = None) -> tuple[Outcome, ...]:
    """The outcomes in which a sweep of the run faulted in another layout than the recorded one. ``documents`` are its own."""
    documents = documents or documents_of(run)[0]
    files = {file.name: file for file in sorted((run.folder / SWEPT).glob("*.json"))}
    found = []
    for sweep in documents.sweeps:
        for layout in sweep.elsewhere:
            file = files.get(f"{Path(sweep.source).stem}@{layout.layout}.json")
            with contextlib.suppress(ResultError):  # as above
                found += [read_outcome(file)] if file is not None else []
    return tuple(found)


@dataclass(frozen=True)
class Diagnosed:
    """A run in which every outcome that is wrong has its diagnosis, in the light of all its files.

    ``swept`` are outcomes of its sweeps that faulted, likewise; ``bugs`` are the distinct ones of both.
    """

    run: Run
    swept: tuple[Outcome, ...]
    bugs: tuple[Bug, ...]
    sweeps: tuple[Sweep, ...]

    def showing(self, bug: Bug) -> tuple[Outcome, ...]:
        """The outcomes that show a bug, those of the run first."""
        return tuple(outcome for outcome in (*self.run.outcomes, *self.swept) if outcome.key in bug.outcomes)


def diagnosed_run(run: Run, documents: Documents) -> Diagnosed:
    oracles, swept = oracles_of(run), swept_faults(run, documents)
    found = diagnosed(run.outcomes, oracles, documents, swept)
    outcomes, swept = found[: len(run.outcomes)], found[len(run.outcomes) :]
    bugs = distinct_bugs(outcomes, oracles, documents, swept, known=True)
    return Diagnosed(dataclasses.replace(run, outcomes=outcomes), swept, bugs, documents.sweeps)


def read_diagnosed(folder: Path) -> Diagnosed:
    """Raises ``ResultError`` for a run that cannot be read; of what lies beside it, what cannot is left out."""
    run = read_run(folder)
    return diagnosed_run(run, documents_of(run)[0])


def bugs_of_recordings(folders: Sequence[Path], documents: Documents) -> tuple[Bug, ...]:
    """What recorded cases say of the runs that they come from. Raises ``CaseError``."""
    return distinct_bugs([recorded_outcome(read_case(folder)) for folder in folders], (), documents)
