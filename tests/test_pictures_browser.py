"""The pictures in a real browser: the 3D view draws, turns, zooms, follows its controls, and asks the network for nothing."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pictures_run as made
import problem_factory as problems
import pytest
from PIL import Image

from harness.report.pictures.cloud import EDGES, IDENTITY, frustum, project
from harness.report.pictures.compose import _of_case
from harness.report.pictures.material import gather
from harness.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    off = made.another(made.RAY, "mine.py:off", made.moved(problems.oracle_of(made.RAY).T_CkCf), made.leaving(made.RAY, 2))
    outcomes = [made.oracle(made.RAY), off, made.oracle(made.CALIB), made.oracle(made.LOOSE), made.oracle("degenerate-pose-nan")]
    return made.write(tmp_path_factory.mktemp("browser") / "run", outcomes)


@pytest.fixture(scope="module")
def file(run: Run) -> Path:
    file = run.folder / "pictures.html"
    file.write_text(made.page(run), encoding="utf-8")
    return file


@pytest.fixture
def opened(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page; afterwards no error may be on its console and no request but the page's own may have been made."""
    page = browser.new_page(viewport={"width": 1200, "height": 700}, **getattr(request, "param", {}))
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    yield page
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]


def started(page: Any, i: int = 0) -> Any:
    figure = page.locator("figure.pic-3d").nth(i)
    figure.locator(".pic-stage").scroll_into_view_if_needed()
    page.wait_for_function("figure => figure.dataset.view", arg=figure.element_handle())
    return figure


def pixels(page: Any, figure: Any) -> np.ndarray:
    """What the view shows (H,W,3), once it has been painted."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return np.asarray(Image.open(io.BytesIO(figure.locator("canvas").screenshot())).convert("RGB")).astype(int)


def drawn(image: np.ndarray) -> float:
    """The share of pixels that are not the ground."""
    return float((np.abs(image - image[3, image.shape[1] // 2]).max(axis=2) > 20).mean())


def differ(a: np.ndarray, b: np.ndarray) -> float:
    return float((np.abs(a - b).max(axis=2) > 20).mean())


def test_nothing_starts_before_it_is_in_view(opened: Any) -> None:
    opened.wait_for_timeout(200)
    assert opened.locator("figure.pic-3d[data-running]").count() == 0
    assert opened.locator("figure.pic-3d canvas").count() == 0
    assert opened.locator("figure.pic-3d").count() == 3
    started(opened, 1)
    assert opened.locator("figure.pic-3d[data-running]").count() < 3


@pytest.mark.parametrize("opened", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"device_scale_factor": 2}], indirect=True)
def test_points_stand_where_the_numbers_say(opened: Any, run: Run) -> None:
    figure = started(opened)
    image = pixels(opened, figure)
    assert 0.01 < drawn(image) < 0.5
    box = figure.locator("canvas").bounding_box()
    cloud = _of_case(gather(run, made.RAY)).cloud
    assert cloud is not None
    seen = project(cloud.Xk, cloud.middle, cloud.radius, (box["width"], box["height"]))
    at = (seen[:, :2] * image.shape[1] / box["width"]).astype(int)
    at = at[((at > 5) & (at < np.array(image.shape[1::-1]) - 5)).all(axis=1)]
    ground = image[3, image.shape[1] // 2]
    hit = np.array([np.abs(image[y - 1 : y + 2, x - 1 : x + 2] - ground).max() > 20 for x, y in at])
    assert len(at) > 600
    assert hit.mean() > 0.97


def along(corners: np.ndarray) -> np.ndarray:
    """Points on the edges of a camera, away from where they meet."""
    return np.array([corners[i] + (corners[k] - corners[i]) * share for i, k in EDGES for share in (0.3, 0.5, 0.7)])


@pytest.mark.parametrize("opened", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True)
def test_cameras_stand_where_the_numbers_say(opened: Any, run: Run) -> None:
    """The keyframe's in the page's ink, the frame's in its solver's colour."""
    figure = started(opened)
    image, box = pixels(opened, figure), figure.locator("canvas").bounding_box()
    material = gather(run, made.RAY)
    cloud = _of_case(material).cloud
    assert cloud is not None
    scene = json.loads(cloud.scene)
    chosen = scene["poses"][scene["start"]]
    for T, opening, name in (
        (IDENTITY, scene["views"][0], "pic-ink"), (chosen["path"][-1], scene["views"][1], f"pic-s{chosen['colour']}"),
    ):  # fmt: skip
        wanted = opened.evaluate("name => getComputedStyle(document.querySelector('.' + name)).color", name)
        colour = np.array([int(part) for part in re.findall(r"\d+", wanted)[:3]])
        corners = project(frustum(T, opening, cloud.radius), cloud.middle, cloud.radius, (box["width"], box["height"]))[:, :2]
        at = (along(corners) * image.shape[1] / box["width"]).astype(int)
        near = np.array([np.abs(image[y - 1 : y + 2, x - 1 : x + 2] - colour).max(axis=2).min() for x, y in at])
        assert (near < 70).mean() > 0.85, (name, near)  # a line over it may hide some


def test_names_of_cameras_stay_in_the_view(opened: Any) -> None:
    """However near one is, on a narrow screen too: nothing is written beyond the edge."""
    opened.set_viewport_size({"width": 390, "height": 700})
    spoken = """() => {
        const said = window.said = [], proto = CanvasRenderingContext2D.prototype, write = proto.fillText;
        proto.fillText = function (name, x, y) {
            said.push([name, x, y, this.measureText(name).width / 2]);
            write.call(this, name, x, y);
        };
    }"""
    opened.evaluate(spoken)
    figure = started(opened)
    for key in ("", "ArrowUp", "ArrowUp", "+", "+", "+", "+", "+", "+"):
        if key:
            figure.locator("canvas").press(key)
        pixels(opened, figure)
    box = figure.locator("canvas").bounding_box()
    said = opened.evaluate("window.said")
    assert {name for name, *_ in said} == {"keyframe", "frame"}
    assert all(half <= x <= box["width"] - half and 11 <= y <= box["height"] - 4 for _, x, y, half in said)


def test_every_line_that_lies_on_others_is_seen(browser: Any, tmp_path: Path) -> None:
    names = ("torch", "native", "cuda", "mine")
    alike = made.write(tmp_path / "run", [made.oracle(made.RAY), *(made.another(made.RAY, name) for name in names)])
    file = tmp_path / "alike.html"
    file.write_text(made.page(alike), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(file.as_uri())
    drawing = page.locator("svg[aria-label^='Cost and update norm']")
    image = np.asarray(Image.open(io.BytesIO(drawing.screenshot())).convert("RGB")).astype(int)
    for i, name in enumerate(names, 1):
        wanted = page.evaluate("name => getComputedStyle(document.querySelector('.pic-case .' + name)).color", f"pic-s{i}")
        colour = np.array([int(part) for part in re.findall(r"\d+", wanted)[:3]])
        assert (np.abs(image - colour).max(axis=2) < 40).sum() > 150, name
    page.close()


def test_it_turns_with_a_drag_and_resets(opened: Any) -> None:
    figure = started(opened)
    before = pixels(opened, figure)
    box = figure.locator("canvas").bounding_box()
    opened.mouse.move(box["x"] + 300, box["y"] + 200)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 420, box["y"] + 240, steps=4)
    opened.mouse.up()
    turned = pixels(opened, figure)
    assert differ(before, turned) > 0.02
    yaw, pitch, zoom = map(float, figure.get_attribute("data-view").split())
    assert (yaw, pitch, zoom) == pytest.approx((0.55 - 120 * 0.008, -0.32 - 40 * 0.008, 1), abs=2e-3)
    opened.mouse.move(box["x"] + 100, box["y"] + 100)  # the button is up: nothing turns
    assert differ(turned, pixels(opened, figure)) < 0.001
    figure.locator("button", has_text="Reset view").click()
    figure.locator("canvas").evaluate("canvas => canvas.blur()")
    assert differ(before, pixels(opened, figure)) < 0.001


def test_the_keyboard_does_all_of_it(opened: Any) -> None:
    figure = started(opened)
    canvas = figure.locator("canvas")
    canvas.focus()
    first = pixels(opened, figure)
    views = [figure.get_attribute("data-view")]
    for key in ("ArrowRight", "ArrowUp", "+", "-", "ArrowLeft", "ArrowDown"):
        canvas.press(key)
        pixels(opened, figure)
        views.append(figure.get_attribute("data-view"))
    assert all(a != b for a, b in pairwise(views))
    assert views[-1] == views[0]
    canvas.press("+")
    assert differ(first, pixels(opened, figure)) > 0.005
    canvas.press("0")
    assert differ(first, pixels(opened, figure)) < 0.001


def test_the_wheel_zooms_once_the_view_was_clicked(opened: Any) -> None:
    figure = started(opened)
    box = figure.locator("canvas").bounding_box()
    opened.mouse.move(box["x"] + 300, box["y"] + 200)
    before = opened.evaluate("scrollY")
    opened.mouse.wheel(0, 40)
    opened.wait_for_function("before => scrollY !== before", arg=before)
    assert figure.get_attribute("data-view").endswith(" 1.000")
    figure.locator("canvas").click(position={"x": 20, "y": 20})
    before = opened.evaluate("scrollY")
    opened.mouse.wheel(0, -240)
    opened.wait_for_function("figure => figure.dataset.view.split(' ')[2] > 1.2", arg=figure.element_handle())
    assert opened.evaluate("scrollY") == before


def test_every_pose_and_step_can_be_seen(opened: Any) -> None:
    figure = started(opened)
    poses = figure.locator("fieldset label")
    assert [text.strip() for text in poses.all_inner_texts()] == ["initial", "reference (oracle)", "mine.py:off (another pose)"]
    solved = pixels(opened, figure)
    poses.nth(0).click()
    initial = pixels(opened, figure)
    assert differ(solved, initial) > 0.01
    assert not figure.locator("input[type=range]").is_visible()
    poses.nth(2).click()
    off = pixels(opened, figure)
    assert differ(solved, off) > 0.005
    figure.locator("input[type=range]").fill("1")
    assert differ(off, pixels(opened, figure)) > 0.001
    assert figure.locator("output").inner_text().strip().startswith("1 of")
    poses.nth(0).click()
    figure.locator("label", has_text="join matches").click()
    assert differ(initial, pixels(opened, figure)) > 0.01


@pytest.mark.parametrize("opened", [{"has_touch": True}], indirect=True)
def test_fingers_turn_and_pinch_it(opened: Any) -> None:
    figure = started(opened)
    finger = """([id, type, x, y]) => { const canvas = document.querySelector("figure.pic-3d canvas");
        canvas.setPointerCapture = () => {};
        canvas.dispatchEvent(new PointerEvent(type, { pointerId: id, pointerType: "touch", clientX: x, clientY: y })); }"""
    for event in ([1, "pointerdown", 200, 200], [1, "pointermove", 260, 200]):
        opened.evaluate(finger, event)
    pixels(opened, figure)
    assert float(figure.get_attribute("data-view").split()[0]) == pytest.approx(0.55 - 60 * 0.008, abs=2e-3)
    for event in ([2, "pointerdown", 360, 200], [2, "pointermove", 460, 200], [1, "pointerup", 260, 200]):
        opened.evaluate(finger, event)
    pixels(opened, figure)
    assert float(figure.get_attribute("data-view").split()[2]) == pytest.approx(2.0, abs=0.01)


def test_dark_and_light_change_the_view_at_once(opened: Any) -> None:
    figure = started(opened)
    light = pixels(opened, figure)
    opened.emulate_media(color_scheme="dark")
    dark = pixels(opened, figure)
    assert light.mean() > 180 and dark.mean() < 60
    assert drawn(dark) > 0.01


def test_paper_and_pages_without_scripts_have_a_picture(browser: Any, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    poster = page.locator("figure.pic-3d img").first
    assert poster.is_visible()
    image = np.asarray(Image.open(io.BytesIO(poster.screenshot())).convert("RGB")).astype(int)
    assert drawn(image) > 0.01
    context.close()


def test_nothing_sticks_out_on_a_small_screen(browser: Any, file: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
