"""The report on a telephone and on paper, in a real browser: nothing is cut off, nothing too small, nothing covers anything."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import report_run as made
import sanitizer_recordings as recorded

from harness.history import record
from harness.outcome import Kind
from harness.report.write import write_report
from harness.run import read_run

WIDTH, LEAST = 390, 9.0
"""Of a telephone, in pixels; and the least height of letters there."""
OPEN = "document.querySelectorAll('details').forEach((it) => { it.open = true; })"
SMALL = """() => [...document.querySelectorAll("svg text, .timeline li")].filter((it) => it.checkVisibility()).map((it) => {
    const svg = it.closest("svg"), size = parseFloat(getComputedStyle(it).fontSize);
    return [svg ? size * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : size, it.textContent];
})"""
OUTSIDE = """() => [...document.querySelectorAll("p, h1, h2, h3, h4, li, dt, dd, pre, summary, figcaption, button, .badge")]
    .filter((it) => it.checkVisibility() && !it.closest(".hidden, .filter, .skip, tr, .pic-scroll, .timeline .bar"))
    .filter((it) => { const box = it.getBoundingClientRect(); return box.width && (box.left < 0 || box.right > innerWidth); })
    .map((it) => `${it.tagName}.${it.className}: ${it.textContent.slice(0, 60)}`)"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every kind of outcome, a recorded finding, tools and memory modes, pictures, and a run before it."""
    real = recorded.read(recorded.VERSIONS[0], "memcheck-misaligned_read")[0].findings
    found = made.outcome("recorded", "cuda", Kind.FINDINGS, tool="memcheck", stage="solving", expected=False, findings=tuple(real))
    modes = [made.solved("recorded", "torch", 1, memory=memory) for memory in ("pool", "exact", "poison")]
    folder = made.write_run(tmp_path_factory.mktemp("narrow") / "20250301-101500-ab12", [*made.realistic(), found, *modes])
    run = read_run(folder)
    record(dataclasses.replace(run, id="20250228-101500-ab12", started="2025-02-28T10:15:00+00:00"))
    record(run)
    return write_report(folder).as_uri()


@pytest.fixture
def phone(quiet_page: Any, report: str) -> Any:
    quiet_page.set_viewport_size({"width": WIDTH, "height": 800})
    quiet_page.goto(report)
    return quiet_page


def test_no_text_is_cut_off_and_the_page_is_as_wide_as_the_telephone(phone: Any) -> None:
    phone.evaluate(OPEN)
    assert phone.evaluate(OUTSIDE) == []
    assert phone.evaluate("document.documentElement.scrollWidth") <= WIDTH


def test_words_in_drawings_can_be_read(phone: Any) -> None:
    phone.evaluate(OPEN)
    sizes = phone.evaluate(SMALL)
    assert {"this run", "no pose", "Cost before the step"} & {words.split(", ")[-1] for _, words in sizes}
    assert len(sizes) > 100
    assert [(size, words) for size, words in sizes if size < LEAST] == []


def test_nothing_covers_the_name_of_the_run(phone: Any) -> None:
    kicker, button = (phone.locator(name).bounding_box() for name in (".kicker", "#theme"))
    assert kicker["x"] + kicker["width"] <= button["x"]
    assert "20250301-101500-ab12" in phone.inner_text(".kicker")


def test_the_matrix_keeps_its_cases_and_shows_that_it_goes_on(phone: Any) -> None:
    region = phone.locator(".scroll:has(> table.outcomes)")
    region.scroll_into_view_if_needed()
    phone.wait_for_selector(".scroll.beyond:has(> table.outcomes)")
    assert "gradient" in region.evaluate("it => getComputedStyle(it).maskImage")
    name = region.locator("tbody th").first
    before = name.bounding_box()["x"]
    region.evaluate("it => { it.scrollLeft = it.scrollWidth; }")
    phone.wait_for_selector(".scroll:not(.beyond):has(> table.outcomes)")
    assert name.bounding_box()["x"] == pytest.approx(before, abs=3)
    assert region.locator("tbody td").first.bounding_box()["x"] < before


def test_the_filter_is_one_row_that_stays(phone: Any) -> None:
    phone.evaluate("scrollTo(0, 3000)")
    box = phone.locator("#filter").bounding_box()
    assert box["y"] == 0 and box["height"] < 60
    assert phone.locator("#filter output").bounding_box()["x"] < WIDTH / 2  # how many are left, without scrolling


@pytest.mark.parametrize("width", [WIDTH, 1400])
def test_what_is_for_the_ear_is_not_seen_and_badges_are_one_line(quiet_page: Any, report: str, width: int) -> None:
    quiet_page.set_viewport_size({"width": width, "height": 800})
    quiet_page.goto(report)
    quiet_page.evaluate(OPEN)
    hidden = quiet_page.evaluate("""[...document.querySelectorAll(".hidden")].filter((it) => it.checkVisibility())
        .map((it) => [it.textContent, it.getBoundingClientRect().width, getComputedStyle(it).position])""")
    assert any("over the tolerance" in words for words, _, _ in hidden)
    assert [words for words, wide, position in hidden if wide > 1 or position != "absolute"] == []
    tall = quiet_page.evaluate("""[...document.querySelectorAll(".badge, .pill")].filter((it) => it.checkVisibility())
        .map((it) => [it.textContent, it.getBoundingClientRect().height])""")
    assert len(tall) > 20 and [words for words, height in tall if height > 24] == []


@pytest.mark.parametrize("width", [WIDTH, 1400])
def test_the_copy_button_is_in_its_box_and_narrows_nothing(quiet_page: Any, report: str, width: int) -> None:
    quiet_page.set_viewport_size({"width": width, "height": 800})
    quiet_page.goto(report)
    box = quiet_page.locator("article .copied").first
    box.scroll_into_view_if_needed()
    outer, pre, button = (box.locator(name).bounding_box() if name else box.bounding_box() for name in ("", "pre", "button"))
    assert pre["width"] == outer["width"]
    assert pre["x"] < button["x"] and button["x"] + button["width"] <= pre["x"] + pre["width"]
    assert pre["y"] <= button["y"] and button["y"] + button["height"] <= pre["y"] + pre["height"] + 1


PAPER = 703
"""A page of A4 between its margins."""
SIZES = """() => [...document.querySelectorAll("main *")]
    .filter((it) => it.checkVisibility() && !it.closest("svg, .hidden, h1, h2, h3")
        && [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((it) => [parseFloat(getComputedStyle(it).fontSize), `${it.tagName}.${it.className}`])"""
BROKEN = """() => [...document.querySelectorAll("td.n")].filter((it) => it.checkVisibility()).filter((it) => {
    const range = document.createRange();
    range.selectNodeContents(it);
    return new Set([...range.getClientRects()].filter((box) => box.width > 1).map((box) => Math.round(box.top))).size > 1;
}).map((it) => it.textContent)"""


@pytest.fixture
def paper(quiet_page: Any, report: str) -> Any:
    quiet_page.set_viewport_size({"width": PAPER, "height": 1000})
    quiet_page.goto(report)
    quiet_page.emulate_media(media="print")
    return quiet_page


def test_on_paper_sizes_are_of_one_kind(paper: Any) -> None:
    paper.evaluate(OPEN)
    sizes = paper.evaluate(SIZES)
    assert len(sizes) > 500
    assert {what for size, what in sizes if not 7 <= size <= 11.5} == set()


def test_on_paper_numbers_are_whole_and_tables_fit(paper: Any) -> None:
    paper.evaluate(OPEN)
    assert paper.locator("table.parity td.n").count() > 100
    assert paper.evaluate(BROKEN) == []
    ends = "[...document.querySelectorAll('table')].map((it) => [it.className, it.getBoundingClientRect().right])"
    assert [name for name, right in paper.evaluate(ends) if right > PAPER] == []


def test_on_paper_what_is_folded_is_left_out(paper: Any) -> None:
    assert paper.evaluate("[...document.querySelectorAll('summary')].filter((it) => it.checkVisibility()).length") == 0
    assert not paper.is_visible("#baseline")  # a heading with nothing below it
    assert paper.is_visible(".printed") and paper.is_visible("article.failure")
    paper.evaluate("document.querySelector('details.case').open = true")
    assert paper.is_visible("details.case > summary")
