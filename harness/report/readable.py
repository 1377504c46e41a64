"""What of a run a report can be made of: one damaged outcome does not cost the report of all the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.errors import ResultError
from harness.outcome import Outcome
from harness.report.text import as_float, clean
from harness.report.yardsticks import read_parity
from harness.run import Run, read_run_in_part


def readable_run(folder: Path) -> tuple[Run, tuple[str, ...]]:
    """The run without the outcomes that cannot be read or whose numbers are none, and a line for each of those.

    Raises ``ResultError`` where the run itself cannot be read.
    """
    run, damaged = read_run_in_part(folder)
    problems = [f"{Path(error.file).name}: {error.field}: {error.reason}" for error in damaged]
    kept = []
    for outcome in run.outcomes:
        try:
            _check(outcome)
        except ResultError as error:
            problems.append(str(error))
        else:
            kept.append(outcome)
    return dataclasses.replace(run, outcomes=tuple(kept)), tuple(clean(problem) for problem in problems)


def _check(outcome: Outcome) -> None:
    read_parity(outcome)
    as_float(outcome.solve_seconds, " ".join(outcome.key), "solve_seconds")
