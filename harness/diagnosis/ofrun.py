"""A run folder, or one recorded case, as what the rules look at."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.case import Case
from harness.diagnosis.bugs import Bug, diagnosed, distinct_bugs
from harness.diagnosis.documents import Documents, read_documents
from harness.diagnosis.engine import MAX_FACTS
from harness.diagnosis.recorded import recorded_outcome
from harness.diagnosis.reproduced import not_reproduced, unreproduced
from harness.diagnosis.rule import NOT_KNOWN
from harness.diagnosis.sweeps import Sweep
from harness.errors import ResultError
from harness.outcome import Fact, Outcome
from harness.run import RECORDINGS, SWEPT, YARDSTICKS, Run, read_outcome, read_run

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


def _with_reproduction(bug: Bug, lost: Sequence[Outcome], run: Run) -> Bug:
    mine = [it for it in lost if it.key in bug.outcomes]
    if len(mine) < len(bug.outcomes):
        return bug
    facts = tuple(Fact(not_reproduced(it, run.outcomes), f"run {run.id}") for it in mine[:2])
    facts = (*bug.diagnosis.facts[: MAX_FACTS - len(facts)], *facts)
    return dataclasses.replace(bug, diagnosis=dataclasses.replace(bug.diagnosis, facts=facts))


@dataclass(frozen=True)
class Diagnosed:
    """A run in which every outcome that is wrong has its diagnosis, in the light of all its files.

    ``swept`` are outcomes of its sweeps that faulted, ``recordings`` how the calls ended that its cases were recorded from,
    likewise; neither are outcomes of the run. ``bugs`` are the distinct ones of all three: a replay that ends as its recording
    shows the same bug, and where none does, the bug's facts say so.
    """

    run: Run
    swept: tuple[Outcome, ...]
    recordings: tuple[Outcome, ...]
    bugs: tuple[Bug, ...]
    sweeps: tuple[Sweep, ...]

    def showing(self, bug: Bug) -> tuple[Outcome, ...]:
        """The outcomes that show a bug, those of the run first."""
        keys = frozenset(bug.outcomes)
        return tuple(outcome for outcome in (*self.run.outcomes, *self.swept, *self.recordings) if outcome.key in keys)

    @property
    def unreproduced(self) -> tuple[str, ...]:
        """A sentence for each recording that no solver of the run reproduces."""
        return tuple(_told(it, self.run) for it in unreproduced(self.recordings, self.run.outcomes))


def diagnosed_run(run: Run, documents: Documents) -> Diagnosed:
    oracles, swept, recordings = oracles_of(run), swept_faults(run, documents), diagnosed(recordings_of(run), (), documents)
    found = diagnosed(run.outcomes, oracles, documents, swept)
    outcomes, swept = found[: len(run.outcomes)], found[len(run.outcomes) :]
    lost = unreproduced(recordings, outcomes)
    bugs = distinct_bugs((*outcomes, *recordings), oracles, documents, swept, known=True)
    bugs = tuple(_with_reproduction(bug, lost, run) for bug in bugs)
    return Diagnosed(dataclasses.replace(run, outcomes=outcomes), swept, recordings, bugs, documents.sweeps)


def read_diagnosed(folder: Path) -> Diagnosed:
    """Raises ``ResultError`` for a run that cannot be read; of what lies beside it, what cannot is left out."""
    run = read_run(folder)
    return diagnosed_run(run, documents_of(run)[0])


def bugs_of_recordings(cases: Sequence[Case], documents: Documents) -> tuple[Bug, ...]:
    """What recorded cases say of the runs that they come from."""
    return distinct_bugs([recorded_outcome(case) for case in cases], (), documents)
