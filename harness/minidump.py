"""Minidumps that Windows Error Reporting leaves of a process that died, where the user has switched LocalDumps on.

Windows writes them before the process is gone, as DUMP FOLDER/python.exe.PID.dmp. The keys: "Collecting User-Mode Dumps" in
Microsoft's documentation of WER.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim3solve import held

WER = r"SOFTWARE\Microsoft\Windows\Windows Error Reporting"
LOCAL_DUMPS = WER + r"\LocalDumps"
DEFAULT_FOLDER = r"%LOCALAPPDATA%\CrashDumps"
MAX_BYTES = 1 << 30
"""A larger dump, a full one of a process with torch and a GPU, stays where Windows left it."""
_CLOCK_SLACK_S = 2.0  # what a FAT file system keeps of a time
_WAIT_S = 5.0


@dataclass(frozen=True)
class LocalDumps:
    """Where Windows leaves dumps. ``quiet``: it shows no dialogue, which would keep a dead process waiting for a click."""

    folder: Path
    quiet: bool


@dataclass(frozen=True)
class Dump:
    """One dump, at ``file``. ``moved`` into the job's folder, or left where Windows put it, for the reason in ``why``."""

    file: Path
    size_bytes: int
    moved: bool
    why: str = ""


def local_dumps(program: str = "python.exe") -> LocalDumps | None:
    """The settings for ``program``; None where dumps are off, which is Windows' default, or cannot be read, or not on Windows."""
    try:
        winreg: Any = importlib.import_module("winreg")  # by name: type checkers on other systems know none of it
    except ImportError:
        return None
    for hive in (winreg.HKEY_LOCAL_MACHINE, winreg.HKEY_CURRENT_USER):
        if not _has_key(winreg, hive, LOCAL_DUMPS):
            continue
        chosen = (_value(winreg, hive, key, "DumpFolder") for key in (f"{LOCAL_DUMPS}\\{program}", LOCAL_DUMPS))
        folder = next((text for text in chosen if isinstance(text, str) and text), DEFAULT_FOLDER)
        hives = (winreg.HKEY_LOCAL_MACHINE, winreg.HKEY_CURRENT_USER)
        quiet = any(_value(winreg, each, WER, "DontShowUI") == 1 for each in hives)
        return LocalDumps(Path(os.path.expandvars(folder)), quiet)
    return None


def _has_key(winreg: Any, hive: Any, key: str) -> bool:
    try:
        with winreg.OpenKey(hive, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY):
            return True
    except OSError:
        return False


def _value(winreg: Any, hive: Any, key: str, name: str) -> Any:
    try:
        with winreg.OpenKey(hive, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            return winreg.QueryValueEx(opened, name)[0]
    except OSError:
        return None


def of_child(journal: Path, dumps: LocalDumps, into: Path) -> Dump | None:
    """The dump of the child that wrote ``journal``, moved to the folder ``into``; None where there is none.

    By the process id in the journal, since a virtual environment's python.exe starts another one; an older dump of the same
    number is of another process. Never raises for what a child or a stranger may have written.
    """
    try:
        with journal.open("rb") as file:
            first = json.loads(file.readline(4096))
        pid, started = int(first["pid"]), float(first["time"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    found = _newest(dumps.folder, pid, started)
    return None if found is None else _moved(*found, into)


def of_processes(pids: Iterable[int], since: float, dumps: LocalDumps) -> list[Dump]:
    """The dumps of processes that were started after ``since``, left where they are. Of each the newest, in the order given."""
    found = (_newest(dumps.folder, pid, since) for pid in dict.fromkeys(pids))
    return [Dump(it[0], it[1], False) for it in found if it is not None]


def _newest(folder: Path, pid: int, since: float) -> tuple[Path, int] | None:
    newest = None
    for left in _listed(folder, f".{pid}.dmp"):
        status = _status(left)
        if status is not None and status.st_mtime >= since - _CLOCK_SLACK_S and (newest is None or status.st_mtime > newest[0]):
            newest = status.st_mtime, left, status.st_size
    return None if newest is None else newest[1:]


def _moved(file: Path, size: int, into: Path) -> Dump:
    if size > MAX_BYTES:
        return Dump(file, size, False, f"larger than {MAX_BYTES >> 20} MiB")
    try:
        held.retried(lambda: shutil.move(file, into / file.name), _WAIT_S)
    except OSError as error:
        if not isinstance(error, PermissionError):
            (into / file.name).unlink(missing_ok=True)  # half of it, where the disk is full
        return Dump(file, size, False, str(error.strerror or error))
    return Dump(into / file.name, size, True)


def _listed(folder: Path, ending: str) -> list[Path]:
    try:
        return [file for file in folder.iterdir() if file.name.lower().endswith(ending)]
    except OSError:
        return []


def _status(file: Path) -> os.stat_result | None:
    try:
        return None if file.is_symlink() else file.stat()
    except OSError:
        return None
