"""A run's folder among others: whether a process is working on it, and which is the newest."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from harness.jsonfile import write_json
from sim3solve import held


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
    """``latest`` is a link to the newest run, or where links are not allowed a folder with a page that leads to it."""
    latest = out / "latest"
    temporary = out / f".latest.{secrets.token_hex(4)}"
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        os.replace(temporary, latest)
    except OSError:
        temporary.unlink(missing_ok=True)
        if latest.is_symlink() or not latest.exists() or (latest / "index.html").exists():
            with suppress(OSError):
                latest.mkdir(exist_ok=True)
                page = f'<meta http-equiv="refresh" content="0; url=../{folder.name}/index.html">'
                (latest / "index.html").write_text(page, encoding="utf-8")
