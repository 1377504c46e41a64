"""A run on disk: ``run.json`` and one file per finished outcome, so that any later stage works from files alone.

::

    reports/<run id>/
      run.json                 id, environment, plan, one summary per case, started, finished (null while unfinished)
      outcomes/<name>.json     one finished outcome, written atomically
      yardsticks/<name>.json   the oracle's outcomes, where it was not one of the solvers asked for
      jobs/<name>/             the child's own files: job.json journal.jsonl result.json stdout stderr faulthandler
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ResultError
from harness.jsonfile import as_utf8, write_json
from harness.outcome import Outcome

RUN_FILE = "run.json"
OUTCOMES = "outcomes"
YARDSTICKS = "yardsticks"
JOBS = "jobs"
SPECIMENS = "specimens.json"
"""What was seen of specimens: beside their own run, and beside a run that shows them."""
_FIELDS: dict[str, Any] = {
    "run": str, "started": str, "finished": str | None, "command": str, "environment": dict, "plan": dict, "cases": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run has so far. ``cases`` maps a case id to its summary (see ``case_summary``)."""

    id: str
    folder: Path
    started: str
    finished: str | None
    command: str
    environment: Mapping[str, Any]
    plan: Mapping[str, Any]
    cases: Mapping[str, Mapping[str, Any]]
    outcomes: tuple[Outcome, ...]

    def to_json(self) -> dict[str, Any]:
        """The document ``harness replay --json`` prints."""
        outcomes = [outcome.to_json() for outcome in self.outcomes]
        return {"run": self.id, "finished": self.finished, "environment": dict(self.environment), "outcomes": outcomes}


def read_run(folder: Path) -> Run:
    """Read a run, finished or not. Raises ``ResultError`` naming file and field."""
    run = read_header(folder)
    outcomes = [read_outcome(file) for file in sorted((folder / OUTCOMES).glob("*.json"))]
    order = {tuple(key): i for i, key in enumerate(run.plan["tasks"])}
    outcomes.sort(key=lambda outcome: order.get(outcome.key, len(order)))
    return dataclasses.replace(run, outcomes=tuple(outcomes))


def read_header(folder: Path) -> Run:
    """What ``run.json`` alone says; ``outcomes`` is empty. Raises ``ResultError`` naming file and field."""
    file = folder / RUN_FILE
    document = read_object(file)
    for field, kind in _FIELDS.items():
        if not isinstance(document.get(field), kind):
            raise ResultError(file, field, "missing" if field not in document else f"is not {kind}")
    tasks = document["plan"].get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(key, list) and len(key) == 3 for key in tasks):
        raise ResultError(file, "plan.tasks", "is not a list of [case, solver, how]")
    fields = {name: document[name] for name in _FIELDS if name != "run"}
    return Run(id=document["run"], folder=folder, outcomes=(), **fields)


def read_outcome(file: Path) -> Outcome:
    document = read_object(file)
    try:
        return Outcome.from_json(document)
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(file, "outcome", str(error)) from None


def write_outcome(folder: Path, name: str, outcome: Outcome, kind: str = OUTCOMES) -> None:
    write_json(folder / kind / f"{name}.json", outcome.to_json())


def read_object(file: Path) -> dict[str, Any]:
    """Raises ``ResultError`` for anything but a JSON object."""
    try:
        document = json.loads(as_utf8(file.read_bytes()))
    except OSError as error:
        raise ResultError(file, "file", error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise ResultError(file, "json", str(error)) from None
    if not isinstance(document, dict):
        raise ResultError(file, "json", "is not an object")
    return document
