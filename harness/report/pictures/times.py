"""Time per solve against the number of points, both on logarithmic axes, for all solvers of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from harness.outcome import Kind, Outcome
from harness.report.pictures.drawing import Box, Series, line, marks, svg, tag, text, x_axis, y_axis
from harness.report.pictures.scales import Scale, log_scale
from harness.report.text import as_float, clean, number

WIDTH, HEIGHT = 1040.0, 340.0


@dataclass(frozen=True)
class Timed:
    """One solve. ``seconds`` as the child measured it, ``iterations`` as the solver counted them."""

    n_points: int
    seconds: float
    iterations: int | None


@dataclass(frozen=True)
class TimeRow:
    """A solver's times in words."""

    solver: str
    idle: bool
    solves: int
    median: str
    fastest: str
    slowest: str
    per_iteration: str
    replay: str


def timed(outcomes: Iterable[Outcome], solver: str, points: Mapping[str, int]) -> list[Timed]:
    """Of the solves that gave a pose, without a tool, on a case with points: a sanitizer's slowness is not the solver's."""
    found = []
    for outcome in outcomes:
        if outcome.solver != solver or outcome.how != "none" or not points.get(outcome.case):
            continue
        seconds = as_float(outcome.solve_seconds, " ".join(outcome.key), "solve_seconds")
        if seconds is not None and 0 < seconds < math.inf and outcome.kind is Kind.OK:
            found.append(Timed(points[outcome.case], seconds, outcome.iterations))
    return found


def times(outcomes: Sequence[Outcome], series: Mapping[str, Series], points: Mapping[str, int]) -> Markup:
    """Empty without a time. A baseline that does not iterate is the floor of this run: what a call costs at least."""
    measured = {name: its for name in series if (its := timed(outcomes, name, points))}
    if not measured:
        return Markup()
    idle = idle_solvers(outcomes)
    every = [solve for its in measured.values() for solve in its]
    box = Box(62, 26, WIDTH - 62 - 190, HEIGHT - 26 - 44)
    across = log_scale((solve.n_points for solve in every), room=1.4)
    up = log_scale((solve.seconds * 1e3 for solve in every), room=1.6)
    parts = [y_axis(box, up, "Time per solve, ms"), x_axis(box, across, "points N")]
    ends: list[tuple[float, Markup]] = []
    for name, its in measured.items():
        if name in idle:
            drawn, end = _floor(box, up, series[name], its)
        else:
            drawn, end = _solver(box, across, up, series[name], its, 4 * (series[name].order - len(measured) / 2))
        parts.append(drawn)
        ends.append(end)
    parts += _apart(ends)
    words = "; ".join(_words(series[name].label, its) for name, its in measured.items())
    return svg(WIDTH, HEIGHT, "Time per solve by number of points", words, *parts)


def _floor(box: Box, up: Scale, its: Series, solves: Sequence[Timed]) -> tuple[Markup, tuple[float, Markup]]:
    """A dashed line across, and beyond its end, where no mark is, its name."""
    floor = statistics.median(solve.seconds for solve in solves) * 1e3
    y = float(box.y_of(up.at(np.array([floor])))[0])
    rule = tag("g", line([(box.x, y), (box.x + box.width, y)], class_="pic-leaves"), class_=its.style)
    words = text(box.x + box.width + 12, 0, f"floor ({its.label}): {number(floor)} ms", class_="pic-mark")
    return rule, (y, tag("g", words, class_=its.style))


def _solver(box: Box, across: Scale, up: Scale, its: Series, solves: Sequence[Timed],
            aside: float) -> tuple[Markup, tuple[float, Markup]]:  # fmt: skip
    """Marks and the line through the medians, drawn ``aside``, for marks at one place hide one another; and its end with a name."""

    def places(solves_and_seconds: np.ndarray) -> list[tuple[float, float]]:
        n, seconds = solves_and_seconds.T
        x, y = box.x_of(across.at(n)) + aside, box.y_of(up.at(seconds * 1e3))
        return list(dict.fromkeys(zip(x.round(1).tolist(), y.round(1).tolist(), strict=True)))

    through = places(_medians(solves))
    dots = places(np.array([[solve.n_points, solve.seconds] for solve in solves]))
    drawn = tag(
        "g",
        line(through, class_="pic-trace", stroke_width=1.6),
        marks(dots, its.mark, fill="currentColor", opacity=0.5),
        class_=its.style,
    )
    name = tag("g", text(through[-1][0] + 12, 0, its.label, class_="pic-mark"), class_=its.style)
    return drawn, (through[-1][1], name)


def idle_solvers(outcomes: Sequence[Outcome]) -> set[str]:
    """Baselines that claim no parity and take no step."""
    ended = [outcome for outcome in outcomes if outcome.kind is Kind.OK]
    return {outcome.solver for outcome in ended if not outcome.judged} - {
        outcome.solver for outcome in ended if outcome.judged or outcome.iterations
    }


def _medians(solves: Sequence[Timed]) -> np.ndarray:
    """(k, 2): every number of points that occurs, and the median of its times."""
    sizes = sorted({solve.n_points for solve in solves})
    return np.array([[n, statistics.median(solve.seconds for solve in solves if solve.n_points == n)] for n in sizes], dtype=float)


def _apart(ends: list[tuple[float, Markup]]) -> list[Markup]:
    """Names at the ends of lines, moved down so that none is on another."""
    placed, last = [], -math.inf
    for y, name in sorted(ends, key=lambda end: end[0]):
        last = max(y, last + 14)
        placed.append(tag("g", name, transform=f"translate(0 {last + 4:.1f})"))
    return placed


def _words(name: str, solves: Sequence[Timed]) -> str:
    ms = [solve.seconds * 1e3 for solve in solves]
    return f"{name}: {number(min(ms))} to {number(max(ms))} ms, median {number(statistics.median(ms))}"


def time_rows(outcomes: Sequence[Outcome], series: Mapping[str, Series], points: Mapping[str, int]) -> tuple[TimeRow, ...]:
    rows, idle = [], idle_solvers(outcomes)
    for name in series:
        solves = timed(outcomes, name, points)
        if solves:
            ms = [solve.seconds * 1e3 for solve in solves]
            each = [solve.seconds * 1e3 / solve.iterations for solve in solves if solve.iterations]
            replays = [outcome.seconds for outcome in outcomes if outcome.solver == name and outcome.how == "none"]
            rows.append(
                TimeRow(
                    solver=clean(name),
                    idle=name in idle,
                    solves=len(ms),
                    median=number(statistics.median(ms)),
                    fastest=number(min(ms)),
                    slowest=number(max(ms)),
                    per_iteration=number(statistics.median(each)) if each else "\u2013",
                    replay=number(statistics.median(replays)),
                )
            )
    return tuple(rows)
