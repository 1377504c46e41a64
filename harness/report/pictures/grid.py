"""Which image a case's points are the pixels of. A calibrated case says; of rays it is found, never guessed."""

from __future__ import annotations

import math

import numpy as np

from harness.case import Case

ALIKE = 0.95
"""Least correlation of a ray's slopes with its column and row. On the shipped frames it is above 0.9999 at the true width; at a
wrong one the columns' is below 0.6."""
_SMALLEST = 8
_SAMPLE = 1 << 16


def image_grid(case: Case) -> tuple[int, int] | None:
    """(height, width) of the keyframe's image that the points are the pixels of, row by row, or None."""
    n = case.document.n_points
    if case.document.kind == "calib":
        size = case.options.img_size
        return size if size is not None and math.prod(size) == n else None
    widths = [width for width in range(_SMALLEST, n // _SMALLEST + 1) if n % width == 0]
    if not widths:
        return None
    with np.errstate(all="ignore"):
        slopes = case.as_float("Xk")[:, :2] / case.as_float("Xk")[:, 2:]
    usable = np.flatnonzero(np.isfinite(slopes).all(axis=1))
    pixel = usable[:: max(1, len(usable) // _SAMPLE)]
    if len(pixel) < 3:
        return None
    fits = {width: _fit(slopes[pixel], pixel, width) for width in widths}
    best = max(fits, key=lambda width: fits[width])
    return (n // best, best) if fits[best] >= ALIKE else None


def _fit(slopes: np.ndarray, pixel: np.ndarray, width: int) -> float:
    """The worse of the two correlations: x/z with the column, y/z with the row. 0 where one does not vary."""
    row, column = np.divmod(pixel, width)
    return min(_correlation(slopes[:, 0], column), _correlation(slopes[:, 1], row))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        a, b = a - a.mean(), b - b.mean()
        found = float((a @ b) / math.sqrt((a @ a) * (b @ b) or math.inf))
    return found if math.isfinite(found) else 0.0
