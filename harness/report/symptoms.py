"""How something failed, in the words of a headline."""

from __future__ import annotations

from collections.abc import Sequence

from harness.diagnosis.bugs import Bug
from harness.diagnosis.gravity import finding_kind, gravity
from harness.outcome import Kind, Outcome
from harness.report.text import shorten
from harness.report.words import UNEXPECTED_POSE, WRONG_POSE, WRONG_RESULT, label

_FINDINGS = {
    "misaligned": "misaligned access", "out-of-bounds": "access out of bounds", "use-after-free": "use after free",
    "host-dereference": "access to device memory from the host", "stack-overflow": "stack overflow", "race": "data race",
    "wrong-device": "access to another GPU's memory",
    "barrier": "divergent barrier", "uninitialized": "read of uninitialized memory", "undefined": "undefined behaviour",
}  # fmt: skip
_WORDS = {WRONG_POSE: "wrong pose", WRONG_RESULT: "wrong result", UNEXPECTED_POSE: "unexpected pose"}


def bug_symptom(bug: Bug, showing: Sequence[Outcome]) -> str:
    """That of the gravest outcome that shows it. ``showing`` is empty where they are not of this run."""
    if not showing:
        return shorten(bug.signature.partition(" | ")[0] or bug.diagnosis.cause, 40)
    gravest = min(showing, key=lambda outcome: gravity(outcome, bug.signature))
    return _words(gravest, finding_kind(gravest, bug.signature))


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
