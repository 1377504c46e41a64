"""A report on several pages, opened from disk in a real browser: every link leads to its outcome, on whichever page that is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import report_run as made

from harness.outcome import Kind
from harness.report import sheets, write
from harness.report.write import write_report

HOSTILE = "]]><script>document.title='pwned'</script>\u202e" + "x" * 100_000
SHEET = re.compile(r"/cases-\d{4}\.html#")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that would fit on one page, were a page not smaller here."""
    outcomes = [made.solved(f"case-{i:02}", solver, i) for i in range(12) for solver in made.SOLVERS]
    crash = {"stage": "solving", "expected": False, "stderr": HOSTILE}
    outcomes.append(made.outcome("case-07", "mine.py:make", Kind.CRASHED, exit=made.SEGFAULT, **crash))
    outcomes.append(made.outcome("case-\u0434 &#x;%", "mine.py:make", Kind.TIMEOUT, limit_s=3.0, **crash))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "PAGE_BYTES", 100_000)
        patch.setattr(sheets, "SHEET_BYTES", 40_000)
        return write_report(made.write_run(tmp_path_factory.mktemp("sheets") / "run", outcomes))


def ids(page: Any, selector: str = "[data-outcome]:not([hidden])") -> list[str]:
    return page.evaluate("name => [...document.querySelectorAll(name)].map((it) => it.id)", selector)


def in_view(page: Any, name: str) -> bool:
    """Shown, opened, and where the reader looks."""
    return page.evaluate(
        """name => { const it = document.getElementById(name), box = it.getBoundingClientRect();
        return it.checkVisibility() && it.open !== false && box.top < innerHeight && box.bottom > 0; }""",
        name,
    )


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_link_to_any_outcome_or_case_leads_to_its_page(quiet_page: Any, index: Path, every: int) -> None:
    quiet_page.goto(index.as_uri())
    wanted = ids(quiet_page) + ids(quiet_page, ".stubs h3, .stubs h3 a[id]")
    assert len(wanted) == 38 + 13 + 13
    for name in [*wanted[::every], *wanted[-2:]]:  # each takes a page that is loaded twice
        quiet_page.goto(index.as_uri())
        quiet_page.evaluate("name => { location.hash = name; }", name)
        quiet_page.wait_for_url(SHEET)
        assert in_view(quiet_page, name), name


def test_a_click_leads_there_and_back(quiet_page: Any, index: Path) -> None:
    quiet_page.goto(index.as_uri())
    quiet_page.click("table.matrix td.failed a >> nth=0")
    quiet_page.wait_for_url(SHEET)
    assert "SIGSEGV" in quiet_page.inner_text("article.failure")
    quiet_page.click("nav a >> nth=0")
    assert quiet_page.url == index.as_uri()


def test_a_link_opened_from_outside_is_not_lost(quiet_page: Any, index: Path) -> None:
    quiet_page.goto(index.as_uri())
    name = ids(quiet_page)[20]
    quiet_page.goto("about:blank")
    quiet_page.goto(f"{index.as_uri()}#{name}")
    quiet_page.wait_for_url(SHEET)
    assert in_view(quiet_page, name)


def test_every_link_of_every_page_has_an_end(quiet_page: Any, index: Path) -> None:
    files = sorted(index.parent.glob("*.html"))
    assert len(files) > 3
    known: dict[str, set[str]] = {}
    asked: set[tuple[str, str]] = set()
    for file in files:
        quiet_page.goto(file.as_uri())
        known[file.name] = set(ids(quiet_page, "[id]"))
        for href in quiet_page.evaluate("[...document.querySelectorAll('a[href]')].map((it) => it.getAttribute('href'))"):
            name, sign, anchor = href.partition("#")
            if sign and not anchor.startswith("filter?"):
                asked.add((name or file.name, anchor))
            assert (index.parent / (name or file.name)).is_file()
    assert len(asked) > 100
    assert [(name, anchor) for name, anchor in asked if anchor not in known[name]] == []


def test_pages_lead_on_and_their_keys_work(quiet_page: Any, index: Path) -> None:
    quiet_page.goto((index.parent / "cases-0001.html").as_uri())
    seen = 1
    while quiet_page.locator("nav a[rel=next]").count():
        quiet_page.click("nav a[rel=next]")
        seen += 1
    assert seen == len(list(index.parent.glob("cases-*.html")))
    quiet_page.keyboard.press("/")  # there is nothing to search in
    quiet_page.keyboard.press("j")
    assert quiet_page.evaluate("document.activeElement.matches('summary, h3 a')")


def test_the_index_filters_what_is_on_other_pages(quiet_page: Any, index: Path) -> None:
    quiet_page.goto(index.as_uri() + "#filter?failed=1")
    assert len(ids(quiet_page)) == 2
    quiet_page.uncheck("#filter [name=failed]")
    assert len(ids(quiet_page)) == 38
    quiet_page.fill("#filter [name=q]", "case-07 mine")
    [name] = ids(quiet_page)
    assert quiet_page.locator(".stubs:not([hidden])").count() == 1
    quiet_page.evaluate("document.activeElement.blur()")
    quiet_page.keyboard.press("j")
    quiet_page.keyboard.press("Enter")
    quiet_page.wait_for_url(SHEET)
    assert quiet_page.url.endswith("#" + name)


def test_an_address_that_is_no_text_breaks_nothing(quiet_page: Any, index: Path) -> None:
    for wrong in ("%E0%A4%A", "nothing", "%", "filter?q=%E0%A4%A&failed"):
        quiet_page.goto("about:blank")
        quiet_page.goto(f"{index.as_uri()}#{wrong}")
        assert quiet_page.locator("#filter").is_visible()


def test_hostile_words_are_text_on_every_page(quiet_page: Any, index: Path) -> None:
    shown = ""
    for file in index.parent.glob("*.html"):
        quiet_page.goto(file.as_uri())
        assert quiet_page.title() != "pwned" and quiet_page.locator("script").count() == 1
        shown += quiet_page.evaluate("document.body.textContent")
        assert file.stat().st_size < 3e6
    assert "]]><script>document.title='pwned'</script>\ufffdxxx" in shown and "\u202e" not in shown
    assert "characters left out here" in shown
