"""What is easier to see than to read: convergence, pose error, time. Each function draws one figure or nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.outcome import IterationRecord, Outcome
from harness.report.svg import BAD, BAND, INK, MUTED, RULE, SERIES, drawing, inline_svg
from harness.report.text import as_float, number, shorten
from harness.report.yardsticks import MEASURES, Parity, Tolerance

MARKERS = ("o", "^", "s", "D", "v", "P")
MARKER_SIGNS = ("\u25cf", "\u25b2", "\u25a0", "\u25c6", "\u25bc", "\u271a")
LINEAR_BELOW = 30.0
"""A range narrower than this factor gets a linear axis: a logarithmic one would have a single tick."""


@dataclass(frozen=True)
class Series:
    """How a solver is drawn, in every figure. ``order`` is its place among the solvers."""

    name: str
    order: int

    @property
    def index(self) -> int:
        return self.order % len(SERIES)

    @property
    def color(self) -> str:
        return SERIES[self.index]

    @property
    def marker(self) -> str:
        return MARKERS[self.index]

    @property
    def sign(self) -> str:
        return MARKER_SIGNS[self.index]

    @property
    def width(self) -> float:
        """Earlier solvers get wider lines, so that a later one on top of them hides nothing."""
        return (4.6, 2.0, 1.0)[min(self.order, 2)]


def convergence(outcomes: Sequence[Outcome], parities: Sequence[Parity | None], series: Mapping[str, Series], name: str) -> Markup:
    """Cost before, and length of, each step (from 0) of every solver that left a trace of one case."""
    with drawing():
        figure = Figure(figsize=(4.1, 1.55))
        left, right = figure.subplots(1, 2)
        for axes, field, title in ((left, "cost", "cost"), (right, "delta_norm", "update norm")):
            drawn: list[float] = []
            for outcome, parity in zip(outcomes, parities, strict=True):
                drawn += _trace(axes, outcome.trace, field, series[outcome.solver])
                if parity and parity.first_divergence is not None:
                    axes.axvline(parity.first_divergence, color=series[outcome.solver].color, linewidth=0.8, linestyle=(0, (2, 2)))
            _value_axis(axes, drawn)
            axes.set_title(title, loc="left", color=MUTED)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        figure.subplots_adjust(left=0.115, right=0.985, top=0.88, bottom=0.135, wspace=0.34)
        solvers = ", ".join(outcome.solver for outcome in outcomes)
        return inline_svg(figure, name, f"Cost and update norm by iteration: {shorten(solvers, 200)}")


def _trace(axes: Axes, trace: Sequence[IterationRecord], field: str, series: Series) -> list[float]:
    """Draw what can be drawn and return it; a value that is not finite breaks the line."""
    values = [getattr(record, field) for record in trace]
    shown = [value if math.isfinite(value) else math.nan for value in values]
    axes.plot(
        range(len(values)), shown, color=series.color, linewidth=series.width, marker=series.marker,
        markersize=series.width + 2, markeredgewidth=0, solid_capstyle="round",
    )  # fmt: skip
    return [value for value in shown if not math.isnan(value)]


def _value_axis(axes: Axes, values: list[float]) -> None:
    positive = [value for value in values if value > 0]
    if not values:
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        axes.set_yticks([])
        return
    if positive and max(positive) > LINEAR_BELOW * min(positive):
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 5)))


def pose_errors(errors: Mapping[str, Mapping[str, Mapping[str, float]]], series: Mapping[str, Series],
                tolerances: Mapping[str, Tolerance], names: Mapping[str, str], name: str) -> Markup:  # fmt: skip
    """``errors[case][solver][measure]`` on a logarithmic axis per measure, one line per case, ``names[case]`` beside it."""
    cases = list(errors)
    with drawing():
        figure = Figure(figsize=(12.2, 0.75 + 0.185 * len(cases)))
        panels = figure.subplots(1, len(MEASURES), sharey=True, squeeze=False)[0]
        for axes, (measure, (title, unit)) in zip(panels, MEASURES.items(), strict=True):
            limit = tolerances[measure].limit if measure in tolerances else None
            points = [(row, solver, errors[case][solver].get(measure)) for row, case in enumerate(cases) for solver in errors[case]]
            low, high = _log_bounds([value for _, _, value in points if value is not None], limit)
            for row in range(0, len(cases), 2):
                axes.axhspan(row - 0.5, row + 0.5, color=BAND, linewidth=0)
            if limit is not None:
                axes.axvline(limit, color=BAD, linewidth=0.9, linestyle=(0, (4, 2)))
            for solver, its in series.items():
                _dots(axes, [(row, value) for row, who, value in points if who == solver and value is not None], its, low, high)
            axes.set_xscale("log")
            axes.set_xlim(low, high)
            axes.set_title(f"{title}, {unit}", loc="left")
            _decades(axes)
        panels[0].set_ylim(len(cases) - 0.5, -0.5)
        panels[0].set_yticks(range(len(cases)), [shorten(names[case], 34) for case in cases], color=INK)
        for axes in panels:
            axes.tick_params(axis="y", length=0, pad=8)
            axes.spines["left"].set_visible(False)
        height = figure.get_figheight()
        figure.subplots_adjust(left=0.175, right=0.995, top=1 - 0.25 / height, bottom=0.3 / height, wspace=0.07)
        return inline_svg(figure, name, "Pose error against the oracle, per case and solver, with the tolerances")


def _dots(axes: Axes, points: Iterable[tuple[int, float]], series: Series, low: float, high: float) -> None:
    """Values that a logarithmic axis cannot show stand at its ends: zero at the left, not a number or infinite at the right."""
    rows, values, lost = [], [], []
    for row, value in points:
        if math.isfinite(value):
            rows.append(row)
            values.append(min(max(value, low), high))
        else:
            lost.append(row)
    size = 5.4 - 0.7 * series.index
    axes.plot(
        values, rows, linestyle="", marker=series.marker, markersize=size, color=series.color, markeredgewidth=0, clip_on=False
    )
    axes.plot(
        [high] * len(lost), lost, linestyle="", marker="x", markersize=5, color=series.color, markeredgewidth=1.6, clip_on=False
    )


def _log_bounds(values: list[float], limit: float | None) -> tuple[float, float]:
    shown = [value for value in [*values, limit] if value is not None and math.isfinite(value) and value > 0] or [1e-6, 1.0]
    return max(min(shown), 1e-16) / 3, min(max(shown), 1e16) * 3


def _decades(axes: Axes) -> None:
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)


def times(outcomes: Sequence[Outcome], series: Mapping[str, Series], name: str) -> Markup | None:
    """Milliseconds of every solve on a logarithmic axis, one line per solver, a bar at the median. None without a time."""
    measured = {solver: solve_times(outcomes, solver) for solver in series}
    measured = {solver: sorted(ms) for solver, ms in measured.items() if ms}
    if not measured:
        return None
    with drawing():
        figure = Figure(figsize=(12.2, 0.55 + 0.32 * len(measured)))
        axes = figure.subplots()
        for row, (solver, ms) in enumerate(measured.items()):
            its = series[solver]
            axes.plot(
                ms, [row] * len(ms), linestyle="", marker=its.marker, markersize=5, color=its.color, alpha=0.45, markeredgewidth=0
            )
            axes.plot([ms[len(ms) // 2]] * 2, [row - 0.36, row + 0.36], color=its.color, linewidth=2)
        axes.set_xscale("log")
        _decades(axes)
        axes.set_ylim(len(measured) - 0.5, -0.5)
        axes.set_yticks(range(len(measured)), [shorten(solver, 30) for solver in measured], color=INK)
        axes.tick_params(axis="y", length=0, pad=8)
        axes.spines["left"].set_visible(False)
        height = figure.get_figheight()
        figure.subplots_adjust(left=0.175, right=0.995, top=1 - 0.06 / height, bottom=0.3 / height)
        return inline_svg(figure, name, "Milliseconds per solve, by solver")


def solve_times(outcomes: Iterable[Outcome], solver: str) -> list[float]:
    """Milliseconds, of the solves without a tool that were timed: a sanitizer's slowness is not the solver's."""
    seconds = [
        as_float(outcome.solve_seconds, " ".join(outcome.key), "solve_seconds")
        for outcome in outcomes
        if outcome.solver == solver and outcome.how == "none"
    ]
    return [value * 1e3 for value in seconds if value is not None and math.isfinite(value) and value > 0]
