"""What a recorder is asked to do, and how that travels to the processes that a program starts. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError

OUT_VARIABLE = "HARNESS_RECORD"
OPTIONS_VARIABLE = "HARNESS_RECORD_OPTIONS"
TRACKER = "mast3r_slam.tracker:FrameTracker"
JOURNALS = ".record"
"""The folder beside the cases in which each process says what it did."""


def run_name() -> str:
    """The name that the cases of a run start with."""
    return time.strftime("%Y%m%d-%H%M%S")


@dataclass(frozen=True)
class Settings:
    """``every`` k-th call is recorded. ``last`` bounds how many calls that came back well a process keeps; with
    ``on_failure_only``, or ``live`` without ``last``, it keeps none. ``max_bytes`` bounds the run's cases together. ``live`` leaves
    out the syncs: what is recorded then survives the death of the process, which is the point, but not that of the machine.
    ``tracker`` is ``MODULE:CLASS``; ``run`` is what the names of the run's cases start with.
    """

    out: Path
    every: int = 1
    last: int | None = None
    on_failure_only: bool = False
    max_bytes: int = 4 << 30
    live: bool = False
    tracker: str = TRACKER
    run: str = dataclasses.field(default_factory=run_name)

    def __post_init__(self) -> None:
        # Where a program goes to later is not where it was asked to record.
        object.__setattr__(self, "out", self.out.absolute())
        if self.every < 1:
            raise UsageError(f"every {self.every}: must be 1 or more")
        if self.last is not None and self.last < 1:
            raise UsageError(f"last {self.last}: must be 1 or more")
        if self.last is not None and self.on_failure_only:
            raise UsageError("last K keeps K calls that came back, on-failure-only keeps none: give one of them")
        if self.max_bytes < 1 << 20:
            raise UsageError(f"max-bytes {self.max_bytes}: must be at least {1 << 20}, a case of 512 x 384 points has 6 MB")
        if not self.run.replace("-", "").isalnum():
            raise UsageError(f"run {self.run!r}: must be letters, digits and hyphens")
        module, _, name = self.tracker.partition(":")
        if not all(part.isidentifier() for part in [*module.split("."), name]):
            raise UsageError(f"tracker {self.tracker!r}: must be MODULE:CLASS, {TRACKER} for one")

    @property
    def keep_returned(self) -> int | None:
        """How many calls that came back well a process keeps; None for all."""
        return 0 if self.on_failure_only or (self.live and self.last is None) else self.last

    def journal(self, pid: int) -> Path:
        return self.out / JOURNALS / f"{self.run}-{pid}.jsonl"

    def stacks(self, pid: int) -> Path:
        return self.out / JOURNALS / f"{self.run}-{pid}.stacks"

    def to_environment(self) -> dict[str, str]:
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "out"}
        return {OUT_VARIABLE: str(self.out), OPTIONS_VARIABLE: json.dumps(options)}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings | None:
        """What ``to_environment`` said; None when nothing is to be recorded. Raises ``UsageError`` naming the variable."""
        out = environment.get(OUT_VARIABLE, "")
        if not out:
            return None
        try:
            options = json.loads(environment.get(OPTIONS_VARIABLE) or "{}")
            return cls(Path(out), **options)
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{OPTIONS_VARIABLE}: {error}") from None
