"""Files that travel by content: named by their hash, kept by whoever got them, and asked for only where they are lacking.

A bundle is a case, or the file of a solver. What travels with a task is its name alone; a process that lacks it asks the process
that offered it, checks every file by its SHA-256 and keeps it in a cache folder that all processes of the machine share.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.casefile import DOCUMENT, TENSORS, read_document
from harness.errors import HarnessError
from sim3solve import held
from sim3solve.build import cache_folder

ORIGIN = secrets.token_hex(8)
"""This process, among all that offer bundles."""
KEPT_BYTES = 8 << 30
"""Above this the cache gives up what was not used for longest, though nothing that was used in the last hour."""

_IN_USE_S = 3600.0
_FOLDER = "cargo"


class CargoError(HarnessError):
    """A bundle could not be had, or is not what its name says."""


@dataclass(frozen=True)
class Bundle:
    """``files`` are (name, SHA-256); ``key`` is their hash; ``folder`` is where the process called ``origin`` has them."""

    key: str
    files: tuple[tuple[str, str], ...]
    origin: str
    folder: str


Ask = Callable[[Bundle], Mapping[str, bytes]]
"""Gets the files of a bundle from where it comes from. Raises ``CargoError``."""

_offered: dict[str, Bundle] = {}
_verified: set[str] = set()
_locks: dict[str, threading.Lock] = {}
_lock = threading.Lock()


def offer(folder: Path, names: Sequence[str], known: Mapping[str, str] | None = None) -> Bundle:
    """A bundle of files of a folder. ``known`` has the SHA-256 of those that need not be read for it. Raises ``CargoError``."""
    try:
        files = tuple((name, (known or {}).get(name) or _sha256((folder / name).read_bytes())) for name in sorted(names))
    except OSError as error:
        raise CargoError(f"{error.filename or folder}: {error.strerror or error}") from error
    bundle = Bundle(_key(files), files, ORIGIN, str(folder.resolve()))
    _offered[bundle.key] = bundle
    return bundle


def offer_case(folder: Path) -> Bundle:
    """Raises ``CaseError`` or ``CargoError``."""
    document = read_document(folder)
    if document.generator is not None:
        return offer(folder, [DOCUMENT])
    return offer(folder, [DOCUMENT, TENSORS], {TENSORS: document.tensors_sha256})


def hand_out(key: str) -> dict[str, bytes]:
    """The files of a bundle that this process offered. Raises ``CargoError``."""
    bundle = _offered.get(key)
    if bundle is None:
        raise CargoError(f"nothing of the name {key} was offered")
    try:
        return {name: (Path(bundle.folder) / name).read_bytes() for name, _ in bundle.files}
    except OSError as error:
        raise CargoError(f"{error.filename or bundle.folder}: {error.strerror or error}") from error


def fetch(bundle: Bundle, ask: Ask) -> Path:
    """A folder with the bundle's files: where it comes from, in that process itself; the cache's, anywhere else.

    However many threads want it, it is asked for once. Raises ``CargoError``.
    """
    if bundle.origin == ORIGIN:
        return Path(bundle.folder)
    place = cache_folder() / _FOLDER / bundle.key
    with _lock:
        mine = _locks.setdefault(bundle.key, threading.Lock())
    with mine:
        try:
            if not _is_kept(place, bundle):
                _keep(place, bundle, ask(bundle))
            _verified.add(bundle.key)
            os.utime(place)
        except OSError as error:
            raise CargoError(f"{error.filename or place}: {error.strerror or error}") from error
    return place


def from_this_disk(bundle: Bundle) -> dict[str, bytes]:
    """What an executor without a way to ask makes do with: the folder itself, where this process can read it."""
    try:
        return {name: (Path(bundle.folder) / name).read_bytes() for name, _ in bundle.files}
    except OSError as error:
        raise CargoError(f"{error.filename or bundle.folder}: {error.strerror}; only a Dask worker can ask for it") from error


def _is_kept(place: Path, bundle: Bundle) -> bool:
    """Read once by each process: a disk or a person may have damaged what is kept."""
    if bundle.key in _verified and place.is_dir():
        return True
    with suppress(OSError):
        if all(_sha256((place / name).read_bytes()) == sha256 for name, sha256 in bundle.files):
            return True
    shutil.rmtree(place, ignore_errors=True)
    return False


def _keep(place: Path, bundle: Bundle, files: Mapping[str, bytes]) -> None:
    if _key(bundle.files) != bundle.key or any(Path(name).name != name for name, _ in bundle.files):
        raise CargoError(f"the bundle {bundle.key} is not what its name says")
    for name, sha256 in bundle.files:
        if name not in files or _sha256(files[name]) != sha256:
            raise CargoError(f"{bundle.folder}: {name}: has changed since it was offered")
    place.parent.mkdir(parents=True, exist_ok=True)
    _make_room(place.parent, sum(len(data) for data in files.values()))
    temporary = place.with_name(f".{bundle.key}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        for name, _ in bundle.files:
            (temporary / name).write_bytes(files[name])
        try:
            held.retried(lambda: temporary.rename(place))
        except OSError:
            if not place.is_dir():  # else another process was first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _make_room(folder: Path, more: int) -> None:
    """Litter of processes that were killed is among what goes."""
    entries = []
    for entry in folder.iterdir():
        with suppress(OSError):  # another process may be at it, too
            size = sum(file.stat().st_size for file in entry.iterdir())
            entries.append((entry.stat().st_mtime, size, entry))
    total = more + sum(size for _, size, _ in entries)
    for used, size, entry in sorted(entries, key=lambda it: it[0]):
        if total <= KEPT_BYTES or time.time() - used < _IN_USE_S:
            return
        shutil.rmtree(entry, ignore_errors=True)
        _verified.discard(entry.name)
        total -= size


def _key(files: Sequence[tuple[str, str]]) -> str:
    return _sha256("\n".join(f"{sha256} {name}" for name, sha256 in files).encode("utf-8", "surrogateescape"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
