"""How something failed, in the words of a headline, and which failure is the gravest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.bugs import Bug
from harness.diagnosis.signature import GRAVITY, finding_signature
from harness.outcome import CONFIDENCES, Kind, Outcome
from harness.report.text import shorten
from harness.report.words import UNEXPECTED_POSE, WRONG_POSE, WRONG_RESULT, label

_ORDER = (Kind.CRASHED, Kind.CUDA_ERROR, Kind.FINDINGS, Kind.OK, Kind.TIMEOUT, Kind.RAISED, Kind.SOLVER_STATUS, Kind.INCONCLUSIVE,
          Kind.UNAVAILABLE)  # fmt: skip
"""Gravest first: what takes the process away, what corrupts memory, a wrong pose that nothing tells of, what at least says so."""

_FINDINGS = {
    "misaligned": "misaligned access", "out-of-bounds": "access out of bounds", "use-after-free": "use after free",
    "host-dereference": "access to device memory from the host", "stack-overflow": "stack overflow", "race": "data race",
    "barrier": "divergent barrier", "uninitialized": "read of uninitialized memory", "undefined": "undefined behaviour",
}  # fmt: skip
_WORDS = {WRONG_POSE: "wrong pose", WRONG_RESULT: "wrong result", UNEXPECTED_POSE: "unexpected pose"}


@dataclass(frozen=True, order=True)
class Symptom:
    """``gravity``: the lower the graver."""

    gravity: tuple[int, int]
    words: str


def symptom(outcome: Outcome, finding: str = "") -> Symptom:
    """``finding`` is the kind of the one that is meant, of an outcome with findings."""
    rank = GRAVITY.index(finding) if finding in GRAVITY else len(GRAVITY)
    return Symptom((_ORDER.index(outcome.kind), rank if finding else 0), _words(outcome, finding))


def _words(outcome: Outcome, finding: str) -> str:
    word, detail = label(outcome)
    match outcome.kind:
        case Kind.CRASHED:
            return f"crash ({detail})"
        case Kind.CUDA_ERROR:
            return f"CUDA error {detail}"
        case Kind.FINDINGS:
            return _FINDINGS.get(finding) or shorten(finding or "finding", 40)
        case Kind.TIMEOUT:
            return "timeout"
        case Kind.RAISED:
            return f"exception ({detail})"
        case Kind.OK:
            return _WORDS.get(word) or f"unexpected {detail or word}"
        case Kind.SOLVER_STATUS:
            return f"unexpected {word}"
        case _:
            return word.lower()


def bug_symptom(bug: Bug, members: Sequence[Outcome]) -> Symptom:
    """The gravest of those who show it. ``members`` are its outcomes, none where they are not of this run."""
    kinds = {
        outcome.key: str(finding.get("kind") or "")
        for outcome in members
        for finding in outcome.findings
        if finding_signature(finding) == bug.signature
    }
    found = [symptom(outcome, kinds.get(outcome.key, "")) for outcome in members]
    return min(found, default=Symptom((len(_ORDER), 0), shorten(bug.signature.partition(" | ")[0] or bug.diagnosis.cause, 40)))


def gravest_first(bugs: Sequence[tuple[Bug, Symptom]]) -> list[tuple[Bug, Symptom]]:
    """Failures before the rest; of one gravity, what is known before what is guessed, then what costs most."""
    return sorted(
        bugs,
        key=lambda it: (not it[0].failure, it[1].gravity, CONFIDENCES.index(it[0].diagnosis.confidence), -len(it[0].outcomes)),
    )
