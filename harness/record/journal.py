"""What the recorded processes say beside the cases: a line for what happened, written the moment it does. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from harness.record.settings import JOURNALS, Settings


class Journal:
    """Appends lines to this process's journal. Recording goes on without one where it cannot be written."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def write(self, event: str, **more: Any) -> None:
        line = json.dumps({"event": event, **more}) + "\n"
        file = self._settings.journal(os.getpid())
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            # Opened for each line: they are few, and a process that forks must not write into its parent's.
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)


def read_journals(out: Path, run: str) -> dict[int, list[dict[str, Any]]]:
    """What each process of a run said, by its id. A line that was cut off by the process's death is left out."""
    found: dict[int, list[dict[str, Any]]] = {}
    for file in sorted((out / JOURNALS).glob(f"{run}-*.jsonl")):
        pid = file.stem.rpartition("-")[2]
        if pid.isdigit():
            found[int(pid)] = [line for line in map(_parsed, file.read_bytes().splitlines()) if line is not None]
    return found


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
