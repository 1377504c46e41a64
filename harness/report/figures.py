"""Which figures a run gets: all of them for a small run, the telling ones for a large run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.outcome import Outcome
from harness.report.plots import Series, convergence, pose_errors, solve_times, times
from harness.report.text import clean, number
from harness.report.yardsticks import Parity, Tolerance
from harness.run import Run

MAX_CONVERGENCE = 48
MAX_POSE_CASES = 60

Parities = Sequence[Parity | None]
"""In the order of ``run.outcomes``."""


@dataclass(frozen=True)
class Convergence:
    case: str
    href: str
    svg: Markup


@dataclass(frozen=True)
class TimeRow:
    solver: str
    solves: int
    median: str
    fastest: str
    slowest: str
    replay: str


@dataclass(frozen=True)
class Figures:
    """``*_left_out`` is how many cases a figure would have had more."""

    series: tuple[Series, ...]
    convergence: tuple[Convergence, ...]
    convergence_left_out: int
    pose_errors: Markup | None
    pose_errors_left_out: int
    times: Markup | None
    time_rows: tuple[TimeRow, ...]


def draw_figures(run: Run, parities: Parities, tolerances: Mapping[str, Tolerance], case_hrefs: Mapping[str, str]) -> Figures:
    solvers = dict.fromkeys(outcome.solver for outcome in run.outcomes if outcome.trace or outcome.parity or outcome.solve_seconds)
    series = {solver: Series(solver, order) for order, solver in enumerate(solvers)}
    small_multiples, left_out = _convergence(run, parities, series, case_hrefs)
    errors = _errors(run, parities)
    worst = dict.fromkeys(sorted(errors, key=lambda case: -_badness(errors[case], tolerances))[:MAX_POSE_CASES])
    shown = {case: its for case, its in errors.items() if case in worst}
    return Figures(
        series=tuple(series.values()),
        convergence=small_multiples,
        convergence_left_out=left_out,
        pose_errors=pose_errors(shown, series, tolerances, {case: case for case in shown}, "fig-pose") if shown else None,
        pose_errors_left_out=len(errors) - len(shown),
        times=times(run.outcomes, series, "fig-time"),
        time_rows=_time_rows(run, series),
    )


def _convergence(run: Run, parities: Parities, series: Mapping[str, Series],
                 case_hrefs: Mapping[str, str]) -> tuple[tuple[Convergence, ...], int]:  # fmt: skip
    """Cases with a failure come first. A tool slows a solver down but does not change its trace, so it is not drawn again."""
    by_case: dict[str, list[tuple[Outcome, Parity | None]]] = {}
    for outcome, parity in zip(run.outcomes, parities, strict=True):
        if outcome.trace and outcome.how == "none":
            by_case.setdefault(outcome.case, []).append((outcome, parity))
    failed = {outcome.case for outcome in run.outcomes if outcome.expected is False}
    cases = sorted(by_case, key=lambda case: case not in failed)
    drawn = []
    for i, case in enumerate(cases[:MAX_CONVERGENCE]):
        outcomes, its_parities = zip(*by_case[case], strict=True)
        drawn.append(Convergence(clean(case), case_hrefs[case], convergence(outcomes, its_parities, series, f"fig-c{i}")))
    return tuple(drawn), max(0, len(cases) - MAX_CONVERGENCE)


def _errors(run: Run, parities: Parities) -> dict[str, dict[str, Mapping[str, float]]]:
    """errors[case][solver][measure] against the oracle."""
    errors: dict[str, dict[str, Mapping[str, float]]] = {}
    for outcome, parity in zip(run.outcomes, parities, strict=True):
        if parity and outcome.how == "none" and "oracle" in parity.errors:
            errors.setdefault(outcome.case, {})[outcome.solver] = parity.errors["oracle"]
    return errors


def _badness(errors: Mapping[str, Mapping[str, float]], tolerances: Mapping[str, Tolerance]) -> float:
    """How far the second worst solver is over its worst tolerance (the worst is the baseline); NaN is as far as can be."""
    worst = []
    for measured in errors.values():
        ratios = [
            measured[name] / tolerance.limit for name, tolerance in tolerances.items() if name in measured and tolerance.limit
        ]
        worst.append(max((ratio if ratio == ratio else float("inf") for ratio in ratios), default=0.0))
    return sorted(worst)[-2:][0] if worst else 0.0


def _time_rows(run: Run, series: Mapping[str, Series]) -> tuple[TimeRow, ...]:
    rows = []
    for solver in series:
        ms = solve_times(run.outcomes, solver)
        if ms:
            replays = [outcome.seconds for outcome in run.outcomes if outcome.solver == solver and outcome.how == "none"]
            rows.append(
                TimeRow(
                    solver=clean(solver),
                    solves=len(ms),
                    median=number(statistics.median(ms)),
                    fastest=number(min(ms)),
                    slowest=number(max(ms)),
                    replay=number(statistics.median(replays)),
                )
            )
    return tuple(rows)
