"""The whole report of a run with pictures in a real browser: every link opens what it names, the points turn under the mouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pictures_run as pictures
import problem_factory as problems
import pytest
import report_run as made

from harness.jsonfile import write_json
from harness.outcome import Kind
from harness.report.write import write_report
from harness.run import OUTCOMES

HOSTILE = (
    "</style></pre>]]><!--<svg onload=document.title='pwned'><script>document.title='pwned'</script>\u2066\u202eevil" + "y" * 9000
)
EVENTS = "[...document.querySelectorAll('*')].filter((it) => it.getAttributeNames().some((name) => name.startsWith('on'))).length"
FOLLOWED = """async () => {
    const all = [...document.querySelectorAll("a[href^='#']")].map((it) => it.getAttribute("href")), bad = [];
    const links = new Set(all.filter((it) => !it.startsWith("#filter?")));
    for (const link of links) {
        location.hash = link;
        await new Promise((done) => setTimeout(done, 10));
        const it = document.getElementById(decodeURIComponent(link.slice(1)));
        const box = it && it.getBoundingClientRect();
        if (!it || !it.checkVisibility() || it.open === false || box.bottom < 0 || box.top > innerHeight) bad.push(link);
    }
    return [links.size, bad];
}"""


def hostile() -> dict[str, Any]:
    """An outcome with hostile words wherever a stranger can put any."""
    finding = {
        "kind": HOSTILE, "address": 4160, "size": 4, "direction": HOSTILE, "message": HOSTILE, HOSTILE: HOSTILE,
        "nearest_allocation": {"address": 4096, "size": 64, "distance": 1},
        "where": {"path": HOSTILE, "line": 3, "snippet": [[3, HOSTILE], [4, HOSTILE]]},
        "host_stack": [{"function": HOSTILE, "path": HOSTILE, "line": 1}],
    }  # fmt: skip
    words = dict.fromkeys(("stderr", "stdout", "verdict", "device"), HOSTILE)
    return made.outcome(
        pictures.RAY, HOSTILE[:80], Kind.FINDINGS, tool="memcheck", stage="solving", expected=False, findings=(finding,) * 3,
        notes=(HOSTILE,), **words,
    ).to_json() | {"stages": [["spawned", 0.0], [HOSTILE, 0.5]]}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Cases with points, faults of every kind, and hostile words."""
    off = pictures.another(pictures.RAY, "mine.py:off", pictures.moved(problems.oracle_of(pictures.RAY).T_CkCf))
    folder = pictures.write(tmp_path_factory.mktemp("links") / "run", [pictures.oracle(pictures.RAY), off]).folder
    for i, document in enumerate([*(it.to_json() for it in made.faults()), hostile()]):
        write_json(folder / OUTCOMES / f"more-{i:03}.json", document)
    return write_report(folder).as_uri()


def test_every_link_inside_the_page_opens_what_it_names(quiet_page: Any, report: str) -> None:
    quiet_page.goto(report)
    count, bad = quiet_page.evaluate(FOLLOWED)
    assert count > 30 and bad == []


def test_links_out_of_the_page_are_the_data_beside_it(quiet_page: Any, report: str) -> None:
    quiet_page.goto(report)
    links = quiet_page.evaluate("[...document.querySelectorAll('a[href]')].map((it) => it.getAttribute('href'))")
    out = {link for link in links if not link.startswith("#")}
    assert out == {"results.csv", "results.parquet"}
    assert all((Path(report.removeprefix("file://")).parent / name).is_file() for name in out)


def test_hostile_words_are_only_text(quiet_page: Any, report: str) -> None:
    quiet_page.goto(report)
    quiet_page.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
    assert quiet_page.title() != "pwned"
    assert quiet_page.locator("script").count() == 1 and quiet_page.locator("style").count() == 1
    assert quiet_page.evaluate(EVENTS) == 0
    text = quiet_page.evaluate("document.body.textContent")
    assert "]]><!--<svg onload=document.title='pwned'><script>" in text
    assert not set("\u202e\u2066") & set(text)
    assert quiet_page.evaluate("document.documentElement.scrollWidth") <= 1200  # however long a word is


def test_the_points_turn_under_the_mouse(quiet_page: Any, report: str) -> None:
    quiet_page.goto(f"{report}#pictures-{pictures.RAY}")
    figure = quiet_page.locator("figure.pic-3d").first
    figure.scroll_into_view_if_needed()
    quiet_page.wait_for_function("figure => figure.dataset.view", arg=figure.element_handle())
    canvas = figure.locator("canvas")
    canvas.scroll_into_view_if_needed()
    before, box, shot = figure.get_attribute("data-view").split(), canvas.bounding_box(), canvas.screenshot()
    quiet_page.mouse.move(box["x"] + 100, box["y"] + 100)
    quiet_page.mouse.down()
    quiet_page.mouse.move(box["x"] + 180, box["y"] + 100, steps=4)
    quiet_page.mouse.up()
    turned = "([figure, was]) => Math.abs(figure.dataset.view.split(' ')[0] - was + 0.64) < 0.01"
    quiet_page.wait_for_function(turned, arg=[figure.element_handle(), float(before[0])])
    assert canvas.screenshot() != shot


def test_the_button_for_dark_turns_the_points_dark_too(quiet_page: Any, report: str) -> None:
    quiet_page.goto(f"{report}#pictures-{pictures.RAY}")
    stage = "getComputedStyle(document.querySelector('.pic-stage')).backgroundColor"
    light = quiet_page.evaluate(stage)
    quiet_page.click("#theme")
    assert quiet_page.evaluate(stage) == light
    quiet_page.click("#theme")
    assert quiet_page.evaluate(stage) != light
