"""Which outcome of a run is meant: the one whose file is given, or the first failure of a run folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from harness.diagnosis.bugs import Bug
from harness.diagnosis.ofrun import bugs_of, diagnosed_run, documents_of
from harness.errors import UsageError
from harness.outcome import Outcome
from harness.run import Run, read_outcome, read_run


@dataclass(frozen=True)
class Picked:
    """``run`` is diagnosed; ``bugs`` are all of its distinct ones; ``others`` counts the failures that are not this bug."""

    run: Run
    outcome: Outcome
    bugs: tuple[Bug, ...]
    others: int


def diagnosed_bugs(folder: Path) -> tuple[Run, tuple[Bug, ...]]:
    """A run with its diagnoses, and its distinct bugs. Raises ``ResultError``."""
    run = read_run(folder)
    documents, _ = documents_of(run)
    run = diagnosed_run(run, documents)
    return run, bugs_of(run, documents, known=True)


def pick(source: Path) -> Picked:
    """``source`` is a run folder or the file of one of its outcomes. Raises ``ResultError`` or ``UsageError``."""
    if not source.exists():
        raise UsageError(f"{source}: there is no such run, nor such a file of an outcome")
    key = read_outcome(source).key if source.is_file() else None
    run, bugs = diagnosed_bugs(source.absolute().parent.parent if key else source)
    failures = [bug for bug in bugs if bug.failure]
    if key is None:
        if not failures:
            raise UsageError(
                f"{source}: nothing failed in this run; to send an outcome all the same give its file, outcomes/NAME.json"
            )
        key = failures[0].outcomes[0]
    outcome = next((it for it in run.outcomes if it.key == key), None)
    if outcome is None:
        raise UsageError(f"{source}: is not an outcome of the run in {run.folder}")
    return Picked(run, outcome, bugs, sum(key not in bug.outcomes for bug in failures))


def of_case(run: Run, case: str) -> Run:
    """The same run with the outcomes of one case only."""
    tasks = [key for key in run.plan["tasks"] if key[0] == case]
    outcomes = tuple(outcome for outcome in run.outcomes if outcome.case == case)
    cases = {name: summary for name, summary in run.cases.items() if name == case}
    return dataclasses.replace(run, outcomes=outcomes, cases=cases, plan={**run.plan, "tasks": tasks})
