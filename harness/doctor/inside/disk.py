"""Room on the disks that are written to. In a child, because a file system of a network that is gone does not answer."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any


def disk(*folders: str) -> dict[str, Any]:
    """Free bytes at each folder, or at the nearest above it that exists, and why nothing can be written there, if so."""
    return {"folders": [_look(Path(folder)) for folder in folders]}


def _look(folder: Path) -> dict[str, Any]:
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    found: dict[str, Any] = {"folder": str(folder), "free_bytes": None, "unwritable": None}
    try:
        found["free_bytes"] = shutil.disk_usage(place).free
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"room")
            file.flush()
    except OSError as error:
        found["unwritable"] = error.strerror or str(error)
    return found
