"""Until a solver is loaded: the time that has, apart from the time of its solve, and that one child does it before any others.

A first use may compile, for minutes under a sanitizer. What is compiled is kept, so children that begin after it find it; hence the
first child of a solver goes ahead until it has loaded it. What could not be built is not tried again by the same launcher.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.outcome import BUILDING, IMPORTED, Kind, Outcome
from harness.process import Launcher
from harness.registry import SolverSpec

LOAD_LIMIT_S = 600.0
log = logging.getLogger("harness.loading")
"""Says what is being built."""


def reason(limit_s: float, stages: tuple[tuple[str, float], ...]) -> str:
    """Why there is no solver, of a child that was ended before it had loaded it."""
    what = "its build took" if any(stage == BUILDING for stage, _ in stages) else "loading it took"
    return f"{what} longer than {limit_s:g} s"


def failed(outcome: Outcome) -> str:
    """What went wrong in a child before its solver was loaded, and so with any case; empty where nothing did."""
    if outcome.loaded or not outcome.stages or outcome.kind is Kind.UNAVAILABLE:
        return ""
    said = outcome.reason or outcome.kind.value
    if outcome.exception is not None:
        said = f"{outcome.exception.type}: {(outcome.exception.message.splitlines() or [''])[0][:300]}"
    elif outcome.exit is not None and outcome.exit.crashed:
        said = f"the process died of {outcome.exit.name}"
    return f"the solver {outcome.solver} could not be loaded: {said}"


class Turn:
    """One child's: it loads the solver while others wait, or finds it loaded. ``problem``: why it need not try."""

    def __init__(self, load: _Load, mine: bool) -> None:
        self._load, self._mine = load, mine

    @property
    def problem(self) -> str:
        return self._load.problem

    def reached(self, stage: str) -> None:
        """The child's journal has this stage."""
        if self._mine and stage == BUILDING and not self._load.told:
            self._load.told = True
            log.info("building %s: a first use compiles it, and it is kept", self._load.words)
        if stage == IMPORTED:
            self._load.end(loaded=True)

    def ended(self, outcome: Outcome, *, timed_out: bool) -> None:
        """The child came to its end, with this outcome."""
        if outcome.loaded:
            self._load.end(loaded=True)
        elif outcome.kind is Kind.UNAVAILABLE and (timed_out or any(stage == BUILDING for stage, _ in outcome.stages)):
            self._load.problem = outcome.reason or "it could not be built"


class Loads:
    """What the children of one launcher have loaded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads: dict[tuple[SolverSpec, str], _Load] = {}

    @contextmanager
    def turn(self, solver: SolverSpec, tool: str) -> Iterator[Turn]:
        """Begins when no other child is loading the solver for the first time."""
        with self._lock:
            words = solver.name if tool == "none" else f"{solver.name} ({tool})"
            load = self._loads.setdefault((solver, tool), _Load(words))
        turn = Turn(load, load.begin())
        try:
            yield turn
        finally:
            if turn._mine:
                load.end(loaded=False)


class _Load:
    """A solver under a tool. ``told``: that it is being built was said."""

    def __init__(self, words: str) -> None:
        self.words, self.problem, self.told = words, "", False
        self._free = threading.Condition()
        self._loaded = self._busy = False

    def begin(self) -> bool:
        """Wait while it is somebody's. Whether it is the caller's now, who must ``end`` it."""
        with self._free:
            self._free.wait_for(lambda: not self._busy)
            self._busy = not self._loaded and not self.problem
            return self._busy

    def end(self, *, loaded: bool) -> None:
        with self._free:
            self._loaded = self._loaded or loaded
            self._busy = False
            self._free.notify_all()


@dataclass
class Clock:
    """Seconds that a child has left: ``load_limit_s`` for what comes before its solver is loaded, and from then on ``limit_s``."""

    journal: Path
    load_limit_s: float
    limit_s: float
    turn: Turn
    _start: float | None = None
    _size: int = 0
    _loaded: float | None = None

    def __call__(self) -> float:
        now = time.monotonic()
        if self._start is None:
            self._start = now
        if self._loaded is None:
            self._look(now)
        return self._start + self.load_limit_s - now if self._loaded is None else self._loaded + self.limit_s - now

    def _look(self, now: float) -> None:
        assert self._start is not None
        try:
            if self.journal.stat().st_size == self._size:
                return
            data = self.journal.read_bytes()
        except OSError:  # not there yet
            return
        self._size = len(data)
        for line in data.splitlines():
            try:
                entry = json.loads(line)
                stage, at = entry["stage"], float(entry["time"])
            except (ValueError, KeyError, TypeError):
                return  # half a line
            self.turn.reached(stage)
            if stage == IMPORTED:
                self._loaded = max(self._start, now - max(0.0, time.time() - at))
                return


_of: weakref.WeakKeyDictionary[Launcher, Loads] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def of(launcher: Launcher) -> Loads:
    with _lock:
        return _of.setdefault(launcher, Loads())
