"""A run's folder among others: whether a process is working on it, and which is the newest."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from harness.jsonfile import write_bytes, write_json
from sim3solve import held

LATEST = "latest"
POINTER = "run.txt"
"""In a ``latest`` that is no link: the name of the run beside it."""
PAGE = "index.html"


@contextmanager
def alive(folder: Path) -> Iterator[None]:
    """Marks the run as being worked on by this process, so that no other takes it up."""
    file = folder / "alive.json"
    write_json(file, {"pid": os.getpid(), "created": psutil.Process().create_time()})
    try:
        yield
    finally:
        with suppress(OSError):  # a mark of a process that is gone is nobody's
            held.retried(lambda: file.unlink(missing_ok=True))


def is_alive(folder: Path) -> bool:
    try:
        mark = json.loads((folder / "alive.json").read_text(encoding="utf-8"))
        return bool(psutil.Process(mark["pid"]).create_time() == mark["created"])
    except (OSError, ValueError, KeyError, psutil.Error):
        return False


def point_latest(out: Path, folder: Path) -> None:
    """Make ``out / "latest"`` lead to a run: a link, or where links are not allowed, as on Windows without developer mode, a folder
    that ``resolved`` follows, with a page that leads a browser there. A folder of the user's that has this name is left alone.
    """
    latest = out / LATEST
    with suppress(OSError):  # the run is finished and has a name of its own
        there = {entry.name for entry in latest.iterdir()} if latest.is_dir() and not latest.is_symlink() else set()
        if there - {PAGE} and POINTER not in there:
            return
        link = None if there - {PAGE, POINTER} else _link(out, folder)
        if link is None:
            _write_pointer(latest, folder)
        else:
            _put_link(link, latest)


def resolved(path: Path) -> Path:
    """The same path with the run's own name where it leads through a ``latest`` that is no link. For what users name."""
    for parent in (path, *path.parents):
        name = _pointed(parent)
        if name is not None:
            return parent.parent / name / path.relative_to(parent)
    return path


def _link(out: Path, folder: Path) -> Path | None:
    link = out / f".{LATEST}.{secrets.token_hex(4)}"
    try:
        link.symlink_to(folder.name, target_is_directory=True)
        if link.is_dir():
            return link
        link.unlink()  # wine makes links that lead nowhere
    except OSError:
        link.unlink(missing_ok=True)
    return None


def _write_pointer(latest: Path, folder: Path) -> None:
    if latest.is_symlink():
        latest.unlink()  # writing through it would write into an older run
    latest.mkdir(exist_ok=True)
    page = f'<meta http-equiv="refresh" content="0; url=../{folder.name}/{PAGE}">\n'
    write_bytes(latest / PAGE, page.encode())
    write_bytes(latest / POINTER, f"{folder.name}\n".encode())


def _put_link(link: Path, latest: Path) -> None:
    try:
        if latest.is_dir() and not latest.is_symlink():
            shutil.rmtree(latest)
        elif os.name == "nt":  # which puts nothing in the place of a link to a folder
            latest.unlink(missing_ok=True)
        os.replace(link, latest)
    except OSError:
        link.unlink(missing_ok=True)
        raise


def _pointed(folder: Path) -> str | None:
    if folder.name != LATEST:
        return None
    try:
        name = (folder / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return name if name and name not in (".", "..") and not set(name) & set("/\\:\0") else None
