"""The places that a memory mode gives to the windows of a case, and what has become of them after a solve.

A *window* is the memory of one alias group; a *room* is all memory around it that can be touched. A room has four regions: before
the window, after it, the gaps in it that no tensor covers, and the tensors. The first three hold a chosen byte and must keep it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from harness.case import TensorSpec
from harness.layout import POISON, groups, view
from harness.memory import guardpages
from harness.sanitizer.finding import Finding, finding

BEFORE, GAP, AFTER, TENSOR = "before", "gap", "after", "tensor"
REGIONS = (BEFORE, GAP, AFTER)
START, END = "start", "end"

GUARD_BYTES = 1 << 16
"""The least that lies poisoned on each side of a window; as much again as the window is long, to be there for a wrong stride."""
MAX_GUARD_BYTES = 1 << 26

Fill = Callable[[str, str], int]
"""(group, region) -> the byte that fills it."""


def all_nan(group: str, region: str) -> int:
    return POISON


@dataclass
class Room:
    """One window's surroundings. ``start`` is where the window begins in ``memory``; ``kept`` says what of its address.

    Empty for all of it, which is the recorded address modulo 512.
    """

    group: str
    memory: Any  # uint8 of NumPy, or a DeviceMemory
    address: int
    start: int
    n_bytes: int
    guarded: bool = False
    kept: str = ""
    before: np.ndarray | None = None

    def to_json(self, tensors: list[str]) -> dict[str, Any]:
        """What is known of it before the solve, for whoever reads it should the process die."""
        return {
            "tensors": tensors, "address": self.address + self.start, "size": self.n_bytes,
            "room": [self.address, len(self.memory)], "guarded": self.guarded, "kept": self.kept,
        }  # fmt: skip

    def bytes(self) -> np.ndarray:
        """What it holds now, on the host."""
        return self.memory if isinstance(self.memory, np.ndarray) else self.memory.on_host()


class Arena(Protocol):
    """What gives windows their places. ``rooms`` fills as windows are asked for."""

    name: str
    rooms: dict[str, Room]


@dataclass
class HostArena:
    """Rooms on the host. ``side`` START or END: that end of each window lies against a page that faults. Otherwise: wide guards.

    A window that lies against a guard page cannot also lie at its recorded address modulo 512: ``Room.kept`` says what is left.
    """

    name: str
    side: str | None = None
    fill: Fill = all_nan
    rooms: dict[str, Room] = field(default_factory=dict)

    def allocate(self, group: str, n_bytes: int, address_mod_512: int, itemsize: int) -> np.ndarray:
        """The window of a group (uint8), filled. Raises MemoryError."""
        if self.side is None:
            room = self._wide(group, n_bytes, address_mod_512)
        else:
            room = self._against_guard(group, n_bytes, address_mod_512, itemsize, self.side)
        self.rooms[group] = room
        for region, part in parts(room):
            part[:] = self.fill(group, region)
        return np.ndarray((n_bytes,), np.uint8, buffer=room.memory.data, offset=room.start)

    def _wide(self, group: str, n_bytes: int, address_mod_512: int) -> Room:
        guard = guard_bytes(n_bytes)
        memory = np.empty(2 * guard + n_bytes + 512, dtype=np.uint8)
        start = guard + (address_mod_512 - memory.ctypes.data - guard) % 512
        return Room(group, memory, memory.ctypes.data, start, n_bytes)

    def _against_guard(self, group: str, n_bytes: int, address_mod_512: int, itemsize: int, side: str) -> Room:
        address, size = guardpages.allocate(n_bytes + itemsize)
        # Whole elements stay where they can be loaded at all: with masks and numbers in one window that may leave a few bytes.
        start = address_mod_512 % itemsize if side == START else size - n_bytes - (-n_bytes - address_mod_512) % itemsize
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        return Room(group, memory, address, start, n_bytes, True, _kept((address + start) % 512, address_mod_512))


def guard_bytes(n_bytes: int) -> int:
    """How much is poisoned on each side, in whole units of 512."""
    return GUARD_BYTES + min(-(-n_bytes // 512) * 512, MAX_GUARD_BYTES)


def parts(room: Room) -> Iterator[tuple[str, Any]]:
    """The regions of a room that hold no tensor yet: before it, its window, after it."""
    yield BEFORE, room.memory[: room.start]
    yield GAP, room.memory[room.start : room.start + room.n_bytes]
    yield AFTER, room.memory[room.start + room.n_bytes :]


def seal(arena: Arena) -> None:
    """Remember what every room holds, once the values are in place."""
    for room in arena.rooms.values():
        room.before = room.bytes().copy()


def touched(arena: Arena, specs: Mapping[str, TensorSpec], tool: str) -> tuple[dict[tuple[str, str], Finding], list[str]]:
    """What has been written since ``seal``: by (group, region) what lies beside the tensors; a note for each input overwritten."""
    findings: dict[tuple[str, str], Finding] = {}
    notes: list[str] = []
    for group, names in groups(specs).items():
        room = arena.rooms[group]
        assert room.before is not None
        changed = np.flatnonzero(room.bytes() != room.before) - room.start
        if not len(changed):
            continue
        region = _regions(changed, room.n_bytes, covered(specs, names, room.n_bytes))
        if (region == TENSOR).any():
            notes.append(f"it wrote to its input {' or '.join(names)}")
        for beside in (kind for kind in REGIONS if (region == kind).any()):
            findings[group, beside] = _written(room, names, beside, changed[region == beside], tool)
    return findings, notes


def covered(specs: Mapping[str, TensorSpec], names: list[str], n_bytes: int) -> np.ndarray:
    """Which bytes of a window belong to a tensor (bool, (n_bytes,))."""
    mask = np.zeros(n_bytes, dtype=np.uint8)
    for name in names:
        elements = view(mask, specs[name])
        elements.view(f"u{specs[name].itemsize}")[...] = (1 << 8 * specs[name].itemsize) - 1
    return mask.astype(bool)


def place(region: str, names: list[str]) -> str:
    """A region in words."""
    words = {BEFORE: "before the start of", GAP: "between the elements of", AFTER: "past the end of"}
    return f"{words[region]} {' and '.join(names)}"


def _regions(at: np.ndarray, n_bytes: int, mask: np.ndarray) -> np.ndarray:
    """The region of each byte; ``at`` counts from the window's start."""
    inside = (at >= 0) & (at < n_bytes)
    region = np.where(at < 0, BEFORE, AFTER).astype("<U6")
    region[inside] = np.where(mask[at[inside]], TENSOR, GAP)
    return region


def _written(room: Room, names: list[str], region: str, at: np.ndarray, tool: str) -> Finding:
    nearest = int(at[-1]) if region == BEFORE else int(at[0])
    address = room.address + room.start
    distance = {BEFORE: -nearest, GAP: 0, AFTER: nearest - room.n_bytes + 1}[region]
    far = "" if region == GAP else f" (the nearest is {bytes_text(distance)} {'before' if region == BEFORE else 'past'} it)"
    return finding(
        tool, "out-of-bounds", f"overwrote {bytes_text(len(at))} {place(region, names)}{far}",
        space="heap" if isinstance(room.memory, np.ndarray) else "global", direction="write", size=len(at),
        address=address + nearest, nearest_allocation={"address": address, "size": room.n_bytes, "distance": distance},
    )  # fmt: skip


def bytes_text(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"


def _kept(is_: int, recorded: int) -> str:
    """What is left of a recorded address modulo 512; empty for all of it."""
    kept = 512
    while (is_ - recorded) % kept:
        kept //= 2
    return "" if kept == 512 else f"modulo {kept}"
