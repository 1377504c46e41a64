"""The parity of one outcome as numbers, the tolerances it was held to, and which of its numbers exceed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import ResultError
from harness.outcome import Outcome
from harness.report.text import as_float, clean

MEASURES: dict[str, tuple[str, str]] = {
    "rotation_deg": ("rotation", "degrees"),
    "translation_rel": ("translation", "of the median depth"),
    "log_scale": ("log scale", "natural logarithm"),
    "d_sigma": ("d", "posterior standard deviations"),
}
"""Measure -> (short name, unit), in the order they are shown."""

YARDSTICKS: dict[str, str] = {
    "oracle": "against the oracle, stopped by the same rule",
    "optimum": "against the float64 optimum",
    "truth": "against the known truth",
}


@dataclass(frozen=True)
class Tolerance:
    limit: float
    reason: str


@dataclass(frozen=True)
class Parity:
    """Of a pose, or of the result of an op, which has no yardsticks but a verdict and a reason.

    ``errors`` maps a yardstick to its four measures; a yardstick that could not be applied is absent.
    """

    errors: Mapping[str, Mapping[str, float]]
    cost: float | None
    cost_oracle: float | None
    cost_optimum: float | None
    iterations_oracle: int | None
    status_oracle: str
    first_divergence: int | None  # counted from 0, as the journal does
    within: bool
    why: str


def read_parity(outcome: Outcome) -> Parity | None:
    """Raises ``ResultError`` naming the outcome and the field."""
    raw = outcome.parity
    if raw is None:
        return None
    where = " ".join(outcome.key)
    errors = {}
    for yardstick in YARDSTICKS:
        measured = raw.get(yardstick)
        if measured is None:
            continue
        if not isinstance(measured, Mapping):
            raise ResultError(clean(where), f"parity.{yardstick}", "is not an object")
        values = {name: as_float(measured.get(name), where, f"parity.{yardstick}.{name}") for name in MEASURES}
        errors[yardstick] = {name: value for name, value in values.items() if value is not None}
    costs = {name: as_float(raw.get(name), where, f"parity.{name}") for name in ("cost", "cost_oracle", "cost_optimum")}
    return Parity(
        errors=errors,
        cost=costs["cost"],
        cost_oracle=costs["cost_oracle"],
        cost_optimum=costs["cost_optimum"],
        iterations_oracle=raw.get("iterations_oracle"),
        status_oracle=str(raw.get("status_oracle") or ""),
        first_divergence=raw.get("first_divergence"),
        within=raw.get("within") is True,
        why=str(raw.get("why") or ""),
    )


def read_tolerances(plan: Mapping[str, Any]) -> dict[str, Tolerance]:
    """The tolerances the run was judged by, in the order of ``MEASURES``, unknown ones last."""
    raw: Mapping[str, Any] = plan.get("tolerances") or {}
    names = [name for name in MEASURES if name in raw] + [name for name in raw if name not in MEASURES]
    found = {}
    for name in names:
        limit = as_float(raw[name]["limit"], "run.json", f"plan.tolerances.{name}.limit")
        if limit is not None:
            found[name] = Tolerance(limit, clean(str(raw[name].get("reason") or "")))
    return found


def exceeds(value: float | None, tolerance: Tolerance | None) -> bool:
    """Written so that NaN exceeds every limit."""
    return value is not None and tolerance is not None and not (value <= tolerance.limit)
