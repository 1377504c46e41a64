"""Which of two failures is the graver: the order in which the bugs of a run are told, everywhere."""

from __future__ import annotations

from harness.diagnosis.signature import GRAVITY, finding_signature
from harness.outcome import Kind, Outcome

_ORDER = (Kind.CRASHED, Kind.CUDA_ERROR, Kind.FINDINGS, Kind.OK, Kind.TIMEOUT, Kind.RAISED, Kind.SOLVER_STATUS, Kind.INCONCLUSIVE,
          Kind.UNAVAILABLE)  # fmt: skip
"""Gravest first: what takes the process away, what corrupts memory, a wrong pose that nothing tells of, what at least says so."""


def gravity(outcome: Outcome, signature: str) -> tuple[int, int]:
    """The lower the graver; of several findings that of the bug with this signature counts."""
    kind = finding_kind(outcome, signature)
    return _ORDER.index(outcome.kind), 0 if not kind else GRAVITY.index(kind) if kind in GRAVITY else len(GRAVITY)


def finding_kind(outcome: Outcome, signature: str) -> str:
    """The kind of the outcome's finding with this signature; empty where it has none."""
    return next((str(it.get("kind") or "") for it in outcome.findings if finding_signature(it) == signature), "")
