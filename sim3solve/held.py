"""On Windows a file that anybody holds open cannot be renamed, replaced or removed, nor the folder it lies in.

Virus scanners, indexers and backups hold every new file for a moment, and it is nobody's fault: such a step is tried again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
WAIT_S = 5.0
_TICK_S = 0.05
_WINDOWS = os.name == "nt"


def retried(step: Callable[[], T], wait_s: float = WAIT_S) -> T:
    """What ``step`` returns. On Windows it is tried for ``wait_s`` while it raises ``PermissionError``; then that is raised.

    Elsewhere ``PermissionError`` means that it is not allowed, and comes at once.
    """
    until = time.monotonic() + (wait_s if _WINDOWS else 0.0)
    while True:
        try:
            return step()
        except PermissionError:
            if time.monotonic() >= until:
                raise
        time.sleep(_TICK_S)


def replace(source: Path, target: Path, wait_s: float = WAIT_S) -> None:
    """``os.replace``, tried again while somebody holds either. Raises ``OSError``."""
    retried(lambda: os.replace(source, target), wait_s)


def new_folder(folder: Path, wait_s: float = WAIT_S) -> None:
    """An empty folder of that name, in place of whatever was there. Raises ``OSError`` where something of it cannot be removed."""

    def step() -> None:
        if os.path.lexists(folder):
            shutil.rmtree(folder)
        folder.mkdir(parents=True)

    retried(step, wait_s)
