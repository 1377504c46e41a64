"""What a recorded run left: its cases by how they ended, what its processes said, and what is lost with those that died."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.case import CaseDocument
from harness.casefile import DOCUMENT, read_document
from harness.errors import CaseError
from harness.record import store
from harness.record.ending import completed, lives
from harness.record.journal import read_journals
from harness.record.settings import Settings

STATES = ("returned", "not_a_pose", "raised", "interrupted", "never_returned", "still_running")
"""How a recorded call ended. All but the first and the last are why somebody would look; ``not_a_pose`` returned all the same."""

_NOT_KEPT = "every recorded call came back well, and such calls were not kept"
_INSTALL = (
    "is sim3solve installed for the Python that the command runs? Install it there, or start the program with the Python that has "
    "it: harness record -- PYTHON main.py"
)
_NAME_IT = "name the class whose opt_pose_* methods solve, as the program imports it: --tracker MODULE:CLASS"
_INTERRUPTS = ("KeyboardInterrupt", "SystemExit", "GeneratorExit")


@dataclass(frozen=True)
class RecordedCall:
    """One case of the run. ``seconds`` is how long a call took that did not come back well; None when nobody knows."""

    folder: Path
    document: CaseDocument
    state: str
    seconds: float | None

    @property
    def words(self) -> str:
        """What its exception says last, or first of what is wrong with its result."""
        lines = self.document.recorded.exception.splitlines()
        return "" if not lines else lines[-1] if self.document.recorded.event == "raised" else lines[0]

    def to_json(self) -> dict[str, Any]:
        d, ended = self.document, self.document.recorded.exit
        return {
            "case": str(self.folder), "id": d.id, "kind": d.kind, "n_points": d.n_points, "title": d.title, "state": self.state,
            "exception": d.recorded.exception or None, "seconds": self.seconds, "stack": d.recorded.stack or None,
            "exit": ended.model_dump() if ended else None, "tracker": d.recorded.tracker or None,
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
    def incomplete(self) -> bool:
        """Whether calls were not recorded that should have been: the disk refused, or the GPU was dead."""
        return any(problem.get("gpu_dead") or problem.get("refused") for problem in self.problems)

    @property
    def missed(self) -> bool:
        """Whether nothing was recorded at all. Calls that came back well and were not to be kept had been recorded."""
        return not self.calls and self.why_empty != _NOT_KEPT

    @property
    def why_empty(self) -> str:
        """Why there is nothing, as far as the processes said; empty when there is something."""
        return self._empty[0]

    @property
    def remedy(self) -> str:
        """What to do so that something is recorded; empty where nothing is to do, or the reason says it."""
        return self._empty[1]

    @property
    def _empty(self) -> tuple[str, str]:
        if self.calls:
            return "", ""
        lines = [line for journal in self.processes.values() for line in journal]
        if not lines:
            return "no Python started the recorder", _INSTALL
        if not any(line["event"] == "tracker" for line in lines):
            refused = [line["reason"].removeprefix("nothing is recorded: ") for line in lines if line["event"] == "problem"]
            return refused[0] if refused else "the tracker's module was never imported", _NAME_IT
        closed = [line for line in lines if line["event"] == "closed"]
        if any(line.get("recorded") for line in closed):
            return _NOT_KEPT, ""
        if any(line.get("calls") for line in closed) or self.problems:
            return "the solver was called, but no call could be recorded", ""
        return "the solver was never called", "let the program run until it has tracked its second frame"


def read_recorded(settings: Settings) -> Recorded:
    """Read what a run left, clear away what its dead processes left half done, and write into each case whose call never came back
    how its process ended, so that the case says it wherever it goes.
    """
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
        state = _state(document, int(folder.name.split("-")[-2]))
        if state == "never_returned":
            document = _completed(folder, document)
        calls.append(RecordedCall(folder, document, state, seconds.get(folder.name)))
    _clear(settings)
    return Recorded(settings.out, tuple(calls), processes, tuple(problems), n_bytes)


def _state(document: CaseDocument, pid: int) -> str:
    recorded = document.recorded
    if recorded.event == "never_returned":
        return "still_running" if lives(pid) else "never_returned"
    if recorded.event == "raised":
        last = recorded.exception.splitlines()[-1:] or [""]
        return "interrupted" if last[0].partition(":")[0] in _INTERRUPTS else "raised"
    return "not_a_pose" if recorded.exception else "returned"


def _completed(folder: Path, document: CaseDocument) -> CaseDocument:
    whole = completed(folder, document)
    if whole != document:
        with suppress(OSError):  # what it would say lies beside it all the same
            store.update(folder, whole, sync=True)
    return whole


def _clear(settings: Settings) -> None:
    for half in settings.out.glob(f"{settings.run}-*/.{DOCUMENT}.*.tmp"):
        if not lives(int(half.parent.name.split("-")[-2])):
            half.unlink(missing_ok=True)
    for folder in settings.out.glob(f".{settings.run}-*.tmp"):
        pid = re.fullmatch(r".*-(\d+)-\d+\.\w+\.tmp", folder.name)
        if pid is not None and not lives(int(pid.group(1))):
            shutil.rmtree(folder, ignore_errors=True)
    for stacks in (settings.stacks(0).parent).glob(f"{settings.run}-*.stacks"):
        if stacks.stat().st_size == 0 and not lives(int(stacks.stem.rpartition("-")[2])):
            stacks.unlink(missing_ok=True)
