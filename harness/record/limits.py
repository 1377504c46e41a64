"""Which recorded calls are kept: how many that came back well, and how many bytes of all."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

_LOOK_AROUND_S = 2.0
_NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quota of that name


class Full(Exception):
    """A call does not fit, under the limit of bytes or onto the disk, and nothing of this process can make room for it."""


class DiskFull(Full):
    """It is the disk that has no room: what was to be recorded was not."""


def is_disk_full(error: OSError) -> bool:
    """Whether a disk refused for want of room, which may come back, and not for good."""
    return error.errno in _NO_SPACE


def short_of_space(out: Path, max_bytes: int) -> str:
    """What to tell somebody who is about to record more than the disk has room for; empty where it has."""
    for folder in (out, *out.parents):
        try:
            free = shutil.disk_usage(folder).free
        except OSError:  # not there yet
            continue
        if free >= max_bytes:
            return ""
        return (
            f"only {free / 1e6:.0f} MB are free in {out}, less than the {max_bytes / 1e6:.0f} MB that may be recorded "
            "(--max-bytes): the oldest calls that came back well will make room sooner"
        )
    return ""


class Kept:
    """The cases of one process. Says which must go; removing them is the caller's. Safe to use from many threads.

    To make room, calls that came back well go first, the oldest first; then the newest of those that failed, as the first
    failures say most. A call that is going on is never given up: it may be the one that does not come back.
    """

    def __init__(self, out: Path, run: str, keep_returned: int | None, max_bytes: int) -> None:
        self._out, self._run = out, run
        self._keep_returned, self._max_bytes = keep_returned, max_bytes
        self._lock = threading.Lock()
        self._bytes: dict[Path, int] = {}
        self._well: deque[Path] = deque()
        self._failed: list[Path] = []
        self._others = 0
        self._looked = -_LOOK_AROUND_S

    def enter(self, folder: Path, n_bytes: int, on_disk: int | None = None) -> list[Path]:
        """A call is about to be recorded; ``on_disk`` bytes are free. Returns what must be removed first. Raises ``Full``."""
        with self._lock:
            self._look_around()
            total = sum(self._bytes.values()) + self._others + n_bytes
            if n_bytes > self._max_bytes:
                raise Full(f"this call has {n_bytes} bytes, the limit is {self._max_bytes} (--max-bytes)")
            gone = self._give_up(
                total - self._max_bytes, Full(f"the run's cases have reached {self._max_bytes} bytes (--max-bytes)")
            )
            if on_disk is not None:
                short = n_bytes - on_disk - sum(self._bytes[case] for case in gone)
                gone += self._give_up(short, DiskFull(f"the disk has {on_disk} bytes left, this call has {n_bytes}"), without=gone)
            self._let_go(gone)
            self._bytes[folder] = n_bytes
            return gone

    def give_way(self, n_bytes: int) -> list[Path]:
        """The disk is full, whatever it said before. Returns what must be removed to have that many bytes. Raises ``Full``."""
        with self._lock:
            gone = self._give_up(
                n_bytes, DiskFull(f"the disk is full, and the calls that could be given up have less than {n_bytes} bytes")
            )
            self._let_go(gone)
            return gone

    def _give_up(self, n_bytes: int, why_not: Full, without: Sequence[Path] = ()) -> list[Path]:
        """Ended calls of that many bytes together, those that are given up first."""
        gone: list[Path] = []
        for case in (*self._well, *reversed(self._failed)):
            if n_bytes <= 0:
                break
            if case not in without:
                gone.append(case)
                n_bytes -= self._bytes[case]
        if n_bytes > 0:
            raise why_not
        return gone

    def _let_go(self, cases: Sequence[Path]) -> None:
        for case in cases:
            del self._bytes[case]
            (self._well if case in self._well else self._failed).remove(case)

    def leave(self, folder: Path, *, well: bool) -> list[Path]:
        """The call has come back, well or not. Returns what must be removed, itself perhaps."""
        with self._lock:
            if folder in self._well or folder in self._failed or folder not in self._bytes:
                return []  # said before; an interrupt came in between
            if not well:
                self._failed.append(folder)
                return []
            self._well.append(folder)
            gone = []
            while self._keep_returned is not None and len(self._well) > self._keep_returned:
                gone.append(self._well.popleft())
                del self._bytes[gone[-1]]
            return gone

    def forget(self, folder: Path) -> None:
        """The case was not written, or was removed for another reason."""
        with self._lock:
            self._bytes.pop(folder, None)

    def _look_around(self) -> None:
        """Count what the run's other processes have written, now and then: looking takes longer than it changes."""
        now = time.monotonic()
        if now - self._looked < _LOOK_AROUND_S:
            return
        self._looked = now
        self._others = 0
        try:
            for entry in os.scandir(self._out):
                if entry.name.startswith(f"{self._run}-") and Path(entry.path) not in self._bytes:
                    self._others += sum(file.stat().st_size for file in os.scandir(entry.path))
        except OSError:  # not there yet, or a case was removed while it was counted: next time
            pass
