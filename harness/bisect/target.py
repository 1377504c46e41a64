"""What is bisected for: one bug by its signature, or a number that got worse. And what a run of a commit says of it."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.diagnosis.signature import signatures
from harness.errors import HarnessError, UsageError
from harness.outcome import Kind, Outcome

What = Literal["failure", "d", "iterations", "time"]
Vote = Literal["shown", "absent", "other", "unavailable"]
"""shown: what is looked for was there. absent: the run was good without it. other: it failed in another way, so nobody can say."""
UNITS: dict[str, str] = {"d": "sigma", "iterations": "", "time": "times GOOD's"}
_WHEN = re.compile(r"\s*(d|iterations|time)\s*(?:>\s*(\d[\d.]*(?:e[+-]?\d+)?)\s*(?:sigma|x|times)?\s*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Measure:
    """What is kept of one run of a commit. ``ratio`` is its time over that of a run of GOOD beside it."""

    kind: str
    said: str
    expected: bool | None = None
    signatures: tuple[str, ...] = ()
    d: float | None = None
    iterations: int | None = None
    ratio: float | None = None

    def number(self, what: What) -> float | None:
        return {"d": self.d, "iterations": self.iterations, "time": self.ratio}.get(what)


@dataclass(frozen=True)
class Target:
    """``signature`` of a failure, ``threshold`` of a number; neither yet where the ends of the history are to tell."""

    what: What
    signature: str | None = None
    threshold: float | None = None

    @property
    def words(self) -> str:
        if self.what == "failure":
            return f"the failure {self.signature}"
        unit = f" {UNITS[self.what]}".rstrip()
        return f"{self.what} > {self.threshold:.4g}{unit}" if self.threshold is not None else self.what

    def vote(self, run: Measure) -> Vote:
        """What one run says."""
        if run.kind == Kind.UNAVAILABLE.value:
            return "unavailable"
        if self.what == "failure":
            if self.signature in run.signatures:
                return "shown"
            return "absent" if run.expected else "other"
        number = run.number(self.what)
        if run.kind != Kind.OK.value or number is None or self.threshold is None:
            return "other"
        return "absent" if number <= self.threshold else "shown"  # NaN is worse than any number

    def is_told_by(self, bad: Sequence[Measure]) -> bool:
        """Whether BAD's runs show what to look for: a failure may be rare."""
        return self.what != "failure" or self.signature is not None or bool(_failed(bad))

    def told_by(self, bad: Sequence[Measure], good: Sequence[Measure]) -> Target:
        """The target in full, from what the ends of the history showed. Raises ``HarnessError`` where they do not differ so."""
        if self.what == "failure":
            if self.signature is not None:
                return self
            failed = _failed(bad)
            if not failed:
                raise HarnessError(f"BAD does not fail, in {len(bad)} runs: {bad[-1].said} Say what got worse with --when.")
            return Target("failure", failed[0].signatures[0])
        ends = [[n for run in runs if (n := run.number(self.what)) is not None] for runs in (good, bad)]
        for name, numbers, runs in zip(("GOOD", "BAD"), ends, (good, bad), strict=True):
            if not numbers:
                raise HarnessError(f"{name} gives no {self.what} to compare: {runs[-1].said}")
        if self.threshold is not None:
            return self
        low, high = (statistics.median(numbers) for numbers in ends)
        if not high > low:
            raise HarnessError(f"BAD's {self.what} is {high:.4g} and GOOD's {low:.4g}: it did not get worse")
        middle = (low + high) / 2 if self.what == "iterations" or low <= 0 else math.sqrt(low * high)
        return Target(self.what, threshold=middle)


def _failed(runs: Sequence[Measure]) -> list[Measure]:
    return [run for run in runs if run.expected is False and run.signatures and run.kind != Kind.INCONCLUSIVE.value]


def parse_when(text: str) -> Target:
    """``d > 0.05 sigma``, ``iterations > 12``, ``time > 1.2``, or the name alone: then the middle between GOOD's and BAD's."""
    found = _WHEN.fullmatch(text)
    if found is None:
        raise UsageError(f"--when {text!r}: write d, iterations or time, alone or as in 'd > 0.05 sigma' and 'time > 1.2'")
    what: What = found[1].lower()  # type: ignore[assignment]  # one of the three that the expression knows
    try:
        threshold = float(found[2]) if found[2] else None
    except ValueError:
        raise UsageError(f"--when {text!r}: {found[2]!r} is no number") from None
    if threshold is not None and not (math.isfinite(threshold) and threshold > 0):
        raise UsageError(f"--when {text!r}: the limit must be a positive number")
    return Target(what, threshold=threshold)


def measured(outcome: Outcome, good_seconds: float | None = None) -> Measure:
    """What is kept of an outcome. ``good_seconds`` is the solve time of GOOD in the run beside it."""
    against = (outcome.parity or {}).get("oracle") or {}
    ratio = outcome.solve_seconds / good_seconds if outcome.solve_seconds and good_seconds else None
    return Measure(
        outcome.kind.value, outcome.verdict, outcome.expected, signatures(outcome) if outcome.expected is False else (),
        float(against["d_sigma"]) if "d_sigma" in against else None, outcome.iterations, ratio,
    )  # fmt: skip
