"""What a recorded run left: its cases by how they ended, what its processes said, and what is lost with those that died."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.case import CaseDocument
from harness.casefile import DOCUMENT, read_document
from harness.errors import CaseError
from harness.record.journal import read_journals
from harness.record.settings import Settings

STATES = ("returned", "not_a_pose", "raised", "interrupted", "never_returned", "still_running")
"""How a recorded call ended. All but the first and the last are why somebody would look; ``not_a_pose`` returned all the same."""

_INTERRUPTS = ("KeyboardInterrupt", "SystemExit", "GeneratorExit")


@dataclass(frozen=True)
class RecordedCall:
    """One case of the run. ``seconds`` is how long a call took that did not come back well; None when nobody knows."""

    folder: Path
    document: CaseDocument
    state: str
    seconds: float | None
    stack: str

    @property
    def words(self) -> str:
        """What its exception says last, or first of what is wrong with its result."""
        lines = self.document.recorded.exception.splitlines()
        return "" if not lines else lines[-1] if self.document.recorded.event == "raised" else lines[0]

    def to_json(self) -> dict[str, Any]:
        d = self.document
        return {
            "case": str(self.folder), "id": d.id, "kind": d.kind, "n_points": d.n_points, "title": d.title, "state": self.state,
            "exception": d.recorded.exception or None, "seconds": self.seconds, "stack": self.stack or None,
        }  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """``processes`` maps a process id to its journal; ``problems`` are what recording could not do, each said once."""

    out: Path
    calls: tuple[RecordedCall, ...]
    processes: Mapping[int, list[dict[str, Any]]]
    problems: tuple[dict[str, Any], ...]
    n_bytes: int

    @property
    def failed(self) -> tuple[RecordedCall, ...]:
        return tuple(call for call in self.calls if call.state in ("not_a_pose", "raised", "never_returned"))

    @property
    def why_empty(self) -> str:
        """Why there is nothing, as far as the processes said; empty when there is something."""
        if self.calls:
            return ""
        lines = [line for journal in self.processes.values() for line in journal]
        if not lines:
            return "no Python started the recorder: is sim3solve installed for the Python that the command runs?"
        if not any(line["event"] == "tracker" for line in lines):
            return "the tracker's module was never imported"
        closed = [line for line in lines if line["event"] == "closed"]
        if any(line.get("recorded") for line in closed):
            return "every recorded call came back well, and such calls were not kept"
        if any(line.get("calls") for line in closed) or self.problems:
            return "the solver was called, but no call could be recorded"
        return "the solver was never called"


def read_recorded(settings: Settings) -> Recorded:
    """Read what a run left, and clear away what its dead processes left half done."""
    processes = read_journals(settings.out, settings.run)
    calls, n_bytes = [], 0
    problems = [line | {"pid": pid} for pid, journal in processes.items() for line in journal if line["event"] == "problem"]
    seconds = {line["case"]: line["seconds"] for journal in processes.values() for line in journal if line["event"] == "failed"}
    for folder in sorted(settings.out.glob(f"{settings.run}-*")):
        try:
            document = read_document(folder)
            n_bytes += sum(file.stat().st_size for file in folder.iterdir())
        except CaseError as error:
            problems.append({"event": "problem", "reason": str(error)})
            continue
        pid = int(folder.name.split("-")[-2])
        state = _state(document, pid)
        calls.append(RecordedCall(folder, document, state, seconds.get(folder.name), _stack(settings, pid, state)))
    _clear(settings)
    return Recorded(settings.out, tuple(calls), processes, tuple(problems), n_bytes)


def _state(document: CaseDocument, pid: int) -> str:
    recorded = document.recorded
    if recorded.event == "never_returned":
        return "still_running" if _lives(pid) else "never_returned"
    if recorded.event == "raised":
        last = recorded.exception.splitlines()[-1:] or [""]
        return "interrupted" if last[0].partition(":")[0] in _INTERRUPTS else "raised"
    return "not_a_pose" if recorded.exception else "returned"


def _lives(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _stack(settings: Settings, pid: int, state: str) -> str:
    """The Python stack that a fatal signal left, of the process whose call never came back."""
    file = settings.stacks(pid)
    if state != "never_returned" or not file.is_file():
        return ""
    return file.read_text(encoding="utf-8", errors="replace")[:20_000]


def _clear(settings: Settings) -> None:
    for half in settings.out.glob(f"{settings.run}-*/.{DOCUMENT}.*.tmp"):
        if not _lives(int(half.parent.name.split("-")[-2])):
            half.unlink(missing_ok=True)
    for folder in settings.out.glob(f".{settings.run}-*.tmp"):
        pid = re.fullmatch(r".*-(\d+)-\d+\.\w+\.tmp", folder.name)
        if pid is not None and not _lives(int(pid.group(1))):
            shutil.rmtree(folder, ignore_errors=True)
    for stacks in (settings.stacks(0).parent).glob(f"{settings.run}-*.stacks"):
        if stacks.stat().st_size == 0 and not _lives(int(stacks.stem.rpartition("-")[2])):
            stacks.unlink(missing_ok=True)
