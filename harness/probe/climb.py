"""Climb the ladder in children. The parent's side: it loads nothing of the library, and knows each rung that kills a child.

Many rungs go into one process, which writes each down before and after. When it dies, the rung it was at is known from the journal;
it is tried once more alone, so that a process broken by an earlier rung does not speak for it; and the rest goes on in the next
process. Where there is ``fork`` that is a copy of one that has loaded the library and done nothing with it, elsewhere, or with
``fork`` false, a new interpreter. A healthy probe takes seconds, a dying one a process or two per death.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.jsonfile import write_json
from harness.probe.lane import Lane, Seen, read_seen
from harness.probe.rungs import Result, Rung, ladder
from harness.process import Launcher, open_launcher
from harness.worker_files import JOB, JOURNAL, STDERR, STDOUT

RUNG_LIMIT_S = 20.0
START_S = 120.0  # importing torch and a library
Progress = Callable[[int, int], None]
"""Called now and then with how many rungs have been climbed, and how many of them killed a process."""


@dataclass(frozen=True)
class Probe:
    """What a ladder came to. ``broken`` says why there are no results at all; ``missing`` that there is nothing to probe: not
    installed, no groups in the file, no GPU.
    """

    target: str
    environment: dict[str, Any]
    results: tuple[Result, ...]
    broken: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Climb:
    """How to climb. ``jobs`` children at once; ``devices`` empty for all there are."""

    target: str
    folder: Path
    devices: tuple[str, ...] = ()
    rung_limit_s: float = RUNG_LIMIT_S
    jobs: int = 0
    fork: bool = hasattr(os, "fork")

    def run(self, progress: Progress | None = None) -> Probe:
        jobs = self.jobs or max(1, min(8, (os.cpu_count() or 2) // 2))
        threads = max(1, (os.cpu_count() or 2) // jobs)
        with closing(open_launcher(self.folder / "supervisor.log", preload=(), threads=threads)) as launcher:
            child = _Child(self, launcher)
            # The first child says what there is, and climbs what is there in any case.
            on_cpu = not self.devices or "cpu" in self.devices
            with _watched(self.folder, progress):
                seen = child.ask("first", ladder(("cpu",)) if on_cpu else ())
                if seen.environment is None:
                    return Probe(self.target, {}, (), seen.why_not(), seen.missing)
                if not any(d.startswith("cuda") for d in seen.devices) and any(d.startswith("cuda") for d in self.devices):
                    return Probe(self.target, seen.environment, (), "needs an NVIDIA GPU, and torch sees none here", missing=True)
                rungs = ladder(self.devices or seen.devices, seen.groups)
                board = _Board()
                start = Lane("lane", list(rungs), board.add)
                start.take(seen)
                _climb_all(start.split(jobs), child, launcher)
        return Probe(self.target, seen.environment, tuple(board.results[rung] for rung in rungs))


def _climb_all(lanes: Sequence[Lane], child: _Child, launcher: Launcher) -> None:
    with ThreadPoolExecutor(max(1, len(lanes))) as pool:
        try:
            for future in [pool.submit(lane.climb, child) for lane in lanes]:
                future.result()
        except BaseException:
            for lane in lanes:
                lane.stopped = True
            launcher.close()  # ends the children, so that the lanes end too
            raise


@contextmanager
def _watched(folder: Path, progress: Progress | None) -> Iterator[None]:
    """Report what the children's journals say, while they are written."""
    ended = threading.Event()

    def watch() -> None:
        assert progress is not None
        while not ended.wait(0.3):
            results = [line for file in folder.glob(f"*/{JOURNAL}") for line in file.read_bytes().splitlines() if b'"end"' in line]
            progress(len(results), sum(b'"crash"' in line for line in results))

    watcher = threading.Thread(target=watch, daemon=True)
    if progress is not None:
        watcher.start()
    try:
        yield
    finally:
        ended.set()
        if progress is not None:
            watcher.join()


class _Board:
    """Results so far, from all lanes."""

    def __init__(self) -> None:
        self.results: dict[Rung, Result] = {}
        self._lock = threading.Lock()

    def add(self, result: Result) -> None:
        with self._lock:
            self.results[result.rung] = result


class _Child:
    """Starts a new interpreter that climbs; it forks for every process of its own where it can."""

    def __init__(self, climb: Climb, launcher: Launcher) -> None:
        self._climb, self._launcher = climb, launcher

    def ask(self, name: str, rungs: Sequence[Rung]) -> Seen:
        folder = self._climb.folder / name
        folder.mkdir()
        numbered = [[i, dataclasses.asdict(rung)] for i, rung in enumerate(rungs)]
        job = {"target": self._climb.target, "rungs": numbered, "rung_limit_s": self._climb.rung_limit_s, "fork": self._climb.fork}
        write_json(folder / JOB, job)
        argv = [sys.executable, "-P", "-m", "harness.probe.child", str(folder)]
        # The child ends its own hangs; this limit is for one whose watchdog cannot run.
        limit_s = START_S + (len(rungs) + 1) * self._climb.rung_limit_s
        seen = read_seen(folder, rungs, self._launcher.run(name, folder, argv, limit_s, None))
        for name in (STDOUT, STDERR):  # of no use any more, and one that prints without end has written as much as it may
            with suppress(OSError):
                (folder / name).unlink()
        return seen
