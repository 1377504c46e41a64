"""Sweeps on disk, read back for the report and for ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import ResultError
from harness.run import SWEEPS, read_object

RUNNING = "running"

_FIELDS = {"case": str, "solver": str, "tool": str, "state": str, "rule": str, "tests": list, "layouts": list}
_LAYOUT_FIELDS = {"layout": str, "outcome": str, "signature": str, "verdict": str, "repeat": str, "tensors": dict}


def read_sweeps(folder: Path) -> list[dict[str, Any]]:
    """Every sweep of a run, in order of name; none where it had none. Raises ``ResultError`` naming file and field."""
    return [_read(file) for file in sorted((folder / SWEEPS).glob("*.json"))]


def has_fault(sweep: dict[str, Any]) -> bool:
    return any(entry["faulted"] for entry in sweep["layouts"])


def _read(file: Path) -> dict[str, Any]:
    document = read_object(file)
    _check(file, "", document, _FIELDS)
    for i, entry in enumerate(document["layouts"]):
        _check(file, f"layouts.{i}.", entry, _LAYOUT_FIELDS)
        if entry.get("faulted") not in (True, False, None):
            raise ResultError(file, f"layouts.{i}.faulted", "is not true, false or null")
    return document


def _check(file: Path, where: str, document: Any, fields: Mapping[str, type]) -> None:
    for field, kind in fields.items():
        if not isinstance(document, dict) or not isinstance(document.get(field), kind):
            raise ResultError(file, f"{where}{field}", f"is not a {kind.__name__}")
