"""Cost and update norm of every iteration of every solver of a case, with the iteration that leaves the oracle's trace marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from harness.report.pictures.drawing import CROSS, Box, line, marks, svg, tag, text, x_axis, y_axis
from harness.report.pictures.material import Solved
from harness.report.pictures.scales import Linear, Scale, log_scale
from harness.report.text import count, number

WIDTH = 1040.0
PANELS = (("cost", "Cost before the step", 0.0), ("delta_norm", "Update norm |\u03b4|", 530.0))
MOST_DRAWN = 400
"""Records of one trace that are drawn; of a longer one every second, third, ... is."""

DASH = 9.0
"""Pixels of each of the lines that share one place, in turn."""

ALIKE = 0.02
"""Share by which two traces may differ and still lie on one another."""

CHANGE = "m-2.6 0h5.2l-2.6 4.5z"
"""What stands at the bottom for a zero or a negative number, which a logarithmic axis cannot show."""


@dataclass(frozen=True)
class Turn:
    """Which of the ``of`` lines that lie on one another a line is: it has every ``of``-th dash and every ``of``-th mark."""

    at: int
    of: int

    @property
    def stroke(self) -> dict[str, object]:
        if self.of == 1:
            return {"stroke_width": 2.0}
        dashes = f"{DASH:g} {DASH * (self.of - 1):g}"
        return {"stroke_width": 2.4, "stroke_dasharray": dashes, "stroke_dashoffset": -DASH * self.at, "stroke_linecap": "butt"}


def turns(drawn: Sequence[Solved]) -> dict[str, Turn]:
    """By solver. The oracle is a wide band below all others and needs no turn."""
    groups: list[list[Solved]] = []
    for it in (it for it in drawn if not it.is_oracle):
        home = next((group for group in groups if _alike(group[0], it)), None)
        if home is None:
            groups.append([it])
        else:
            home.append(it)
    return {it.name: Turn(i, len(group)) for group in groups for i, it in enumerate(group)}


def _alike(a: Solved, b: Solved) -> bool:
    one, other = (
        np.array([[record.cost, record.delta_norm] for record in it.outcome.trace], dtype=float) for it in (a, b)
    )  # fmt: skip
    return len(one) == len(other) and bool(np.allclose(one, other, rtol=ALIKE, atol=0, equal_nan=True))


def convergence(solved: Sequence[Solved], stops_below: float | None = None) -> Markup:
    """Empty without a trace. ``stops_below`` is the update norm at which the solvers stop."""
    drawn = [it for it in solved if it.outcome.trace]
    if not drawn:
        return Markup()
    longest = max(len(it.outcome.trace) for it in drawn)
    iterations = Linear(-0.3, max(longest - 1, 1) + 0.3)
    leaving = [it for it in drawn if it.diverges_at is not None]
    top = 30.0 + 14 * len(leaving)
    parts: list[Markup] = []
    odd = False
    turn = turns(drawn)
    for field, title, left in PANELS:
        box = Box(left + 62, top, 440, 156)
        values = {it.name: np.array([getattr(record, field) for record in it.outcome.trace], dtype=float) for it in drawn}
        limit = stops_below if field == "delta_norm" else None
        scale = log_scale([value for its in values.values() for value in its] + ([limit] if limit else []))
        parts += [
            y_axis(box, scale, ""),
            text(box.x, 21, title, class_="pic-name"),
            x_axis(box, iterations, "iteration", ticks=_whole(longest)),
        ]
        if limit:
            y = float(box.y_of(scale.at(np.array([limit])))[0])
            below = y + 12 if y + 14 < box.y + box.height else y - 4  # a trace comes from above
            parts += [line([(box.x, y), (box.x + box.width, y)], class_="pic-limit"),
                      text(box.x + 4, below, f"stops below {number(limit)}", class_="pic-note")]  # fmt: skip
        for it in drawn:
            found, was_odd = _trace(it, values[it.name], box, iterations, scale, turn.get(it.name))
            parts.append(found)
            odd |= was_odd
        parts += [_divergence(i, it, box, iterations) for i, it in enumerate(leaving)]
    if odd:
        parts.append(
            text(
                62, top + 206, "\u00d7 at the top: not a finite number.  \u25be at the bottom: zero or negative.", class_="pic-note"
            )
        )
    return svg(
        WIDTH, top + (212 if odd else 194), "Cost and update norm by iteration", "; ".join(_words(it) for it in drawn), *parts
    )


def _trace(it: Solved, values: np.ndarray, box: Box, iterations: Scale, scale: Scale, turn: Turn | None) -> tuple[Markup, bool]:
    """One solver's line in one panel, and whether some of it has no place there. ``turn`` is None for the oracle."""
    k = np.arange(len(values))
    if len(k) > MOST_DRAWN:
        k = np.unique(np.append(k[:: math.ceil(len(k) / MOST_DRAWN)], k[-1]))
    x, at = box.x_of(iterations.at(k)), scale.at(values[k])
    points = list(zip(x, box.y_of(at), strict=True))  # NaN stays NaN
    endless = [(place, box.y) for place, value in zip(x, values[k], strict=True) if not np.isfinite(value)]
    low = [(place, box.y + box.height - 5) for place, value in zip(x, values[k], strict=True) if value <= 0]
    drawn = tag(
        "g",
        line(points, class_="pic-trace pic-band-of" if turn is None else "pic-trace", **({} if turn is None else turn.stroke)),
        marks(_marked(points, turn), it.series.mark, class_="pic-marks"),
        marks(endless, CROSS, fill="none", stroke="currentColor", stroke_width=1.6),
        marks(low, CHANGE, class_="pic-marks"),
        class_=it.series.style,
    )  # fmt: skip
    return drawn, bool(endless or low)


def _marked(points: Sequence[tuple[float, float]], turn: Turn | None) -> list[tuple[float, float]]:
    """Where a mark is drawn: of a long trace at its end, of the oracle nowhere, for its band is under everything."""
    sound = [(i, point) for i, point in enumerate(points) if np.isfinite(point[1])]
    if turn is None:
        return [point for _, point in sound] if len(points) == 1 else []  # one point makes no band
    if len(points) > 60:
        return [point for _, point in sound[-1:]]
    return [point for i, point in sound if i % turn.of == turn.at]


def _divergence(i: int, it: Solved, box: Box, iterations: Scale) -> Markup:
    """A dashed line where a solver leaves the oracle's trace, up to its name; several names are above one another."""
    k = it.diverges_at
    assert k is not None
    x = float(box.x_of(iterations.at(np.array([k])))[0])
    right, y = x < box.x + 0.6 * box.width, box.y - 7 - 14 * i
    words = text(
        x + (5 if right else -5),
        y + 4,
        f"{it.series.label} leaves at {k}",
        text_anchor="start" if right else "end",
        class_="pic-mark",
    )
    return tag("g", line([(x, y - 4), (x, box.y + box.height)], class_="pic-leaves"), words, class_=it.series.style)


def _whole(longest: int) -> list[float]:
    """Iterations count from 0; at most about ten are numbered."""
    step = next(step * 10**power for power in range(9) for step in (1, 2, 5) if longest / (step * 10**power) <= 10)
    return [float(k) for k in range(0, longest, step)]


def _words(it: Solved) -> str:
    trace, k = it.outcome.trace, it.diverges_at
    leaves = (
        "" if it.is_oracle else f", {'never leaves' if k is None else 'leaves'} the oracle's trace{'' if k is None else f' at {k}'}"
    )
    costs = f"cost {number(trace[0].cost)} to {number(trace[-1].cost)}, last update {number(trace[-1].delta_norm)}"
    return f"{it.series.label}: {count(len(trace), 'iteration')}, {costs}{leaves}"
