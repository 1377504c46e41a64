"""The Python stack that a fatal signal leaves beside the cases, written by the dying process itself. Standard library only."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
from pathlib import Path
from typing import IO

from harness.record.settings import Settings

_kept: list[tuple[int, Path, IO[str]]] = []


def keep_stacks(settings: Settings) -> None:
    """From here on this process's, unless the program sees to that itself. A forked child that tracks asks for its own."""
    if faulthandler.is_enabled() and not _is_a_parents():
        return
    file = settings.stacks(os.getpid())
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        stacks = open(file, "w", encoding="utf-8")  # noqa: SIM115  open for as long as the process lives
        faulthandler.enable(stacks, all_threads=True)
        if not _kept:
            atexit.register(_tidy)
        _kept[:] = [(os.getpid(), file, stacks)]


def _is_a_parents() -> bool:
    return bool(_kept) and _kept[0][0] != os.getpid()


def _tidy() -> None:
    """A process that ends by itself leaves no empty file. Nothing is disabled: by now it may be the program's own."""
    for pid, file, _ in _kept:
        if pid == os.getpid():
            with contextlib.suppress(OSError):  # Windows removes no open file; the command clears it away
                if file.stat().st_size == 0:
                    file.unlink()
