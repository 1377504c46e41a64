"""How a recorded program ended, and with it the calls that never came back.

``.record/RUN.json`` beside the cases is written when the program has started and again when it has ended. A recorder that is killed
leaves the first; the Python stack that a fatal signal leaves is written by the dying process itself and needs no recorder.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pydantic

from harness import exitcode
from harness.case import Case, CaseDocument
from harness.casefile import open_regular, read_case
from harness.errors import CaseError
from harness.jsonfile import parse, write_json
from harness.outcome import Exit
from harness.record.journal import read_journals
from harness.record.settings import JOURNALS, Settings
from harness.recorded import RecordedExit

_LIMIT = 16 << 20
_STACK_LIMIT = 20_000
_NAME = re.compile(r"(.+)-(\d{1,18})-\d{6,}")
_BANNER = re.compile(r"^(?:Fatal Python error|Windows fatal exception): (.*)$", re.MULTILINE)
_CURRENT = re.compile(r"^Current thread .*(?:\n .*)*", re.MULTILINE)
_SIGNALS = {
    "Segmentation fault": 11, "Bus error": 7, "Aborted": 6, "Floating-point exception": 8, "Illegal instruction": 4,
}  # fmt: skip
_STATUSES = {
    "access violation": 0xC0000005, "stack overflow": 0xC00000FD, "int divide by zero": 0xC0000094, "page error": 0xC0000006,
}  # fmt: skip
_BY_ITS_STACK = "; told by the stack it left, its exit code was not seen"


def write_run(settings: Settings, command: Sequence[str], pid: int, exit: Exit | None = None) -> None:
    """Say what was started, or with its ``exit`` how it ended. Recording goes on where that cannot be written."""
    file = settings.out / JOURNALS / f"{settings.run}.json"
    document: dict[str, Any] = {"command": list(command), "pid": pid, "exit": None, "processes": {}}
    started = _object(file).get("started")
    document["started"] = started or _now()
    document["ended"] = None
    if exit is not None:
        document |= {"ended": _now(), "exit": vars(exit), "processes": _processes(settings, pid, exit)}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, document)


def completed(folder: Path, document: CaseDocument) -> CaseDocument:
    """The document of a call that never came back, with the exit and the stack of its process, as far as they lie beside it."""
    recorded = document.recorded
    name = _NAME.fullmatch(document.id)
    if recorded.event != "never_returned" or name is None or recorded.exit is not None:
        return document
    beside, (run, pid) = folder.parent / JOURNALS, name.groups()
    stack = recorded.stack or _telling(_text(beside / f"{run}-{pid}.stacks"))
    processes = _object(beside / f"{run}.json").get("processes")
    process = processes.get(pid) if isinstance(processes, dict) else None
    process = process if isinstance(process, dict) else {}
    exit = None if process.get("lives") else _checked(process.get("exit")) or _exit_by(stack)
    return document.model_copy(update={"recorded": recorded.model_copy(update={"exit": exit, "stack": stack})})


def read_recording(folder: Path) -> Case:
    """A case, with the end of its call where the recorder was not there to write it in. Raises ``CaseError``."""
    case = read_case(folder)
    return dataclasses.replace(case, document=completed(folder, case.document))


def lives(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _processes(settings: Settings, program: int, exit: Exit) -> dict[str, Any]:
    """Of each process that had a tracker whether it lives still, and its exit where somebody here can know it."""
    journals = read_journals(settings.out, settings.run)
    tracking = {pid: {line["event"] for line in lines} for pid, lines in journals.items()}
    tracking = {pid: events for pid, events in tracking.items() if "tracker" in events}
    living = {pid for pid in tracking if lives(pid)}
    lost = [pid for pid in tracking if "closed" not in tracking[pid] and pid not in living]
    # What starts Python and passes its end on: a shell, a runner, the launcher of a virtual environment on Windows.
    passed_on = program not in journals and exit.crashed and len(lost) == 1
    return {
        str(pid): {"lives": pid in living, "exit": vars(exit) if pid == program or (passed_on and pid in lost) else None}
        for pid in tracking
    }


def _exit_by(stack: str) -> RecordedExit | None:
    """The exit of a process that nobody saw end, by the last words of its faulthandler."""
    said = _BANNER.search(stack)
    if said is None:
        return None
    words = said[1].strip()
    status = _STATUSES.get(words)
    if words.startswith("code 0x"):
        with suppress(ValueError):
            status = int(words.removeprefix("code "), 16)
    if status is not None:
        exit = exitcode.decode(status, windows=True)
    elif words in _SIGNALS:
        exit = exitcode.decode(-_SIGNALS[words], windows=False)
    else:
        return None
    return RecordedExit(**vars(exit) | {"meaning": exit.meaning + _BY_ITS_STACK})


def _telling(text: str) -> str:
    """The last stack of a file, since on Windows one is left by what was caught as well; of too long a one the thread that died."""
    banners = list(_BANNER.finditer(text))
    text = text[banners[-1].start() :] if banners else text
    if len(text) > _STACK_LIMIT:
        current = _CURRENT.search(text)
        text = f"{text.partition(chr(10))[0]}\n\n{current[0]}\n" if current else text
    return text[:_STACK_LIMIT]


def _checked(value: Any) -> RecordedExit | None:
    try:
        return None if value is None else RecordedExit.model_validate(value)
    except pydantic.ValidationError:
        return None


def _object(file: Path) -> Mapping[str, Any]:
    try:
        document = parse(_text(file).encode())
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _text(file: Path) -> str:
    """Empty where there is none: a recording may be a stranger's, and these files are an extra."""
    try:
        with open_regular(file, _LIMIT) as (handle, _):
            return handle.read().decode("utf-8", errors="replace")
    except CaseError:
        return ""


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
