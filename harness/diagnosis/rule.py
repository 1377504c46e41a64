"""What a rule is: a cause's name, and a function that finds it in evidence or does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.diagnosis.evidence import Evidence
from harness.outcome import Fact

HOST, DEVICE, MATHEMATICS, INPUT, ENVIRONMENT, UNKNOWN = SIDES = (
    "Host", "Device", "Mathematics", "Input", "Environment", "Unknown",
)  # fmt: skip
"""Whose fault it is: code on the processor, code on the GPU, what is computed wherever that is, the values given, the installation,
or nobody can say."""

PROVEN, LIKELY, POSSIBLE, NOT_KNOWN = "proven", "likely", "possible", "unknown"


@dataclass(frozen=True)
class Match:
    """A rule found its cause. ``claim`` is the sentence without its first word and full stop; ``against`` is what contradicts it.

    With ``confidence`` unknown the rule knows the side and the symptom, and says that it knows no cause.
    """

    side: str
    claim: str
    confidence: str
    facts: tuple[Fact, ...]
    refute: str
    test: str
    fix: str
    against: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class Rule:
    """``cause`` is the name that docs/failure-modes.md lists. ``match`` gives None where the rule says nothing."""

    cause: str
    match: Callable[[Evidence], Match | None]

    @property
    def summary(self) -> str:
        return (self.match.__doc__ or "").strip().partition("\n")[0]


def present(*facts: Fact | None) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if fact is not None)
