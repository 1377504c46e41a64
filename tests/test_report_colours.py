"""Light, dark and paper, in a real browser: every text can be read, the button turns all of it, and paper cuts nothing off."""

from __future__ import annotations

from typing import Any

import pytest
import report_run as made
import sanitizer_recordings as recorded

from harness.outcome import Kind
from harness.report.write import write_report

PAPER = "() => getComputedStyle(document.body).backgroundColor"
TEXTS = """() => {
    document.querySelectorAll("details").forEach((it) => { it.open = true; });
    const pairs = new Map(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const it = walker.currentNode.parentElement, style = getComputedStyle(it), seen = { visibilityProperty: true };
        if (!walker.currentNode.data.trim() || !it.checkVisibility(seen) || it.closest("title, desc")) continue;
        let opacity = 1, paper = "rgba(0, 0, 0, 0)";
        for (let up = it; up; up = up.parentElement) {
            const own = getComputedStyle(up);
            opacity *= own.opacity;
            if (paper === "rgba(0, 0, 0, 0)") paper = own.backgroundColor;
        }
        const ink = it instanceof SVGElement ? style.fill : style.color;
        const what = `${it.tagName}.${it.getAttribute("class")}: ${it.textContent.slice(0, 40)}`;
        pairs.set([ink, paper, opacity].join("|"), [ink, paper, opacity, what]);
    }
    return [...pairs.values()];
}"""
CUT = """() => [...document.querySelectorAll("article *, .scroll, .summary td, pre")].filter((it) => {
    const box = it.getBoundingClientRect(), clips = it.matches("pre, .scroll") && it.scrollHeight > it.clientHeight + 1;
    return it.checkVisibility() && !it.closest(".hidden, i") && (box.right > 704 || clips);
}).map((it) => it.tagName + "." + it.className)"""
AA = 4.5


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every kind of outcome and mark, a recorded finding, pictures."""
    real = recorded.read(recorded.VERSIONS[0], "memcheck-misaligned_read")[0].findings
    found = made.outcome("recorded", "cuda", Kind.FINDINGS, tool="memcheck", stage="solving", expected=False, findings=tuple(real))
    return write_report(made.write_run(tmp_path_factory.mktemp("colours") / "run", [*made.realistic(), found])).as_uri()


def contrast(*colours: str) -> float:
    """WCAG 2: between two colours as a browser prints them."""
    light = []
    for colour in colours:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        r, g, b = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        light.append(0.2126 * r + 0.7152 * g + 0.0722 * b)
    return (max(light) + 0.05) / (min(light) + 0.05)


def dark(page: Any) -> bool:
    return contrast(page.evaluate(PAPER), "rgb(0, 0, 0)") < 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(quiet_page: Any, report: str, scheme: str) -> None:
    quiet_page.emulate_media(color_scheme=scheme)
    quiet_page.goto(report)
    assert dark(quiet_page) == (scheme == "dark")
    pairs = quiet_page.evaluate(TEXTS)
    assert len(pairs) > 20
    poor = [(round(contrast(a, b), 2), what) for a, b, opacity, what in pairs if opacity != 1 or contrast(a, b) < AA]
    assert poor == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_on_the_bars_of_a_drawing_can_be_read(quiet_page: Any, report: str, scheme: str) -> None:
    quiet_page.emulate_media(color_scheme=scheme)
    quiet_page.goto(report)
    for part in ("around", "solve", "died"):
        look = "name => (({ color, backgroundColor }) => [color, backgroundColor])(getComputedStyle(document.querySelector(name)))"
        ink, fill = quiet_page.evaluate(look, f".timeline .bar .{part}")
        assert contrast(ink, fill) >= AA, (part, ink, fill)
    edge = quiet_page.evaluate("getComputedStyle(document.querySelector('.address .access')).stroke")
    assert contrast(edge, quiet_page.evaluate(PAPER)) >= 3  # what WCAG asks of a shape


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_button_goes_round_from_what_the_system_has(quiet_page: Any, report: str, scheme: str) -> None:
    quiet_page.emulate_media(color_scheme=scheme)
    quiet_page.goto(report)
    button = quiet_page.locator("#theme")
    seen = []
    for _ in range(4):
        seen.append((button.inner_text(), dark(quiet_page)))
        button.click()
    auto = ("Colours: auto", scheme == "dark")
    assert seen == [auto, ("Colours: light", False), ("Colours: dark", True), auto]
    quiet_page.reload()
    assert button.inner_text() == "Colours: light"  # where the fourth click left it


def test_the_button_works_where_nothing_may_be_stored(quiet_page: Any, report: str) -> None:
    quiet_page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no'); } });")
    quiet_page.goto(report)
    quiet_page.click("#theme")
    quiet_page.click("#theme")
    assert dark(quiet_page)
    quiet_page.reload()
    assert not dark(quiet_page)


def test_paper_is_light_whole_and_without_controls(quiet_page: Any, report: str) -> None:
    quiet_page.set_viewport_size({"width": 703, "height": 1000})  # a page of A4 between its margins
    quiet_page.goto(report)
    quiet_page.click("#theme")
    quiet_page.click("#theme")
    assert dark(quiet_page)
    quiet_page.emulate_media(media="print")
    assert not dark(quiet_page)
    for name in ("nav", "#filter", "#theme", ".copy"):
        assert not quiet_page.locator(name).first.is_visible()
    assert quiet_page.evaluate("document.documentElement.scrollWidth") <= 703
    assert quiet_page.evaluate(CUT) == []
    assert quiet_page.locator("article .timeline").first.is_visible()


def test_keys_and_screen_readers_find_their_way(quiet_page: Any, report: str) -> None:
    quiet_page.goto(report)
    quiet_page.keyboard.press("Tab")
    assert quiet_page.evaluate("document.activeElement.className") == "skip"
    assert quiet_page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0  # seen once it has the focus
    for landmark in ("header", "main", "nav[aria-label]", "form[role=search][aria-label]"):
        assert quiet_page.locator(landmark).count() == 1, landmark
    named = "name => [...document.querySelectorAll(name)].every((it) => it.ariaLabel || it.hasAttribute('aria-labelledby'))"
    assert quiet_page.evaluate(named, "section") and quiet_page.evaluate(named, "svg[role=img]")
    quiet_page.keyboard.press("Tab")
    quiet_page.keyboard.press("Tab")
    style = "(({ outlineStyle, outlineWidth }) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
    assert quiet_page.evaluate(style) == ["solid", "2px"]
