"""Residuals before and after as histograms: for cases whose points are no image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from harness.report.pictures.columns import Look, Ranges
from harness.report.pictures.drawing import Box, short, svg, tag, x_axis, y_axis
from harness.report.pictures.residuals import QUANTITIES, Quantity
from harness.report.pictures.scales import Linear, Log, Scale, Symmetric
from harness.report.text import count, number

WIDTH, HEIGHT = 1040.0, 150.0
BINS = 40


def histograms(kind: str, looked: Sequence[Look], scales: Ranges) -> Markup:
    """One panel per quantity, one outline per pose; what is beyond the axis is counted in its end bins. Empty without a number."""
    if not any(np.isfinite(look.found.sizes[0]).any() for look in looked if look.found is not None):
        return Markup()
    parts: list[Markup] = []
    words = []
    for i, (quantity, scale) in enumerate(zip(QUANTITIES[kind], _wider(scales), strict=True)):
        box = Box(62 + 530 * i, 26, 440, 86)
        shares = [_shares(look, i, scale) for look in looked]
        top = max((float(share.max()) for share in shares if share is not None), default=1.0) or 1.0
        parts += [y_axis(box, Linear(0, 100 * top), f"{quantity.title}, {quantity.unit}: % of the points"), x_axis(box, scale, "")]
        parts += [_outline(share / top, box, pose) for pose, share in enumerate(shares) if share is not None]
        words += [_words(quantity, look, look.found.sizes[i]) for look in looked if look.found is not None]
    return svg(WIDTH, HEIGHT - 18, "Histograms of the residuals at the initial and the solved pose", "; ".join(words), *parts)


def _wider(scales: Ranges) -> tuple[Scale, Scale]:
    """The colours' ranges with room, for the tails of a histogram tell something."""
    size, signed = scales.size, scales.signed
    return Log(size.low / 3, size.high * 2), Symmetric(signed.limit * 1.5, signed.straight)


def _shares(look: Look, i: int, scale: Scale) -> np.ndarray | None:
    """(BINS,) share of the points in each bin, or None where there are none."""
    if look.found is None:
        return None
    values = look.found.sizes[i]
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    at = np.clip(np.nan_to_num(scale.at(values), nan=0.0), 0, 1 - 1e-9)  # zero has no place on a logarithmic axis: the low end
    return np.bincount((at * BINS).astype(int), minlength=BINS) / len(values)


def _outline(heights: np.ndarray, box: Box, pose: int) -> Markup:
    """From the first bin that holds something to the last, in steps."""
    used = np.flatnonzero(heights)
    first, last = used[0], used[-1] + 1
    x, y = box.x + np.arange(BINS + 1) * box.width / BINS, box.y_of(heights)
    steps = "".join(f"V{short(y[k])}H{short(x[k + 1])}" for k in range(first, last))
    bottom = short(box.y + box.height)
    return tag("path", d=f"M{short(x[first])} {bottom}{steps}V{bottom}", class_=f"pic-histogram pic-pose{min(pose, 3)}")


def _words(quantity: Quantity, look: Look, values: np.ndarray) -> str:
    finite = np.abs(values[np.isfinite(values)])
    middle = number(float(np.median(finite))) if len(finite) else "none"
    return f"{look.name}: {quantity.title.lower()} of {count(len(finite), 'point')}, median {middle} {quantity.unit}"


def key(looked: Sequence[Look]) -> Markup:
    """Which outline is which."""
    return Markup("").join(
        tag("span", tag("i", class_=f"pic-line pic-pose{min(pose, 3)}"), " ", tag("b", look.name), f" {look.note}")
        for pose, look in enumerate(looked)
    )
