"""Which poses of a case are worth a picture of their residuals: the first, the one the solvers agree on, and those that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.outcome import Kind
from harness.report.pictures.colormap import STEPS
from harness.report.pictures.material import Material, Pose, Solved, disagreeing
from harness.report.pictures.residuals import Residuals, residuals
from harness.report.pictures.scales import Log, Scale, Symmetric, log_scale
from harness.report.text import shorten

MOST_DIFFERING = 2


@dataclass(frozen=True)
class Look:
    """A pose to draw residuals at. ``found`` is None where there is no pose; ``note`` says why, or whose pose it is."""

    name: str
    note: str
    found: Residuals | None


@dataclass(frozen=True)
class Ranges:
    """The colour scales of a case: one for each residual, the same at every pose."""

    size: Log
    signed: Symmetric


def looks(material: Material) -> list[Look]:
    """The initial pose, the solved one, and at most two that a judged solver has instead of it."""
    names: list[tuple[str, str, Pose | None]] = [
        (
            "Initial pose",
            "where every solver starts" if material.initial else "no pose: a given one is no similarity",
            material.initial,
        )
    ]
    best = _agreed(material.solved)
    if best is None:
        names.append(("Solved pose", f"no pose: {_whose(material.solved)}", None))
    else:
        others = [
            it.series.label for it in material.solved if it is not best and it.pose is not None and it.outcome.judged and it.agrees
        ]
        note = f"{best.series.label}'s" + (f"; the same within tolerance: {shorten(', '.join(others), 80)}" if others else "")
        names.append(("Solved pose", note, best.pose))
        for it in [it for it in disagreeing(material.solved) if it is not best][:MOST_DIFFERING]:
            names.append((f"{it.series.label}'s pose", it.differs, it.pose))
    case = material.case
    assert case is not None
    return [Look(name, note, residuals(case, pose) if pose else None) for name, note, pose in names]


def _whose(solved: Sequence[Solved]) -> str:
    """Which solvers ended how, without a pose."""
    ends: dict[str, list[str]] = {}
    for it in solved:
        if it.outcome.judged and it.outcome.kind is not Kind.UNAVAILABLE:
            ends.setdefault(it.why, []).append(it.series.label)
    return shorten("; ".join(f"{end} ({', '.join(names)})" for end, names in ends.items()), 160) or "no solver was run"


def _agreed(solved: Sequence[Solved]) -> Solved | None:
    """The oracle where it has a pose, else the first judged solver that has one."""
    with_pose = [it for it in solved if it.pose is not None and it.outcome.judged]
    return next((it for it in with_pose if it.is_oracle), with_pose[0] if with_pose else None)


def ranges(found: Sequence[Look]) -> Ranges:
    """From the 5th percentile of the least to the 98th of the most residual, so that a few outliers do not take all colours."""
    first = [_percentiles(look.found.sizes[0]) for look in found if look.found is not None]
    second = [_percentiles(np.abs(look.found.sizes[1])) for look in found if look.found is not None]
    size = log_scale([low for low, _, _ in first] + [high for _, _, high in first], room=1, otherwise=(0.01, 1.0))
    limit = max((high for _, _, high in second if high > 0), default=1.0)
    straight = min((middle for _, middle, _ in second if middle > 0), default=limit / 3)
    size = Log(max(size.low, size.high / 1e4), size.high)
    return Ranges(size, Symmetric(limit, max(straight, limit / 100)))


def _percentiles(values: np.ndarray) -> tuple[float, float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return (0.0, 0.0, 0.0)
    low, middle, high = np.percentile(finite, [5, 50, 98])
    return float(low), float(middle), float(high)


def colour_numbers(scale: Scale, values: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """Numbers as colours from 1 to ``steps``, those beyond the scale as its ends; 0, no colour, where there is no number."""
    at = np.where(values == 0, np.nan_to_num(scale.at(values), nan=0.0), scale.at(values))  # zero is little even on a log scale
    numbered = np.where(np.isnan(at), -1.0, np.clip(at, 0, 1) * (steps - 1) + 1.5)
    return np.maximum(numbered, 0).astype(np.uint8)
