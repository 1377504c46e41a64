"""Which recorded calls are kept: how many that came back well, and how many bytes of all."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path

_LOOK_AROUND_S = 2.0


class Full(Exception):
    """A call does not fit under the limit of bytes, and nothing of this process can make room for it."""


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

    def enter(self, folder: Path, n_bytes: int) -> list[Path]:
        """A call is about to be recorded. Returns what must be removed first. Raises ``Full``."""
        with self._lock:
            self._look_around()
            ended = sum(self._bytes[case] for case in (*self._well, *self._failed))
            total = sum(self._bytes.values()) + self._others + n_bytes
            if total - ended > self._max_bytes:
                raise Full(f"the run's cases have reached {self._max_bytes} bytes (--max-bytes)")
            gone = []
            while total > self._max_bytes:
                gone.append(self._well.popleft() if self._well else self._failed.pop())
                total -= self._bytes.pop(gone[-1])
            self._bytes[folder] = n_bytes
            return gone

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
