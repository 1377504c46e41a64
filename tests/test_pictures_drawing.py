"""Scales, colours and what is drawn of traces, errors and times."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pictures_run as made
import problem_factory as problems
import pytest

from harness.outcome import IterationRecord, Kind
from harness.report.pictures import colormap, drawing
from harness.report.pictures.convergence import convergence
from harness.report.pictures.dots import Row, pose_errors, worst_first
from harness.report.pictures.drawing import Series, tag
from harness.report.pictures.material import Solved
from harness.report.pictures.scales import Linear, Log, Symmetric, log_scale
from harness.report.pictures.times import time_rows, times
from harness.report.yardsticks import MEASURES, Tolerance, read_parity

POSE = (0.0, 0, 0, 0, 0, 0, 1, 1)
TOLERANCES = {name: Tolerance(1e-3, "because") for name in MEASURES}


def solved(name: str, costs: list[float], order: int = 0, at: int | None = None) -> Solved:
    trace = tuple(IterationRecord(cost, cost / 10, 100, POSE) for cost in costs)
    outcome = made.another(made.RAY, name, trace=trace)
    assert outcome.parity
    outcome = dataclasses.replace(outcome, parity=outcome.parity | {"first_divergence": at})
    return Solved(outcome, read_parity(outcome), Series(name, order), is_oracle=order == 0, agrees=at is None)


def test_scales_place_numbers_and_say_what_they_cannot_show() -> None:
    assert Log(1, 100).at(np.array([1.0, 10, 100])).tolist() == pytest.approx([0, 0.5, 1])
    assert np.isnan(Log(1, 100).at(np.array([0.0, -1, math.nan, math.inf]))).all()
    assert Linear(2, 4).at(np.array([2.0, 3, 4])).tolist() == [0, 0.5, 1]
    found = Symmetric(10, 0.1).at(np.array([-10.0, -0.5, 0, 0.5, 10]))
    assert found[[0, 2, 4]].tolist() == pytest.approx([0, 0.5, 1])
    assert found[1] == pytest.approx(1 - found[3])


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Log(1e-3, 1e2), [1e-3, 1e-2, 0.1, 1, 10, 100]),
        (Log(1e-12, 1e6), [1e-12, 1e-8, 1e-4, 1, 1e4]),
        (Log(30, 400), [50, 100, 200]),
        (Log(410, 440), [410, 420, 430, 440]),
        (Linear(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Linear(-0.3, 7.3), [0, 2, 4, 6]),
        (Symmetric(12, 0.4), [-10, -1, 0, 1, 10]),
    ],
)
def test_ticks_are_numbers_people_use(scale: Log | Linear | Symmetric, ticks: list[float]) -> None:
    assert scale.ticks() == pytest.approx(ticks)


def test_hostile_numbers_do_not_cost_the_others_their_axis() -> None:
    scale = log_scale([1.0, 100.0, math.nan, math.inf, -5.0, 0.0])
    assert (scale.low, scale.high) == (0.8, 125.0)
    assert log_scale([math.nan, -1.0, 0.0]) == Log(1e-6, 1.0)
    wide = log_scale([5e-324, 1.7e308])
    assert wide.low > 0 and math.isfinite(wide.high) and len(wide.ticks()) <= 8
    one = log_scale([7.0])
    assert one.low < 7 < one.high and len(one.ticks()) >= 2


def oklab(srgb: np.ndarray) -> np.ndarray:
    linear = np.where(srgb <= 10.3, srgb / 255 / 12.92, ((srgb / 255 + 0.055) / 1.055) ** 2.4)
    lms = np.cbrt(linear @ np.linalg.inv(colormap._TO_LINEAR).T)
    return np.asarray(lms @ np.linalg.inv(colormap._TO_LMS).T)


def test_colours_are_even_to_the_eye_and_ordered_by_lightness_alone() -> None:
    found = oklab(colormap.sequential().astype(float))
    steps = np.linalg.norm(np.diff(found, axis=0), axis=1)
    assert steps.max() < 1.6 * np.median(steps)
    assert (np.diff(found[:, 0]) > 0).all()
    assert found[0, 0] > 0.28
    assert found[-1, 0] < 0.95  # neither black nor white: seen on a dark page and on a light one
    both = oklab(colormap.diverging().astype(float))
    middle = both[len(both) // 2]
    assert np.linalg.norm(middle[1:]) < 0.01  # grey
    assert np.linalg.norm(both[0] - middle) == pytest.approx(np.linalg.norm(both[-1] - middle), rel=0.25)
    assert (np.diff(both[:, 0]) > 0).all()


def test_everything_given_is_escaped() -> None:
    found = tag("text", '<script>"&', class_='"><b>', x=1.23456)
    assert found == '<text class="&#34;&gt;&lt;b&gt;" x="1.2">&lt;script&gt;&#34;&amp;</text>'
    assert "\x00" not in drawing.svg(1, 1, "a\x00b", "c\x1b[31md")


def test_a_trace_is_drawn_at_its_numbers() -> None:
    found = made.tree(convergence([solved("reference", [1000.0, 100.0, 10.0])], stops_below=0.1))
    path = next(p for p in found.all("path") if "pic-trace" in p.attributes.get("class", "").split())
    x, y = made.numbers(path.attributes["d"]).T
    assert np.diff(x) == pytest.approx([x[1] - x[0]] * 2, abs=0.11)
    assert np.diff(y) == pytest.approx([y[1] - y[0]] * 2, abs=0.11)  # equal factors are equal steps: logarithmic
    assert y[1] > y[0] + 20  # less is lower
    words = found.text
    assert "stops below 0.1" in words
    assert "reference: 3 iterations, cost 1000 to 10, last update 1" in found.all("desc")[0].text


def test_the_first_divergence_is_marked_where_it_is() -> None:
    two = [solved("reference", [1000.0, 100.0, 10.0, 5.0]), solved("mine", [1000.0, 100.0, 50.0, 40.0], order=1, at=2)]
    found = made.tree(convergence(two))
    marks = [p for p in found.all("path") if p.attributes.get("class") == "pic-leaves"]
    assert len(marks) == 2  # one in each panel
    trace = made.numbers(next(p for p in found.all("path") if "pic-trace" in p.attributes.get("class", "").split()).attributes["d"])
    assert made.numbers(marks[0].attributes["d"])[:, 0] == pytest.approx(trace[2, 0], abs=0.11)
    assert "mine leaves at 2" in found.text
    assert "leaves" not in made.tree(convergence(two[:1])).all("svg")[0].all("text")[-1].text


@pytest.mark.parametrize("at", ["2", -1, 99, 1.5, [1]])
def test_a_divergence_that_is_no_iteration_is_not_drawn(at: object) -> None:
    found = convergence([solved("reference", [3.0, 2.0, 1.0]), solved("mine", [3.0, 2.0], order=1, at=at)])  # type: ignore[arg-type]
    assert "pic-leaves" not in found


def test_what_a_logarithmic_axis_cannot_show_is_marked_and_breaks_the_line() -> None:
    found = made.tree(convergence([solved("reference", [100.0, math.nan, 10.0, math.inf, 0.0, -3.0])]))
    first = next(p for p in found.all("path") if "pic-trace" in p.attributes.get("class", "").split())
    assert first.attributes["d"].count("M") == 2 and "nan" not in first.attributes["d"]
    drawn = found.all("path")
    assert sum(p.attributes["d"].count(drawing.CROSS) for p in drawn) == 4  # two in each panel
    assert "not a finite number" in found.text and "zero or negative" in found.text


def test_a_very_long_trace_is_thinned_and_keeps_its_end() -> None:
    found = made.tree(convergence([solved("reference", [1e6 / (k + 1) for k in range(9999)])]))
    path = next(p for p in found.all("path") if "pic-trace" in p.attributes.get("class", "").split())
    points = made.numbers(path.attributes["d"])
    assert 300 < len(points) <= 402
    assert points[-1, 0] > points[:-1, 0].max()
    assert len(str(found.all("desc")[0].text)) < 200


def test_lines_that_lie_on_one_another_are_drawn_in_turn() -> None:
    costs = [1000.0, 100.0, 10.0, 5.0, 4.0, 3.0]
    alike = [solved(name, costs, order=i) for i, name in enumerate(("reference", "torch", "native", "cuda"))]
    other = solved("mine", [1000.0, 100.0, 50.0, 40.0, 30.0, 20.0], order=4, at=2)
    found = made.tree(convergence([*alike, other]))
    panels = len([p for p in found.all("path") if "pic-band-of" in p.attributes.get("class", "")])
    assert panels == 2
    lines = [p.attributes for p in found.all("path") if p.attributes.get("class") == "pic-trace"]
    dashes = [(it.get("stroke-dasharray"), it.get("stroke-dashoffset")) for it in lines]
    assert dashes == [*[("9 18", shift) for shift in ("0", "-9", "-18")], (None, None)] * panels
    marked = [
        p.attributes["d"].count("M") for g in found.all("g") for p in g.all("path") if p.attributes.get("class") == "pic-marks"
    ]
    assert marked == [2, 2, 2, 6] * panels  # of six iterations each of the three has its own


def errors(size: float) -> dict[str, float]:
    return dict.fromkeys(MEASURES, size)


def test_every_error_has_its_dot_and_the_tolerance_its_line() -> None:
    series = {"torch": Series("torch", 1), "mine": Series("mine", 2)}
    rows = [
        Row("a", {"torch": errors(1e-4), "mine": errors(1e-2)}, []),
        Row("b", {"torch": errors(0.0), "mine": errors(math.nan)}, ["mine"]),
    ]
    found = made.tree(pose_errors(rows, series, TOLERANCES, {"a": "#case-a"}))
    limits = [made.numbers(p.attributes["d"])[0, 0] for p in found.all("path") if p.attributes.get("class") == "pic-tolerance"]
    assert len(limits) == len(MEASURES)
    torch = [g.all("path")[0].attributes["d"] for g in found.all("g", "pic-s1") if g.all("path")]
    x = [float(mark.split()[0]) for mark in torch[0].split("M")[1:]]
    mine = float(found.all("g", "pic-s2")[0].all("path")[0].attributes["d"][1:].split()[0])
    assert x[1] < x[0] < limits[0] < mine  # zero at the left end
    assert (limits[0] - x[0]) == pytest.approx(mine - limits[0], abs=0.2)  # a factor of ten each
    assert found.text.count("no pose") == 1
    assert sum(p.attributes["d"].count(drawing.CROSS) for p in found.all("path")) == len(MEASURES)
    assert [a.attributes["href"] for a in found.all("a")] == ["#case-a"]
    assert "mine on a" in found.all("desc")[0].text and "mine on b" in found.all("desc")[0].text


def test_of_many_cases_the_worst_are_shown() -> None:
    rows = [Row(f"case-{i}", {"torch": errors(1e-6 * i)}, []) for i in range(100)]
    rows[3] = Row("case-3", {"torch": errors(math.nan)}, [])
    rows[5] = Row("case-5", {}, ["torch"])
    shown = [row.case for row in worst_first(rows, TOLERANCES, most=10)]
    assert shown == ["case-3", "case-5", *(f"case-{i}" for i in range(92, 100))]


def test_the_floor_is_the_runs_own_or_is_not_drawn() -> None:
    series = {"torch": Series("torch", 1), "skip": Series("skip", 2)}
    points = {made.RAY: 3072, made.LOOSE: 33}
    slow = [
        dataclasses.replace(made.another(name, "torch"), solve_seconds=t) for name, t in ((made.RAY, 0.02), (made.LOOSE, 0.002))
    ]
    assert "floor" not in times(slow, series, points)
    idle = [dataclasses.replace(made.another(made.RAY, "skip", trace=()), solve_seconds=4e-4, judged=False, iterations=0)]
    found = made.tree(times([*slow, *idle], series, points))
    label = next(group for group in found.all("g") if group.all("text") and group.text == "floor (skip): 0.4 ms")
    [floor] = [made.numbers(p.attributes["d"]) for p in found.all("path") if p.attributes.get("class") == "pic-leaves"]
    [line] = [made.numbers(p.attributes["d"]) for p in found.all("path") if p.attributes.get("class") == "pic-trace"]
    assert floor[0, 1] > line[:, 1].max()  # lower on the page than every solve
    assert float(label.all("text")[0].attributes["x"]) > floor[:, 0].max()  # beside the line, where no mark is
    rows = time_rows([*slow, *idle], series, points)
    assert [(row.solver, row.idle, row.solves, row.median) for row in rows] == [("torch", False, 2, "11"), ("skip", True, 1, "0.4")]


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, None])
def test_a_time_that_is_none_is_not_drawn(seconds: float | None) -> None:
    outcome = dataclasses.replace(made.another(made.RAY, "torch"), solve_seconds=seconds)
    assert times([outcome], {"torch": Series("torch", 1)}, {made.RAY: 3072}) == ""


def test_a_tool_s_time_or_a_failure_s_is_not_the_solver_s() -> None:
    outcome = dataclasses.replace(made.another(made.RAY, "torch"), solve_seconds=0.1)
    failed = dataclasses.replace(outcome, kind=Kind.SOLVER_STATUS)
    for it in (dataclasses.replace(outcome, tool="memcheck"), failed):
        assert times([it], {"torch": Series("torch", 1)}, {made.RAY: 3072}) == ""
    assert problems.shipped(made.RAY).document.n_points == 3072
