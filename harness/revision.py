"""``native@REV``: the solver's sources as they stood at a git revision, or as they stand in a folder, kept in the build cache.

An entry is a folder named by what it holds: by git's own id of the tree, or by a hash of the folder's files. It is checked against
that name each time, so that a damaged one is known; it appears whole or not at all, whoever else wants it at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.errors import HarnessError, UsageError
from harness.gitrepo import PACKAGE, Blob, Commit, GitError, Repository
from sim3solve import build

MODULES = {"cuda": "cuda.py", "native": "native.py", "torch": "pytorch.py"}
"""Solvers that can be had of a revision, and the file of the package that each is in."""
_FOLDER = "sources"
_STALE_S = 24 * 3600.0
_LARGEST_BYTES = 64 << 20
_FILES = ("100644", "100755")


class NoSuchSolver(UsageError):
    """A revision had no such solver yet, or none that can be taken from it."""


@dataclass(frozen=True)
class Revision:
    """A solver of a revision. ``name`` has the commit's id in it; ``folder`` holds the package."""

    name: str
    solver: str
    folder: Path
    summary: str
    commit: Commit | None = None


def is_one(name: str) -> bool:
    solver, at, _ = name.partition("@")
    return bool(at) and solver in MODULES


def find(name: str) -> Revision:
    """What ``SOLVER@REV`` or ``SOLVER@FOLDER`` means from the working directory. Raises ``UsageError`` or ``HarnessError``."""
    solver, _, revision = name.partition("@")
    folder = Path(revision).expanduser() if revision else Path("-")
    if revision.startswith((".", "~")) or folder.is_absolute():
        return _of_folder(name, solver, folder)
    try:
        repository = Repository.around(Path.cwd())
        commit = repository.commit(revision)
    except GitError as error:
        if folder.is_dir() and not revision.startswith("-"):
            return _of_folder(name, solver, folder)
        raise UsageError(f"--solver {name}: {error}") from error
    return of_commit(repository, commit, solver)


def of_commit(repository: Repository, commit: Commit, solver: str) -> Revision:
    """The solver of a commit, its sources in the cache. Raises ``NoSuchSolver`` and ``HarnessError``."""
    name = f"{solver}@{commit.short}"
    if commit.tree is None:
        raise NoSuchSolver(f"--solver {name}: the commit has no folder {PACKAGE}: {commit.subject}")
    files = _checked(repository.files(commit.tree), name)
    if MODULES[solver] not in files:
        raise NoSuchSolver(f"--solver {name}: the commit has no {PACKAGE}/{MODULES[solver]}: {commit.subject}")

    def contents() -> dict[str, bytes]:
        return dict(zip(files, repository.contents([blob.id for blob in files.values()]), strict=True))

    def is_it(found: Mapping[str, bytes]) -> bool:
        return {path: blob.id for path, blob in files.items()} == {path: _blob_id(data, files) for path, data in found.items()}

    folder = _kept(commit.tree, contents, is_it)
    return Revision(name, solver, folder, f"{solver} of commit {commit.sha} ({commit.date[:10]}, {commit.subject})", commit)


def _of_folder(name: str, solver: str, folder: Path) -> Revision:
    package = folder / PACKAGE
    if not (package / MODULES[solver]).is_file():
        raise NoSuchSolver(
            f"--solver {name}: {folder.resolve()} is no checkout with that solver, it has no {PACKAGE}/{MODULES[solver]}"
        )
    try:
        files = _read(package)
    except OSError as error:
        raise UsageError(f"--solver {name}: {error.filename}: {error.strerror}") from error
    key = _hash(files)
    kept = _kept(f"folder-{key}", lambda: files, lambda found: _hash(found) == key)
    return Revision(name, solver, kept, f"{solver} of {folder.resolve()} (content {key[:12]})")


def _checked(blobs: list[Blob], name: str) -> dict[str, Blob]:
    """The files of a tree by path, which must be one that stays inside the folder they are written to, on any system."""
    for blob in blobs:
        parts = blob.path.split("/")
        if blob.mode not in _FILES:
            raise NoSuchSolver(f"--solver {name}: {PACKAGE}/{blob.path} is a link or a repository of its own, which is not taken")
        if any(part in ("", ".", "..") or set(part) & set('\\:*?"<>|\0') for part in parts):
            raise NoSuchSolver(f"--solver {name}: {PACKAGE}/{blob.path!r} is no name for a file that is written here")
    return {blob.path: blob for blob in blobs}


def _blob_id(data: bytes, files: Mapping[str, Blob]) -> str:
    """Git's id of a file's content, in the repository's own kind of hash."""
    kind = "sha1" if len(next(iter(files.values())).id) == 40 else "sha256"
    return hashlib.new(kind, b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _hash(files: Mapping[str, bytes]) -> str:
    return build.key_of(word for path in sorted(files) for word in (path, hashlib.sha256(files[path]).hexdigest()))


def _read(package: Path) -> dict[str, bytes]:
    """The files of a package as they are on disk, but for what Python leaves there."""
    found: dict[str, bytes] = {}
    size = 0
    for file in sorted(package.rglob("*")):
        path = file.relative_to(package)
        if "__pycache__" not in path.parts and file.is_file():
            found[path.as_posix()] = file.read_bytes()
            size += len(found[path.as_posix()])
            if size > _LARGEST_BYTES:
                raise UsageError(f"{package}: has over {_LARGEST_BYTES >> 20} MiB, which is no solver")
    return found


def _kept(key: str, contents: Callable[[], Mapping[str, bytes]], is_it: Callable[[Mapping[str, bytes]], bool]) -> Path:
    """The folder in the cache that holds the package, written now where it is not there or not whole."""
    store = build.cache_folder() / _FOLDER
    entry = store / key
    temporary = store / f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        for _ in range(3):
            if entry.is_dir():
                if is_it(_read(entry / PACKAGE)):
                    return entry
                with contextlib.suppress(FileNotFoundError):  # another process has put it away
                    os.replace(entry, temporary)
                shutil.rmtree(temporary, ignore_errors=True)
            _write(temporary / PACKAGE, contents())
            with contextlib.suppress(OSError):  # another process was first; the next round looks at what it wrote
                os.replace(temporary, entry)
            shutil.rmtree(temporary, ignore_errors=True)
            _remove_stale(store)
    except OSError as error:
        advice = f"set {build.CACHE_VARIABLE} to a folder with room"
        raise HarnessError(f"{error.filename or store}: sources cannot be kept there: {error.strerror}; {advice}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if entry.is_dir() and is_it(_read(entry / PACKAGE)):
        return entry
    raise HarnessError(f"{entry}: something keeps changing what is written there")


def _write(package: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        file = package.joinpath(*PurePosixPath(path).parts)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _remove_stale(store: Path) -> None:
    """Removes what was left behind by processes that were killed."""
    for folder in store.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_S:
                shutil.rmtree(folder, ignore_errors=True)
