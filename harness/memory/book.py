"""What a memory mode has found so far, on disk before each solve, because a solve may be the last thing the process does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.case import TensorSpec
from harness.jsonfile import write_json
from harness.layout import groups
from harness.memory import arena as arenas
from harness.memory.agreement import NOT_REPEATABLE, Result, words
from harness.memory.arena import Arena
from harness.sanitizer.finding import Finding
from harness.worker_files import MEMORY
from sim3solve.driver import CudaError

Attempt = Callable[[Arena], dict[str, Any]]
"""Rebuilds the tensors in the arena, calls ``Book.placed``, solves once, and returns the result, an exception being one too."""

MakeArena = Callable[..., Arena]
"""``make(name, side=..., fill=...)`` is an arena on the solver's device."""


class Book:
    """Findings and notes of all solves of one job."""

    def __init__(self, folder: Path, mode: str, specs: Mapping[str, TensorSpec]) -> None:
        self._file = folder / MEMORY
        self.mode, self.specs = mode, specs
        self._windows: list[dict[str, Any]] = []
        self._written: dict[tuple[str, str], Finding] = {}
        self._read: list[Finding] = []
        self._repeatable = True
        self.notes: list[str] = []

    def placed(self, arena: Arena) -> None:
        """The windows are in place: remember what is around them, and write down where they are."""
        arenas.seal(arena)
        windows = [arena.rooms[group].to_json(names) for group, names in groups(self.specs).items()]
        self._windows = windows
        self.write(arena.name)

    def looked_at(self, arena: Arena, result: Result) -> Result:
        """Take up what its solve has written. A GPU that died of it cannot be asked, and the result says why it died.

        Of two attempts the one that shows more is kept: some bytes may be what was there.
        """
        try:
            found, notes = arenas.touched(arena, self.specs, self.mode)
        except CudaError as error:
            if "exception" not in result:
                raise
            self.note(f"what was written beside its tensors cannot be looked at: {error}")
            return result
        for place, written in found.items():
            before = self._written.get(place)
            if before is None or before["size"] < written["size"]:
                self._written[place] = written
        for note in notes:
            self.note(note)
        return result

    def note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)

    def depends(self, finding: Finding) -> None:
        self._read.append(finding)

    def not_repeatable(self, one: Result, other: Result, so: str) -> None:
        """Two solves of the same values in the same memory came to different results; ``so`` is what follows."""
        self._repeatable = False
        self.note(f"{NOT_REPEATABLE}: the same values in the same memory give {words(one)}, then {words(other)}; {so}")

    @property
    def findings(self) -> list[Finding]:
        return [*self._written.values(), *self._read]

    def write(self, attempt: str) -> None:
        document = {"mode": self.mode, "attempt": attempt, "windows": self._windows, "findings": self.findings, "notes": self.notes}
        write_json(self._file, document | {"repeatable": self._repeatable})
