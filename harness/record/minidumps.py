"""The minidumps of a recorded program that died on Windows: which there are, or why there is none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import minidump
from harness.minidump import Dump

_WINDOWS = os.name == "nt"


@dataclass(frozen=True)
class Left:
    """What Windows left of the program's processes. ``words`` says it, or what to set so that there is something next time."""

    dumps: tuple[Dump, ...]
    words: str

    def to_json(self) -> dict[str, Any]:
        found = [{"file": str(dump.file), "bytes": dump.size_bytes} for dump in self.dumps]
        return {"files": found, "said": self.words}


def left_by(pids: Iterable[int], since: float, program: str) -> Left | None:
    """Of a program that died and whose processes have these ids; None where there is no Windows that could leave any."""
    if not _WINDOWS:
        return None
    name = Path(program).name
    settings = minidump.local_dumps(name if name.lower().endswith(".exe") else f"{name}.exe")
    if settings is None:
        return Left((), "Windows keeps no minidumps of programs that die: docs/windows.md has the setting, for the next time")
    dumps = tuple(minidump.of_processes(pids, since, settings))
    if not dumps:
        return Left((), f"Windows left no minidump of it in {settings.folder}")
    found = ", ".join(f"{dump.file} ({dump.size_bytes / (1 << 20):.1f} MiB)" for dump in dumps)
    return Left(dumps, f"minidump: {found}; it holds the process's memory, and is in no bundle")
