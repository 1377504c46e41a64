"""The pictures of a case and of a run: what is there, what is said in its place, and that nothing a run holds breaks them."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pictures_run as made
import problem_factory as problems
import pytest

from harness.case import Case
from harness.casefile import write_case
from harness.outcome import ExceptionInfo, Kind, Outcome
from harness.report.pictures import PICTURES_CSS, PICTURES_JS, case_pictures, run_pictures
from harness.report.pictures.cloud import MOST_POINTS, POSTER, error_sizes, project, scattered, transform
from harness.report.pictures.compose import _of_case
from harness.report.pictures.material import gather
from harness.report.pictures.residuals import residuals
from harness.run import YARDSTICKS, write_outcome

HOSTILE = "<img src=x onerror=alert(1)>\"'</script>{{7*7}}\x1b[31m\u202e\ud800/solver.py:make"


def scene(html: str) -> dict:
    return json.loads(made.tree(html).all("figure", "pic-3d")[0].attributes["data-scene"])


def unpack(packed: list) -> np.ndarray:
    corner, size, text = packed
    return np.array(corner) + np.frombuffer(base64.b64decode(text), "<u2").reshape(-1, 3) / 65535 * np.array(size)


@pytest.mark.parametrize("name", [made.RAY, made.CALIB, made.LOOSE])
def test_a_case_has_its_pictures(tmp_path: Path, name: str) -> None:
    run = made.write(tmp_path / "run", [made.oracle(name), made.another(name, "torch")])
    page = made.tree(case_pictures(run, name))
    images = page.all("table", "pic-maps")
    assert len(images) == (0 if name == made.LOOSE else 1)
    titles = [svg.attributes["aria-label"] for svg in page.all("svg", "pic")]
    assert "Cost and update norm by iteration" in titles
    assert any(title.startswith("Histograms") for title in titles) == (name == made.LOOSE)
    assert all(svg.all("title") and svg.all("desc")[0].text for svg in page.all("svg", "pic"))
    assert all(
        image.attributes["src"].startswith("data:image/png;base64,") and image.attributes["alt"] for image in page.all("img")
    )
    assert "the same within tolerance: torch" in page.text
    assert "No solver leaves the oracle\u2019s trace." in page.text
    unit = "Pixel error, px" if name == made.CALIB else "Ray angle, \u00b0"
    assert unit in page.text


def test_a_pose_that_differs_has_a_row_of_its_own(tmp_path: Path) -> None:
    pose = problems.oracle_of(made.RAY).T_CkCf
    off = dataclasses.replace(made.another(made.RAY, "mine.py:off", made.moved(pose), made.leaving(made.RAY, 3)), expected=False)
    run = made.write(tmp_path / "run", [made.oracle(made.RAY), made.another(made.RAY, "torch"), off])
    page = made.tree(case_pictures(run, made.RAY))
    rows = [row.all("th")[0].words for row in page.all("table", "pic-maps")[0].all("tr")[1:]]
    assert [row.split(" pose")[0] for row in rows] == ["Initial", "Solved", "mine.py:off's"]
    assert "wrong pose" in rows[2]
    assert "Leaves the oracle\u2019s trace: mine.py:off after iteration 3." in page.text
    names = [(it["name"], len(it["path"])) for it in scene(case_pictures(run, made.RAY))["poses"]]
    steps = len(problems.oracle_of(made.RAY).trace) + 1
    assert names == [("initial", 1), ("reference (oracle)", steps), ("torch", 1), ("mine.py:off (wrong pose)", steps)]
    assert scene(case_pictures(run, made.RAY))["start"] == 3 and "Shown first: mine.py:off (wrong pose)." in page.text


@pytest.mark.parametrize(
    ("leaves", "words"),
    [
        ((), "No other solver left a trace."),
        (("torch",), "No solver leaves the oracle\u2019s trace."),
        (("mine",), "mine reported no iterations."),
        (("torch", "native", "mine"), "torch, native keep to the oracle\u2019s trace. mine reported no iterations."),
        (("torch", "other", "mine"), "Leaves the oracle\u2019s trace: other after iteration 2. mine reported no iterations."),
    ],
)
def test_who_reported_no_iterations_is_not_said_to_have_kept_to_the_trace(
    tmp_path: Path, leaves: tuple[str, ...], words: str
) -> None:
    pose = made.moved(problems.oracle_of(made.RAY).T_CkCf)
    silent = {"mine": ((), pose), "other": (made.leaving(made.RAY, 2), pose)}
    others = [made.another(made.RAY, name, *reversed(silent.get(name, (None, None)))) for name in leaves]
    run = made.write(tmp_path / "run", [made.oracle(made.RAY), *others])
    caption = made.tree(case_pictures(run, made.RAY)).all("figcaption")[0].words
    assert (
        caption.removeprefix("Convergence. ").removesuffix(
            " The band is the oracle\u2019s; lines that lie on one another are drawn in turn."
        )
        == words
    )


def test_the_3d_view_begins_with_what_went_wrong(tmp_path: Path) -> None:
    pose = made.moved(problems.oracle_of(made.RAY).T_CkCf)
    off = made.another(made.RAY, "mine.py:off", pose)
    for name, expected, shown in (("wrong", False, "mine.py:off (wrong pose)"), ("fine", True, "reference (oracle)")):
        run = made.write(tmp_path / name, [made.oracle(made.RAY), dataclasses.replace(off, expected=expected)])
        found = scene(case_pictures(run, made.RAY))
        assert found["poses"][found["start"]]["name"] == shown


def test_an_oracle_nobody_asked_for_is_drawn_from_the_yardsticks(tmp_path: Path) -> None:
    run = made.write(tmp_path / "run", [made.another(made.RAY, "torch")])
    assert "The oracle left no trace to compare with." in case_pictures(run, made.RAY)
    (run.folder / YARDSTICKS).mkdir()
    write_outcome(run.folder, f"{made.RAY}__reference__none", problems.oracle_of(made.RAY), YARDSTICKS)
    assert "reference (oracle)" in case_pictures(run, made.RAY)
    (run.folder / YARDSTICKS / f"{made.RAY}__reference__none.json").write_text("{", encoding="utf-8")
    assert "The oracle left no trace to compare with." in case_pictures(run, made.RAY)


@pytest.mark.parametrize("name", [made.RAY, made.CALIB])
def test_the_points_of_the_3d_view_are_the_cases(tmp_path: Path, name: str) -> None:
    run = made.write(tmp_path / "run", [made.oracle(name)])
    cloud, case = _of_case(gather(run, name)).cloud, problems.shipped(name)
    assert cloud is not None
    packed = json.loads(cloud.scene)
    assert (unpack(packed["k"]) == cloud.Xk).all()
    T = problems.oracle_of(name).T_CkCf
    assert T is not None
    every = case.as_float("Xk")
    nearest = np.array([np.abs(every - point).max(axis=1).argmin() for point in cloud.Xk])
    step = np.ptp(every[case.values["valid_opt"][:, 0]], axis=0).max() / 65535
    assert np.abs(every[nearest] - cloud.Xk).max() <= step
    assert case.values["valid_opt"][nearest, 0].all()
    assert len(set(nearest.tolist())) == len(nearest) == MOST_POINTS
    sizes = residuals(case, T).sizes[0][nearest]
    assert np.abs(error_sizes(case, cloud.Xk, transform(T, cloud.Xf)) - sizes).max() < 0.02  # degrees or pixels, after packing


def test_the_first_view_holds_points_and_cameras(tmp_path: Path) -> None:
    for name in (made.RAY, made.CALIB, "real-fr1-desk-0-8-ray", "degenerate-scale-1e6"):
        run = made.write(tmp_path / name, [made.oracle(name)])
        cloud = _of_case(gather(run, name)).cloud
        assert cloud is not None
        seen = project(np.concatenate([cloud.Xk, np.zeros((1, 3))]), cloud.middle, cloud.radius, POSTER)
        inside = np.isfinite(seen).all(axis=1) & (seen[:, :2] > 0).all(axis=1) & (seen[:, :2] < POSTER).all(axis=1)
        assert inside.mean() > 0.93
        assert inside[-1]  # the keyframe
        assert np.ptp(seen[inside, 0]) > 0.5 * POSTER[0] or np.ptp(seen[inside, 1]) > 0.6 * POSTER[1]  # and fills it


def test_points_are_spread_evenly_and_always_the_same() -> None:
    chosen = scattered(np.arange(10_000), 800)
    assert len(set(chosen.tolist())) == 800
    assert np.histogram(chosen, 20)[0].tolist() == pytest.approx([40] * 20, abs=2)
    assert (chosen == scattered(np.arange(10_000), 800)).all()
    assert scattered(np.arange(5), 800).tolist() == [0, 1, 2, 3, 4]


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    no_pose = dataclasses.replace(
        problems.oracle_of("degenerate-valid-0"), solver="torch", kind=Kind.RAISED, exception=ExceptionInfo("E", "m"), status=None
    )
    outcomes = [
        made.oracle(name) for name in ("degenerate-valid-0", "degenerate-pose-nan", "degenerate-n-0", "degenerate-calib-behind")
    ]
    run = made.write(tmp_path / "run", [*outcomes, no_pose])
    assert "no point counts" in case_pictures(run, "degenerate-valid-0")
    assert "initial pose: no pose: a given one is no similarity" in case_pictures(run, "degenerate-pose-nan")
    assert "TOO_FEW_MATCHES" in case_pictures(run, "degenerate-n-0") or "no point" in case_pictures(run, "degenerate-n-0")
    behind = case_pictures(run, "degenerate-calib-behind")
    assert "358 outside the image or behind the camera" in behind
    assert made.tree(behind).all("div", "pic-none")
    assert "nan" not in behind.lower().replace("tolerance", "").split("base64")[0]


def test_a_case_that_has_changed_or_gone_is_not_drawn(tmp_path: Path) -> None:
    for name, summary, words in (
        ("changed", {"sha256": "0" * 64}, "has changed since"),
        ("gone", {"path": str(tmp_path / "nowhere")}, "cannot be read any more (file: No such file"),
        ("unknown", {"path": None}, "does not say where its case is"),
        ("op", {"kind": "op"}, "a single operation"),
    ):
        cases = {made.RAY: made.summary(problems.shipped(made.RAY)) | summary}
        run = made.write(tmp_path / name, [made.oracle(made.RAY)], cases)
        html = case_pictures(run, made.RAY)
        assert words in html
        assert "Cost and update norm" in html
        assert "<img" not in html


def hostile_outcomes() -> list[Outcome]:
    right = problems.oracle_of(made.RAY)
    poses = [
        (math.nan,) * 8,
        (1e300,) * 8,
        (0.0,) * 8,
        (0.0, 0, 0, 0, 0, 0, 1, -2),
        (1e29, 1e29, 1e29, 0, 0, 0, 1, 1e29),
        (1.0, 2.0),
        (),
    ]
    record = right.trace[0]
    bad = [
        dataclasses.replace(record, cost=value, delta_norm=-value, T_CkCf=poses[0])
        for value in (math.nan, math.inf, -math.inf, 0.0, 1e308)
    ]
    found = [
        dataclasses.replace(right, solver=f"{i}{HOSTILE}", T_CkCf=T, trace=tuple(bad), status=HOSTILE) for i, T in enumerate(poses)
    ]
    parities = [
        {
            "oracle": dict.fromkeys(("rotation_deg", "translation_rel", "log_scale", "d_sigma"), "nan"),
            "first_divergence": "x",
            "within": 3,
        },
        {
            "oracle": {"rotation_deg": "inf", "translation_rel": 1e308, "log_scale": -1, "d_sigma": 5e-324},
            "first_divergence": 10**30,
        },
        {"oracle": {}, "first_divergence": True},
    ]
    return [dataclasses.replace(it, parity=parities[i % 3], solve_seconds=5e-324) for i, it in enumerate(found)]


def test_a_hostile_run_breaks_nothing_and_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    case = made.summary(problems.shipped(made.RAY))
    made.report_run.write_run(folder, [made.oracle(made.RAY), *hostile_outcomes()], cases={made.RAY: case}, ascii_json=True)
    run = made.read_run(folder)
    for html in (case_pictures(run, made.RAY), run_pictures(run, {made.RAY: "#x\"onload='"})):
        html.encode()  # no lone surrogate
        made.tree(html)
        assert "<img src=x" not in html
        assert "<script" not in html
        assert "7*7" in html or "solver.py:make" in html
        assert "\x1b" not in html and "\u202e" not in html


def extreme(case: Case) -> list[Case]:
    """The case with every kind of number where points are."""
    found = []
    for value in (math.nan, math.inf, 0.0, 3e38, 1e-38):
        values = {name: array.copy() for name, array in case.values.items()}
        for name in ("Xf", "Xk", "Qk"):
            values[name][::3] = value
        found.append(dataclasses.replace(case, values=values))
    everywhere = {name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array for name, array in case.values.items()}
    return [*found, dataclasses.replace(case, values=everywhere)]


@pytest.mark.parametrize("name", [made.RAY, made.CALIB, made.LOOSE])
def test_points_of_every_kind_are_drawn_or_left_out(tmp_path: Path, name: str) -> None:
    for i, case in enumerate(extreme(problems.shipped(name))):
        written = write_case(case, tmp_path / f"case-{i}")
        run = made.write(tmp_path / f"run-{i}", [made.oracle(name)], {name: made.summary(written)})
        html = case_pictures(run, name)
        page = made.tree(html)
        assert page.all("figure") or "nothing" in html or "no point" in html or "no residuals" in html
        assert all("nan" not in path.attributes["d"] for path in page.all("path"))
        for figure in page.all("figure", "pic-3d"):
            json.loads(figure.attributes["data-scene"], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_the_style_and_the_script_are_whole() -> None:
    assert "SEQUENTIAL" not in PICTURES_CSS and "DIVERGING" not in PICTURES_CSS and "linear-gradient(90deg, #" in PICTURES_CSS
    assert "PALETTE = ['#" in PICTURES_JS
    for word in ("http:", "https:", "@import", "fetch(", "XMLHttpRequest", "eval(", "innerHTML", "</script"):
        assert word not in PICTURES_CSS + PICTURES_JS
