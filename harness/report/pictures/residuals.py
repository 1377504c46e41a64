"""What is left of each point at a pose: the numbers behind the heat maps, histograms and the colours of the 3D view.

The residuals are ``harness.compare``'s, which no solver shares; here they become degrees, shares and pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

import numpy as np

from harness.case import Case
from harness.compare import residual_rows, valid_points, whitened


class State(IntEnum):
    """What becomes of a point at a pose."""

    COUNTS = 0
    MASKED = 1
    UNSEEN = 2
    UNWEIGHTED = 3
    UNDEFINED = 4


STATE_WORDS: Mapping[State, str] = MappingProxyType(
    {
        State.COUNTS: "used",
        State.MASKED: "masked (valid is false)",
        State.UNSEEN: "outside the image or behind the camera",
        State.UNWEIGHTED: "confidence 0",
        State.UNDEFINED: "not a finite number",
    }
)


@dataclass(frozen=True)
class Quantity:
    """A residual that people can picture. ``signed`` ones show both a size and a direction."""

    title: str
    unit: str
    what: str
    signed: bool


QUANTITIES: Mapping[str, tuple[Quantity, Quantity]] = MappingProxyType(
    {
        "ray_dist": (
            Quantity("Ray angle", "\u00b0", "angle between the two rays of a match", signed=False),
            Quantity("Distance", "%", "how much farther the keyframe's point is, as a share of its distance", signed=True),
        ),
        "calib": (
            Quantity("Pixel error", "px", "distance between the two pixels of a match", signed=False),
            Quantity("Depth", "%", "how much deeper the keyframe's point is: difference of the log depths \u00d7 100", signed=True),
        ),
    }
)
"""The two residuals of a kind of case, in the order of ``Residuals.sizes``."""


@dataclass(frozen=True)
class Residuals:
    """All (N,). ``sizes`` are the two ``QUANTITIES``, NaN where the point has none; ``weight`` is the least Huber weight of a
    point's rows, 1 for an inlier; ``state`` holds a ``State`` each."""

    sizes: tuple[np.ndarray, np.ndarray]
    weight: np.ndarray
    state: np.ndarray

    def count(self, *states: State) -> int:
        return int(np.isin(self.state, states).sum())


def residuals(case: Case, T_CkCf: Sequence[float]) -> Residuals:
    """Of every point of a ray_dist or calib case at a pose of 8 numbers, whatever they are. Reports, never raises."""
    rows, seen = residual_rows(case, T_CkCf)
    confidence = case.as_float("Qk")[:, 0]
    with np.errstate(all="ignore"):
        if case.document.kind == "calib":
            sizes = np.hypot(rows[:, 0], rows[:, 1]), 100 * rows[:, 2]
        else:
            chord = np.linalg.norm(rows[:, :3], axis=1)
            distance = np.linalg.norm(case.as_float("Xk"), axis=1)
            sizes = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1))), 100 * rows[:, 3] / distance
        a = whitened(case, rows)
        weight = np.minimum(1, case.options.huber / a.max(axis=1, initial=0))  # of zero: 1
    state = np.full(len(rows), State.COUNTS, dtype=np.uint8)
    state[confidence == 0] = State.UNWEIGHTED
    state[~np.isfinite(np.column_stack([*sizes, a])).all(axis=1)] = State.UNDEFINED
    state[~seen] = State.UNSEEN
    state[~valid_points(case)] = State.MASKED
    shown = (state == State.COUNTS) | (state == State.UNWEIGHTED)
    first, second, weight = (np.where(shown, values, np.nan) for values in (*sizes, weight))
    return Residuals((first, second), weight, state)
