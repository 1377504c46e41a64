"""From a number to a place on an axis, 0 to 1, and ticks people can read. A scale takes any float and says what it cannot show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

MOST_TICKS = 6
_LEAST, _MOST = 1e-30, 1e30
"""No logarithmic axis goes beyond these: a hostile number must not cost the others their axis."""


class Scale(Protocol):
    """``at`` is 0 at the low end and 1 at the high end, beyond them outside, and NaN for what the scale cannot show."""

    def at(self, values: np.ndarray) -> np.ndarray: ...

    def ticks(self) -> list[float]: ...


@dataclass(frozen=True)
class Linear:
    low: float
    high: float

    def at(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray((values - self.low) / (self.high - self.low))

    def ticks(self) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten."""
        return _multiples(self.low, self.high)


@dataclass(frozen=True)
class Log:
    """Of positive numbers; zero, negative and not finite ones have no place."""

    low: float
    high: float

    def at(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            placed = np.log(values / self.low) / math.log(self.high / self.low)
        return np.where(np.isfinite(placed), placed, np.nan)

    def ticks(self) -> list[float]:
        """Powers of ten where there are two, else their multiples by 2 and 5, else plain numbers."""
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        powers = list(range(first, last + 1))
        if len(powers) >= 2:
            return [10.0**power for power in powers[:: math.ceil(len(powers) / MOST_TICKS)]]
        found = [m * 10.0**power for power in range(first - 1, last + 1) for m in (1, 2, 5)]
        found = [value for value in found if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]
        return found if len(found) >= 2 else _multiples(self.low, self.high)


@dataclass(frozen=True)
class Symmetric:
    """From -limit to limit through zero: straight within ``straight``, logarithmic beyond (asinh)."""

    limit: float
    straight: float

    def at(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(0.5 + 0.5 * np.arcsinh(values / self.straight) / math.asinh(self.limit / self.straight))

    def ticks(self) -> list[float]:
        """Zero, and to both sides up to two powers of ten above ``straight``; plain numbers where there is none."""
        powers = range(math.ceil(math.log10(self.straight) - 1e-9), math.floor(math.log10(self.limit) + 1e-9) + 1)
        sides = [10.0**power for power in powers][-2:]
        return _multiples(-self.limit, self.limit) if not sides else [*(-value for value in reversed(sides)), 0.0, *sides]


def _multiples(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next((step * m for m in (1, 2, 5) if (high - low) / (step * m) <= MOST_TICKS - 1), step * 10)
    return [
        round(k * step, 12 - math.floor(math.log10(step)))
        for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def log_scale(values: Iterable[float], *, room: float = 1.25, otherwise: tuple[float, float] = (1e-6, 1.0)) -> Log:
    """A logarithmic scale that holds every positive finite value, with ``room`` as a factor at both ends."""
    positive = [min(max(value, _LEAST), _MOST) for value in values if 0 < value < math.inf]
    if not positive:
        return Log(*otherwise)
    low, high = min(positive) / room, max(positive) * room
    if high < 1.6 * low:  # all but one value: show it in a place of its own
        low, high = low / 1.3, high * 1.3
    return Log(low, high)
