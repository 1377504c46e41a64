"""Rungs climbed one process after the other: what is noted of a process that died, and what is left to do after it.

Used by the parent, where each process is a new interpreter, and in the child, where each is a fork of one that has loaded all.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness import exitcode
from harness.classify import read_text
from harness.probe.rungs import CRASH, ERROR, NOT_TRIED, PRINTS, UNAVAILABLE, Result, Rung, below_a_death
from harness.process import Ended
from harness.worker_files import FAULTHANDLER, JOB, JOURNAL, STDERR

FORK = "fork"
"""What the folders of a child's forks are called, before their number."""


@dataclass(frozen=True)
class Seen:
    """What one child left behind."""

    results: tuple[Result, ...]
    at: Rung | None  # begun and not ended
    death: tuple[str, dict[str, Any] | None] | None  # detail and exit
    hung: bool
    environment: dict[str, Any] | None
    groups: tuple[str, ...]
    devices: tuple[str, ...]
    unavailable: str | None
    raised: str | None
    missing: bool  # of what is unavailable: there is nothing of that name

    def why_not(self) -> str:
        """Why it gave no results."""
        died = f"the process died before anything was tried: {self.death[0]}" if self.death else "the process ended without a word"
        return self.unavailable or (f"its import raises {self.raised}" if self.raised else died)


class Climber(Protocol):
    """Climbs rungs in a process, as far as it lives."""

    def ask(self, name: str, rungs: Sequence[Rung]) -> Seen: ...


class Lane:
    """Rungs that are climbed one child after the other, with what is known of their deaths."""

    def __init__(self, name: str, pending: list[Rung], add: Callable[[Result], None]) -> None:
        self._name, self._pending, self._add = name, pending, add
        self.stopped = False
        self._deaths: list[Rung] = []
        self._alone: Rung | None = None  # the rung that is tried once more, by itself
        self._in_vain = 0  # processes in a row that began none

    def climb(self, climber: Climber) -> None:
        number = 0
        while self._pending and not self.stopped:
            number += 1
            self.take(climber.ask(f"{self._name}-{number}", [self._alone] if self._alone is not None else self._pending))

    def take(self, seen: Seen) -> None:
        """Note what a child did, and what is left to do."""
        wanted = set(self._pending)
        results = [result for result in seen.results if result.rung in wanted]
        for result in results:
            if result.rung == self._alone:
                result = dataclasses.replace(result, detail=_only_after_others(result))
            self._add(result)
        done = {result.rung for result in results}
        pending = [rung for rung in self._pending if rung not in done]
        alone, self._alone = self._alone, None
        begun = seen.at if seen.at in wanted else None
        if pending and not done and begun is None:
            pending = self._nothing_begun(pending, seen)
            self._alone = alone
        elif seen.death is not None and pending:
            # Between two rungs: of what the last ones did. The next one is tried alone, and then it can be told.
            at = begun or pending[0]
            if alone is None and done and not seen.hung:
                self._alone = at
            else:
                self._add(Result(at, CRASH, None, *seen.death))
                self._deaths.append(at)
                pending.remove(at)
        self._in_vain = self._in_vain + 1 if pending and not done and begun is None else 0
        self._pending = [rung for rung in pending if not self._spared(rung)] if self._deaths else pending

    def _nothing_begun(self, pending: list[Rung], seen: Seen) -> list[Rung]:
        """No call is to blame for a process that made none. It is tried once more; then what is left cannot be tried."""
        if not self._in_vain:
            return pending
        for rung in pending:
            self._add(Result(rung, ERROR, detail=f"{NOT_TRIED}{seen.why_not()}"))
        return []

    def split(self, lanes: int) -> list[Lane]:
        """The same rungs in many lanes, with all forms of one call in one of them, where a death of one spares the others."""
        calls = {call: i for i, call in enumerate(dict.fromkeys(map(_call, self._pending)))}
        dealt = [[r for r in self._pending if calls[_call(r)] % lanes == i] for i in range(lanes)]
        made = [Lane(f"{self._name}{i}", rungs, self._add) for i, rungs in enumerate(dealt)]
        for lane in made:
            lane._deaths = list(self._deaths)
            lane._alone = self._alone if self._alone in lane._pending else None
        return [lane for lane in made if lane._pending]

    def _spared(self, rung: Rung) -> bool:
        why = below_a_death(rung, self._deaths) if rung != self._alone else None
        if why is not None:
            self._add(Result(rung, UNAVAILABLE, detail=why))
        return why is not None


def _call(rung: Rung) -> tuple[str, str, str]:
    return (rung.op, rung.group, rung.device)


def _only_after_others(result: Result) -> str:
    note = "alone it ends like this; after other rungs in one process, the process died"
    return f"{result.detail}; {note}" if result.detail else note


def entry_of(number: int, result: Result) -> dict[str, Any]:
    """The line of a journal that ``read_seen`` reads back."""
    exit = None if result.exit is None else dict(result.exit)
    return {"end": number, "result": result.result, "error": result.error, "detail": result.detail, "exit": exit}


def read_seen(folder: Path, rungs: Sequence[Rung], ended: Ended) -> Seen:
    """What the process in ``folder`` left behind, and how it ended; of one that died before it could tell, its forks' journals."""
    results, at, said = _climbed(folder / JOURNAL, rungs)
    stacks = read_text(folder / FAULTHANDLER)
    if "done" not in said:
        for fork in sorted(folder.glob(f"{FORK}-*"), key=lambda it: int(it.name.rpartition("-")[2])):
            known = {result.rung for result in results}
            more, last, _ = _climbed(fork / JOURNAL, [rungs[number] for number in _numbers(fork)])
            results += [result for result in more if result.rung not in known]
            if last is not None and last not in known:
                at, stacks = last, read_text(fork / FAULTHANDLER)
    hung = ended.timed_out or (at is not None and ended.code == 1 and "Timeout (" in stacks)
    death = None if "done" in said or "unavailable" in said or "raised" in said else _death(ended, folder, stacks, hung)
    if "environment" in said and ended.code == 0 and at is None:
        death = None  # it stopped by itself, after an error that leaves the GPU unusable
    return Seen(
        tuple(results), at, death, hung, said.get("environment"), tuple(said.get("groups", ())), tuple(said.get("devices", ())),
        said.get("unavailable"), said.get("raised"), bool(said.get("missing")),
    )  # fmt: skip


def _climbed(journal: Path, rungs: Sequence[Rung]) -> tuple[list[Result], Rung | None, dict[str, Any]]:
    """The results in a journal, the rung that was begun and not ended, and what else was said."""
    results: list[Result] = []
    begun: int | None = None
    said: dict[str, Any] = {}
    for entry in _journal(journal):
        if "start" in entry:
            begun = entry["start"]
        elif "end" in entry and entry["end"] == begun and begun is not None:
            error = None if entry["error"] is None else float(entry["error"])
            results.append(Result(rungs[begun], entry["result"], error, entry["detail"], entry.get("exit")))
            begun = None
        else:
            said |= entry
    return results, rungs[begun] if begun is not None and begun < len(rungs) else None, said


def _numbers(fork: Path) -> list[int]:
    """Which of its parent's rungs a fork was to climb."""
    try:
        numbers: list[int] = json.loads((fork / JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the parent died before there was a fork
        return []
    return numbers


def _journal(file: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            break  # cut short by the end of the process, or written over by it
        if not isinstance(entry, dict):
            break
        entries.append(entry)
    return entries


def _death(ended: Ended, folder: Path, stacks: str, hung: bool) -> tuple[str, dict[str, Any] | None]:
    where = _innermost(stacks)
    if hung:
        return f"hang{where}", None
    if ended.output_bytes is not None:
        return f"{PRINTS}: {ended.output_bytes >> 20} MiB of output, and the harness ended it{where}", None
    if ended.code is None:
        return ended.lost or "nobody could tell how the process ended", None
    exit = exitcode.decode(ended.code)
    said = (read_text(folder / STDERR).strip().splitlines() or [""])[-1][:200]
    detail = f"{exit.name}: {exit.meaning}{where}" + (f"; stderr ends: {said}" if said and not exit.crashed else "")
    return detail, dataclasses.asdict(exit)


def _innermost(stacks: str) -> str:
    """The first frame, of the thread that died, that is not the probe's own machinery."""
    machinery = (f"harness{os.sep}probe{os.sep}", f"{os.sep}threading.py", f"{os.sep}ctypes{os.sep}", "<frozen ")
    lines = stacks[max(0, stacks.find("Current thread")) :].splitlines()
    for line in lines:
        frame = line.strip()
        if frame.startswith("File ") and not any(name in frame for name in machinery):
            return f", at {frame.removeprefix('File ')}"
    return ""
