"""Which outcome of a run is meant: the one whose file is given, or the gravest failure of a run folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.diagnosis.bugs import Bug
from harness.diagnosis.ofrun import Diagnosed, read_diagnosed
from harness.errors import ResultError, UsageError
from harness.outcome import Outcome
from harness.registry import TRACKER
from harness.run import SWEPT, Run, read_outcome
from harness.sweep.files import read_sweeps


@dataclass(frozen=True)
class Picked:
    """``run`` is diagnosed, and has the outcome; ``bugs`` are all of its distinct ones; ``others`` counts failures not this bug."""

    run: Run
    outcome: Outcome
    bugs: tuple[Bug, ...]
    others: int


def pick(source: Path) -> Picked:
    """``source`` is a run folder or the file of one of its outcomes, or of a sweep's. Raises ``ResultError`` or ``UsageError``."""
    if not source.exists():
        raise UsageError(f"{source}: there is no such run, nor such a file of an outcome")
    key = read_outcome(source).key if source.is_file() else None
    found = read_diagnosed(_run_of(source) if key else source)
    failures = [bug for bug in found.bugs if bug.failure]
    if key is None:
        if not failures:
            raise UsageError(
                f"{source}: nothing failed in this run; to send an outcome all the same give its file, outcomes/NAME.json"
            )
        key = _shown(found, failures[0]).key
    run = found.run
    outcome = next((it for it in run.outcomes if it.key == key), None)
    if outcome is None:
        outcome = next((it for it in found.swept if it.key == key), None)
        if outcome is None:
            raise UsageError(f"{source}: is not an outcome of the run in {run.folder}, nor one that faulted in its sweeps")
        run = dataclasses.replace(run, outcomes=(*run.outcomes, outcome))
    return Picked(run, outcome, found.bugs, sum(key not in bug.outcomes for bug in failures))


def _shown(found: Diagnosed, bug: Bug) -> Outcome:
    """The first that shows it; of a recording that no replay reproduces, a replay of the same case, best of its own tracker."""
    first = found.showing(bug)[0]
    if first not in found.recordings:
        return first
    replayed = [it for it in found.run.outcomes if it.case == first.case]
    return next((it for it in replayed if it.solver.startswith(TRACKER)), replayed[0])


def _run_of(outcome: Path) -> Path:
    """The folder of the run that an outcome's file is in."""
    folder = outcome.absolute().parent
    return folder.parent.parent if folder.as_posix().endswith(f"/{SWEPT}") else folder.parent


def of_case(run: Run, case: str) -> Run:
    """The same run with the outcomes of one case only."""
    tasks = [key for key in run.plan["tasks"] if key[0] == case]
    outcomes = tuple(outcome for outcome in run.outcomes if outcome.case == case)
    cases = {name: summary for name, summary in run.cases.items() if name == case}
    return dataclasses.replace(run, outcomes=outcomes, cases=cases, plan={**run.plan, "tasks": tasks})


def sweeps_of_case(run: Run, case: str) -> list[dict[str, Any]]:
    """The layout sweeps of one case, on which a diagnosis may rest; none where one of the run is damaged."""
    try:
        return [sweep for sweep in read_sweeps(run.folder) if sweep["case"] == case]
    except ResultError:
        return []
