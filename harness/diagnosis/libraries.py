"""Whose code an outcome ran: what a probe found out about one Lie-group library says nothing of another."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.diagnosis.frames import Frame

LIETORCH = "lietorch"
ADAPTERS = (LIETORCH, "pypose")
"""Libraries that are packages. The harness has a solver of the same name on each."""


def has_frame(library: str, stack: Iterable[Frame]) -> bool:
    """Whether one of the calls is in a file of that library: a package's name, or a FILE.py as the probe was given it."""
    return any(_is_of(library, frame.file) for frame in stack)


def is_solver_of(library: str, solver: str) -> bool:
    """Whether a solver of this name is built on it."""
    return solver == library if library in ADAPTERS else _is_of(library, solver.rpartition(":")[0].replace("\\", "/"))


def may_be_solver_of(library: str, solver: str) -> bool:
    """Whether nobody can say: upstream's tracker is built on lietorch, and a port of it may not be."""
    return library == LIETORCH and solver.startswith("mast3r-slam:")


def _is_of(library: str, file: str) -> bool:
    if library in ADAPTERS:
        return re.search(rf"(^|/){library}/", file) is not None
    if not library.endswith(".py"):
        return False
    parts = [part for part in library.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return f"/{file}".endswith("/" + "/".join(parts))
