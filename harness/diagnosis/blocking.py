"""A replay in which every launch was waited for: ``CUDA_LAUNCH_BLOCKING=1 harness replay ... --json``, kept beside a run.

What is wrong without it and right with it lacks an order between streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.errors import ResultError
from harness.outcome import Outcome
from harness.run import read_object

BLOCKING = "blocking.json"
VARIABLE = "CUDA_LAUNCH_BLOCKING"


def read_blocking(file: Path) -> tuple[Outcome, ...]:
    """Its outcomes. Raises ``ResultError`` naming file and field, also for a run without the variable."""
    document = read_object(file)
    environment = document.get("environment")
    variables = environment.get("variables") if isinstance(environment, Mapping) else None
    if not is_blocking(variables if isinstance(variables, Mapping) else {}):
        raise ResultError(file, f"environment.variables.{VARIABLE}", "is not set: that run waited for no launch")
    outcomes = document.get("outcomes")
    if not isinstance(outcomes, list):
        raise ResultError(file, "outcomes", "is not a list")
    try:
        return tuple(Outcome.from_json(outcome) for outcome in outcomes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultError(file, "outcomes", f"{type(error).__name__}: {error}") from None


def is_blocking(variables: Mapping[str, object]) -> bool:
    return variables.get(VARIABLE) not in (None, "", "0")
