"""Source to binary on disk, cached by the hash of all that goes into it. Safe when many processes want the same binary at once.

An entry is a folder named by its key. In it lies the binary, named by the hash of its own content: so a damaged one is known for
what it is, and processes that build the same key at once never overwrite each other's work with other bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sim3solve import held

CACHE_VARIABLE = "SIM3SOLVE_CACHE"
KERNELS = Path(__file__).parent / "kernels"
_FORMAT = "1"  # of an entry on disk
_STALE_S = 24 * 3600.0
_INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')
_ONCE = re.compile(r"\s*#\s*pragma\s+once\b")


class BuildError(RuntimeError):
    """A binary cannot be made or kept; the message says where and why."""


def cache_folder() -> Path:
    """``SIM3SOLVE_CACHE``, or this platform's folder for a user's caches. Creates nothing."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    try:
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            return (Path(local) if local else Path.home() / "AppData" / "Local") / "sim3solve" / "Cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "sim3solve"
        xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "sim3solve"
    except RuntimeError:
        raise BuildError(f"this user has no home folder to keep built binaries in; set {CACHE_VARIABLE} to a folder") from None


def key_of(parts: Iterable[str]) -> str:
    """The name of an entry: changes when any part does, and when text moves from one part to the next."""
    digest = hashlib.sha256()
    for part in (_FORMAT, *parts):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:40]


def cached(key_parts: Iterable[str], suffix: str, build: Callable[[Path], None]) -> Path:
    """The file that ``build(path)`` writes, from the cache when an undamaged one is there.

    ``key_parts`` is everything the file depends on: sources, flags, compiler, target. ``build`` gets a path that ends in
    ``suffix`` in a folder of its own, where it may leave other files. Raises ``BuildError`` when the cache cannot be written;
    what ``build`` raises passes through.
    """
    entry = cache_folder() / key_of(key_parts)
    found = _intact(entry, suffix)
    return found if found is not None else _build(entry, suffix, build)


def inline_sources(name: str) -> str:
    """A file of kernels/ as one string, with each of its own headers in the place where it is first included.

    ``#line`` keeps the true file and line in compiler messages and debug information.
    """
    return "\n".join(_inlined(name, set())) + "\n"


def _inlined(name: str, seen: set[str]) -> Iterable[str]:
    seen.add(name)
    shown = f"sim3solve/kernels/{name}"
    yield f'#line 1 "{shown}"'
    for number, line in enumerate((KERNELS / name).read_text(encoding="utf-8").splitlines(), start=1):
        include = _INCLUDE.match(line)
        if include is None:
            yield "" if _ONCE.match(line) else line
        elif include[1] in seen:
            yield ""
        else:
            yield from _inlined(include[1], seen)
            yield f'#line {number + 1} "{shown}"'


def _intact(entry: Path, suffix: str) -> Path | None:
    """A binary whose content has the hash it is named by. Damaged ones are removed, where that is allowed."""
    try:
        files = sorted(file for file in entry.iterdir() if file.suffix == suffix)
    except OSError:
        return None
    for file in files:
        try:
            data = file.read_bytes()
        except OSError:
            continue
        if data and _digest(data) == file.stem:
            return file
        with contextlib.suppress(OSError):
            file.unlink()
    return None


def _build(entry: Path, suffix: str, build: Callable[[Path], None]) -> Path:
    temporary = entry / f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        entry.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_stale(entry)
        temporary.mkdir()
    except OSError as error:
        raise _unwritable(entry, error) from error
    try:
        made = temporary / f"built{suffix}"
        build(made)
        data = made.read_bytes()
        if not data:
            raise BuildError(f"{made}: the build left an empty file; is the disk full?")
        final = entry / f"{_digest(data)}{suffix}"
        try:
            held.replace(made, final, 0.0 if final.exists() else held.WAIT_S)
        except PermissionError:  # Windows: another process has built the same bytes and has them loaded
            if _intact(entry, suffix) != final:
                raise
        return final
    except OSError as error:
        raise _unwritable(entry, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(entry: Path) -> None:
    """Removes what builds left behind that were killed."""
    for folder in entry.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_S:
                shutil.rmtree(folder, ignore_errors=True)


def _unwritable(entry: Path, error: OSError) -> BuildError:
    reason = error.strerror or str(error)
    return BuildError(
        f"{error.filename or entry}: built binaries cannot be kept there: {reason}; set {CACHE_VARIABLE} to a folder with room"
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
