"""Pose error against the oracle, all cases and solvers at a glance: a dot plot on logarithmic axes with the tolerances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from harness.report.pictures.drawing import CROSS, Box, Series, line, marks, svg, tag, text, x_axis
from harness.report.pictures.scales import Log, log_scale
from harness.report.text import clean, count, number, shorten
from harness.report.yardsticks import MEASURES, Tolerance, exceeds

WIDTH, LEFT, GAP, ROW, TOP, BOTTOM = 1240.0, 214.0, 16.0, 17.0, 40.0, 24.0
NO_POSE = 74.0
"""Width of the last column."""

MOST_CASES = 60


@dataclass(frozen=True)
class Row:
    """Of one case: ``errors[solver][measure]``, and the judged solvers that came back without a pose."""

    case: str
    errors: Mapping[str, Mapping[str, float]]
    without: Sequence[str]


def worst_first(rows: Sequence[Row], tolerances: Mapping[str, Tolerance], most: int = MOST_CASES) -> list[Row]:
    """At most ``most``, in the order they came: those with the largest error, in tolerances, of any solver."""

    def badness(row: Row) -> float:
        ratios = [
            its[name] / tolerance.limit
            for its in row.errors.values()
            for name, tolerance in tolerances.items()
            if name in its and tolerance.limit
        ]
        return math.inf if row.without else max((ratio if ratio == ratio else math.inf for ratio in ratios), default=0.0)

    chosen = {row.case for row in sorted(rows, key=badness, reverse=True)[:most]}
    return [row for row in rows if row.case in chosen]


def pose_errors(
    rows: Sequence[Row], series: Mapping[str, Series], tolerances: Mapping[str, Tolerance], hrefs: Mapping[str, str]
) -> Markup:
    """Empty without rows. ``hrefs`` maps a case to where its name leads."""
    if not rows:
        return Markup()
    height = ROW * len(rows)
    aside = NO_POSE if any(row.without for row in rows) else 12.0
    each = (WIDTH - LEFT - aside - GAP * len(MEASURES)) / len(MEASURES)
    bands = "".join(f"M{-4} {TOP + ROW * (i + 0.5):.1f}H{WIDTH:.0f}" for i in range(0, len(rows), 2))
    parts = [tag("path", d=bands, class_="pic-band", stroke_width=ROW)]
    parts += [_name(row.case, TOP + ROW * (i + 0.5), hrefs.get(row.case)) for i, row in enumerate(rows)]
    for k, (measure, (title, unit)) in enumerate(MEASURES.items()):
        box = Box(LEFT + k * (each + GAP), TOP, each, height)
        parts += _panel(box, measure, title, unit, rows, series, tolerances.get(measure))
    if aside == NO_POSE:
        parts += _missing(Box(WIDTH - NO_POSE + 8, TOP, NO_POSE - 8, height), rows, series)
    return svg(WIDTH, TOP + height + BOTTOM, "Pose error against the oracle, per case and solver", _words(rows, tolerances), *parts)


def _name(case: str, y: float, href: str | None) -> Markup:
    words = text(LEFT - 10, y + 4, shorten(case, 34), text_anchor="end", class_="pic-ink")
    return tag("a", words, href=href) if href else words


def _panel(box: Box, measure: str, title: str, unit: str, rows: Sequence[Row], series: Mapping[str, Series],
           tolerance: Tolerance | None) -> list[Markup]:  # fmt: skip
    limit = tolerance.limit if tolerance and tolerance.limit > 0 else None
    values = [its[measure] for row in rows for its in row.errors.values() if measure in its]
    scale = log_scale([*values, limit or 0.0], room=2.0)
    parts = [text(box.x, 12, f"{title}, {unit}", class_="pic-name"), x_axis(box, scale, "", grid=True)]
    if limit is not None:
        x = float(box.x_of(scale.at(np.array([limit])))[0])
        parts += [tag("rect", x=x, y=box.y, width=box.x + box.width - x, height=box.height, class_="pic-beyond"),
                  line([(x, box.y - 6), (x, box.y + box.height)], class_="pic-tolerance"),
                  text(x, box.y - 10, f"tolerance {number(limit)}", text_anchor="end" if x > box.x + box.width / 2 else "start",
                       class_="pic-note")]  # fmt: skip
    return [*parts, *(_dots(box, scale, measure, rows, its) for its in series.values())]


def _dots(box: Box, scale: Log, measure: str, rows: Sequence[Row], its: Series) -> Markup:
    """What a logarithmic axis cannot show stands at its ends: zero at the left, not a number or infinite at the right."""
    sound, lost = [], []
    for i, row in enumerate(rows):
        value = row.errors.get(its.name, {}).get(measure)
        if value is None:
            continue
        y = box.y + ROW * (i + 0.5)
        if math.isfinite(value):
            sound.append((float(box.x_of(np.nan_to_num(scale.at(np.array([value])), nan=0.0))[0]), y))
        else:
            lost.append((box.x + box.width, y))
    crosses = marks(lost, CROSS, fill="none", stroke="currentColor", stroke_width=2)
    return tag("g", marks(sound, its.mark, fill="currentColor"), crosses, class_=its.style) if sound or lost else Markup()


def _missing(box: Box, rows: Sequence[Row], series: Mapping[str, Series]) -> list[Markup]:
    """The marks of the solvers that have no pose where the oracle has one."""
    parts = [text(box.x, 12, "no pose", class_="pic-name")]
    for name, its in series.items():
        order = [*series].index(name)
        points = [(box.x + 6 + 11 * min(order, 5), box.y + ROW * (i + 0.5)) for i, row in enumerate(rows) if name in row.without]
        parts.append(tag("g", marks(points, its.mark, fill="currentColor"), class_=its.style) if points else Markup())
    return parts


def _words(rows: Sequence[Row], tolerances: Mapping[str, Tolerance]) -> str:
    out = [
        f"{solver} on {row.case}"
        for row in rows
        for solver, its in row.errors.items()
        if any(exceeds(its.get(name), tolerance) for name, tolerance in tolerances.items())
    ]
    over = (
        f"beyond a tolerance: {', '.join(out[:20])}{', ...' if len(out) > 20 else ''}"
        if out
        else "every pose is within every tolerance"
    )
    return clean(f"{count(len(rows), 'case')}; {over}")
