"""What a minimizing is asked, and what it came to. Data only."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.isolation import Limits
from harness.minimize.failure import Failure
from harness.minimize.tester import Asked
from harness.outcome import RECORDED

MINIMIZED, HEALTHY, EXPECTED, NOT_SHOWN = "minimized", "healthy", "expected", "not shown"
"""Smaller now; nothing fails; what fails is what the case expects; something fails, but not what was asked for."""


@dataclass(frozen=True)
class Target:
    """What fails, and how. ``failure`` None is what the whole case fails by; ``memory`` None what suits the tool."""

    solver: str
    tool: str = "none"
    memory: str | None = None
    layout: str = RECORDED
    failure: Failure | None = None


@dataclass(frozen=True)
class MinimizeLimits:
    """``tries`` is how often the whole case, and the smaller one at the end, are run to see whether the failure comes and goes."""

    budget_s: float = 600.0
    max_runs: int = 3000
    tries: int = 3
    child: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Now:
    """Where a search is, for whoever waits for it. ``used`` is the share of the budget."""

    phase: str
    points: int
    iterations: int
    changes: int
    runs: int
    left_s: float
    used: float


@dataclass(frozen=True)
class Size:
    """``bytes`` are those of the values."""

    points: int
    iterations: int
    bytes: int


@dataclass(frozen=True)
class Minimized:
    """``state`` is one of the words above; all but the first say why there is no smaller case, and ``case`` is None then.

    ``rate`` and ``rate_after`` are how often the failure showed, of ``tries`` and ``tries_after`` runs. ``complete``: no single
    point can be removed, no iteration, no further value made simple; else ``stopped`` says what ended the search. ``verified``: it
    was shown again by new interpreters that were given the written case. ``runs`` are children run now, ``kept`` answers on disk.
    """

    state: str
    said: str
    solver: str
    how: str
    source: str
    failure: str = ""
    rate: float = 0.0
    tries: int = 0
    case: Path | None = None
    before: Size | None = None
    after: Size | None = None
    changes: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    complete: bool = False
    stopped: str = ""
    verified: bool = False
    rate_after: float = 0.0
    tries_after: int = 0
    expected: bool = False
    runs: int = 0
    kept: int = 0
    seconds: float = 0.0
    repeat: str = ""
    history: tuple[Asked, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there is a failure that nobody expects."""
        return self.state == NOT_SHOWN or (self.state == MINIMIZED and not self.expected)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"case": None if self.case is None else str(self.case)}
