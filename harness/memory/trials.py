"""One solve becomes several in a memory mode, and what they show together. Runs in children only.

``exact``: on the CPU every window once lies behind a page that faults and once before one; on a GPU it is an allocation of its own
(what lies past it only compute-sanitizer can see). ``poison``: what no tensor covers holds NaN, then zeros; a result that differs
depends on it. Where it does, each place is poisoned by itself until the one that matters is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.case import TensorSpec
from harness.jsonfile import write_json
from harness.layout import POISON, groups
from harness.memory import arena as arenas
from harness.memory import heap
from harness.memory.arena import END, GAP, REGIONS, START, Arena, Fill
from harness.memory.watch import watch
from harness.outcome import EXACT
from harness.outcome import POISON as POISON_MODE
from harness.sanitizer.finding import Finding, finding
from harness.worker_files import FAULT, MEMORY

Attempt = Callable[[Arena], dict[str, Any]]
"""Rebuilds the tensors in the arena, calls ``Book.placed``, solves once, and returns the result, an exception being one too."""

DONE = "done"
AGREE = 1e-4
"""Two results of one solver agree within this, relative to the largest number: above what sums in another order differ by."""


class Book:
    """What is known so far, on disk before each solve, because a solve may be the last thing the process does."""

    def __init__(self, folder: Path, mode: str, specs: Mapping[str, TensorSpec]) -> None:
        self._file = folder / MEMORY
        self.mode, self.specs = mode, specs
        self._windows: list[dict[str, Any]] = []
        self._written: dict[tuple[str, str], Finding] = {}
        self._read: list[Finding] = []
        self.notes: list[str] = []

    def placed(self, arena: Arena) -> None:
        """The windows are in place: remember what is around them, and write down where they are."""
        arenas.seal(arena)
        windows = [arena.rooms[group].to_json(names) for group, names in groups(self.specs).items()]
        self._windows = windows
        self.write(arena.name)

    def looked_at(self, arena: Arena) -> None:
        """Take up what the solve has written. Of two attempts the one that shows more is kept: some bytes may be what was there."""
        found, notes = arenas.touched(arena, self.specs, self.mode)
        for place, written in found.items():
            before = self._written.get(place)
            if before is None or before["size"] < written["size"]:
                self._written[place] = written
        for note in notes:
            self.note(note)

    def note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)

    def depends(self, finding: Finding) -> None:
        self._read.append(finding)

    @property
    def findings(self) -> list[Finding]:
        return [*self._written.values(), *self._read]

    def write(self, attempt: str) -> None:
        document = {"mode": self.mode, "attempt": attempt, "windows": self._windows, "findings": self.findings, "notes": self.notes}
        write_json(self._file, document)


def run(folder: Path, book: Book, attempt: Attempt, make: Callable[..., Arena], *, on_gpu: bool, until: float) -> dict[str, Any]:
    """The result of the first solve, or of a later one that failed where it did not; ``book`` holds what was found.

    ``make(name, side=..., fill=...)`` is an arena on the solver's device. After ``until`` (``time.time``) nothing more is looked
    into.
    """
    result = _exact(folder, book, attempt, make, on_gpu) if book.mode == EXACT else _poison(book, attempt, make, until)
    book.write(DONE)
    return result


def _exact(folder: Path, book: Book, attempt: Attempt, make: Callable[..., Arena], on_gpu: bool) -> dict[str, Any]:
    if on_gpu:
        arena = make("its tensors in allocations of their own")
        result = attempt(arena)
        book.looked_at(arena)
        return result
    book.note(watch(folder / FAULT))
    results = []
    for side in (START, END):
        arena = make(f"{side} of each window against a guard page", side=side)
        results.append(attempt(arena))
        book.looked_at(arena)
        if "exception" in results[-1]:
            return results[-1]
    if not agree(*results):
        book.note(f"its result differs between two places of the same inputs: {_words(results[0])}, then {_words(results[1])}")
    return results[0]


def _poison(book: Book, attempt: Attempt, make: Callable[..., Arena], until: float) -> dict[str, Any]:
    def once(name: str, fill: Fill, own_memory: int) -> dict[str, Any]:
        arena = make(name, fill=fill)
        filled = heap.fill(own_memory)
        heap.fill_torch(own_memory == POISON)
        try:
            result = attempt(arena)
        finally:
            heap.fill(None)
            heap.fill_torch(False)
        if not filled:
            book.note("memory that the solver takes for itself is not filled on this system, but for torch's")
        book.looked_at(arena)
        return result

    poisoned = once("NaN", arenas.all_nan, POISON)
    zeros = once("zeros", lambda group, region: 0, 0)
    if agree(poisoned, zeros):
        return poisoned
    culprits: list[tuple[str, list[str]]] = []
    for where, names, fill, own_memory in _suspects(book.specs):
        if time.time() > until:
            book.note("which memory it depends on was not looked into to the end: the time limit is near")
            break
        if not agree(once(f"NaN {where} {' and '.join(names)}".strip(), fill, own_memory), zeros):
            culprits.append((where, names))
    book.note(f"NaN where no tensor is gives {_words(poisoned)}, zeros there give {_words(zeros)}")
    for where, names in culprits or [("", [])]:
        book.depends(_depends(where, names))
    return poisoned


def _suspects(specs: Mapping[str, TensorSpec]) -> list[tuple[str, list[str], Fill, int]]:
    """(region or ``own``, tensors, fill, byte of the solver's own memory): each place that can be poisoned by itself."""
    found: list[tuple[str, list[str], Fill, int]] = [("own", [], lambda group, region: 0, POISON)]
    for group, names in groups(specs).items():
        n_bytes = max(specs[name].end_byte for name in names)
        for region in REGIONS:
            if region != GAP or not arenas.covered(specs, names, n_bytes).all():
                found.append((region, names, _only(group, region), 0))
    return found


def _only(wanted_group: str, wanted_region: str) -> Fill:
    return lambda group, region: POISON if (group, region) == (wanted_group, wanted_region) else 0


def _depends(where: str, names: list[str]) -> Finding:
    places = {"own": "of its own that it has not written", "": "that no tensor covers"}
    beside = places.get(where) or arenas.place(where, names)
    kind = "out-of-bounds" if where in (arenas.BEFORE, arenas.AFTER) else "uninitialized"
    return finding(POISON_MODE, kind, f"its result depends on memory {beside}", direction="read")


def agree(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two results say the same: status, exception or numbers within ``AGREE``; NaN agrees with NaN."""
    if (a.get("status"), (a.get("exception") or {}).get("type")) != (b.get("status"), (b.get("exception") or {}).get("type")):
        return False
    for name in ("op_value", "T_WCf", "T_CkCf"):
        x, y = (np.asarray(result.get(name, []), dtype=np.float64) for result in (a, b))
        if x.shape != y.shape or not _close(x, y):
            return False
    return True


def _close(x: np.ndarray, y: np.ndarray) -> bool:
    finite = np.isfinite(x)
    if (finite != np.isfinite(y)).any():
        return False
    return bool((np.abs(x - y)[finite] <= AGREE * max(1.0, float(np.abs(x[finite]).max(initial=0.0)))).all())


def _words(result: Mapping[str, Any]) -> str:
    if "exception" in result:
        return f"{result['exception']['type']}"
    numbers = np.asarray(result.get("T_CkCf", result.get("op_value", [])), dtype=np.float64).ravel()
    what = "NaN" if np.isnan(numbers).any() else np.array2string(numbers[:8], precision=4, suppress_small=True, max_line_width=200)
    return f"{result.get('status', 'a result')} {what}"
