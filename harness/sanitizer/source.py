"""The lines of a program round the one a record names, where that file can be found on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

AROUND = 2
_LARGEST_BYTES = 4 << 20
_SOURCES = (".cu", ".cuh", ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx", ".inl", ".inc", ".ipp", ".py", ".pyx")
"""A record names any file it likes; only what is source is shown."""
_PACKAGE = Path(__file__).resolve().parents[2]


def where(path: str | None, line: int | None, roots: Sequence[Path] = ()) -> dict[str, Any] | None:
    """``{"path", "line", "snippet"}``: the path as the record has it, or below the checkout where it is one of our own files.

    ``snippet`` is a list of [line number, text], empty when the file cannot be read. ``roots`` are folders to look in, too.
    """
    if not path:
        return None
    file = _find(path, roots)
    shown = path
    if file is not None and file.is_relative_to(_PACKAGE):
        shown = file.relative_to(_PACKAGE).as_posix()
    return {"path": shown, "line": line, "snippet": snippet(file, line) if file is not None and line else []}


def snippet(file: Path, line: int) -> list[list[Any]]:
    """The line and its neighbours as [number, text]; empty when there is no such line."""
    try:
        if file.suffix.lower() not in _SOURCES or file.stat().st_size > _LARGEST_BYTES:
            return []
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    if not 0 < line <= len(lines):
        return []
    first, last = max(1, line - AROUND), min(len(lines), line + AROUND)
    return [[number, lines[number - 1][:200]] for number in range(first, last + 1)]


def _find(path: str, roots: Sequence[Path]) -> Path | None:
    """The file itself; else the longest tail of its path that exists below the checkout or one of the roots."""
    parts = [part for part in re.split(r"[/\\]+", path) if part not in ("", ".", "..")]
    absolute = Path(path)
    if absolute.is_absolute() and absolute.is_file():
        return absolute.resolve()
    # A file's bare name is too little to tell it by, where the record has folders.
    tails = (Path(*parts[start:]) for start in range(max(1, len(parts) - 1)))
    return next((found for tail in tails for found in _below(tail, roots)), None)


def _below(tail: Path, roots: Sequence[Path]) -> Iterable[Path]:
    for root in (*roots, _PACKAGE):
        if not tail.is_absolute() and (root / tail).is_file():
            yield (root / tail).resolve()
