"""The report in a real browser: filters, links that keep them, copying, keys; nothing on the console and no request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import report_run as made

from harness.outcome import Kind
from harness.report.write import write_report

HOSTILE = "<img src=x onerror=document.title='pwned'></script><script>document.title='pwned'</script>"
FILTERED = """([name, value]) => {
    const start = performance.now(), control = document.querySelector(`#filter [name=${name}]`);
    control.value = value;
    control.dispatchEvent(new Event("input", { bubbles: true }));
    document.body.offsetHeight;  // laid out anew, too
    return performance.now() - start;
}"""


def crashed(case: str, solver: str) -> Any:
    return made.outcome(case, solver, Kind.CRASHED, stage="solving", expected=False, exit=made.SEGFAULT, stderr=HOSTILE)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    outcomes = [made.solved(f"case-{i}", solver, 1) for i in range(4) for solver in made.SOLVERS]
    outcomes += [crashed("case-0", f"mine{HOSTILE}.py:make"), crashed("case-3", "other.py:make")]
    return write_report(made.write_run(tmp_path_factory.mktemp("browser") / "run", outcomes), pictures=False).as_uri()


@pytest.fixture
def page(quiet_page: Any) -> Any:
    return quiet_page


def shown(page: Any) -> list[str]:
    return [it.get_attribute("id") for it in page.query_selector_all("[data-outcome]:not([hidden])")]


def test_each_filter_leaves_what_it_says_and_its_link_shows_the_same(page: Any, browser: Any, report: str) -> None:
    page.goto(report)
    everything = shown(page)
    assert len(everything) == 4 * len(made.SOLVERS) + 2
    for field, value, count in (("solver", made.SOLVERS[0], 4), ("outcome", "CRASHED", 2), ("solver", "other.py:make", 1)):
        page.select_option(f"#filter [name={field}]", value)
        assert len(shown(page)) == count
        assert page.inner_text("#filter output") == f"{count} of {len(everything)} outcomes"
        other = browser.new_page()
        other.goto(page.url)
        assert shown(other) == shown(page)
        other.close()
        page.click("#filter button")
        page.wait_for_function("n => document.querySelectorAll('[data-outcome]:not([hidden])').length === n", arg=len(everything))
    page.check("#filter [name=failed]")
    assert len(shown(page)) == 2
    rows = page.query_selector_all("table.matrix tr[data-case]:not([hidden])")
    assert [row.get_attribute("data-case") for row in rows] == ["case-0", "case-3"]
    page.fill("#filter [name=q]", "SIGSEGV case-3")
    assert len(shown(page)) == 1


SEEN = """name => [...document.querySelectorAll(name)].filter((it) => it.checkVisibility({ visibilityProperty: true }))
    .map((it) => it.innerText.split("\\n")[0].trim())"""


def seen(page: Any, selector: str) -> list[str]:
    return page.evaluate(SEEN, selector)


def test_a_filter_reaches_every_card_row_and_column(page: Any, report: str) -> None:
    """What stands for outcomes that do not fit is not there, and a section without any is gone, with its link."""
    page.goto(report)
    everything = {
        name: seen(page, name) for name in ("h2", "nav a", "article.bug h3", "table.outcomes thead th", "table.poses tbody th")
    }
    assert len(everything["article.bug h3"]) == 2 and {"Distinct bugs", "Failures"} <= set(everything["h2"])
    page.evaluate("location.hash = '#filter?solver=torch'")
    page.wait_for_selector("html.filtered")
    assert seen(page, "article.bug h3") == [] and "Distinct bugs" not in seen(page, "h2") and "Failures" not in seen(page, "h2")
    assert "Bugs 2" in everything["nav a"] and not [name for name in seen(page, "nav a") if name.startswith(("Bugs", "Failures"))]
    assert seen(page, "table.outcomes thead th") == ["Case", "torch"]
    assert seen(page, "table.outcomes tbody th") == [f"case-{i}" for i in range(4)]
    assert len(seen(page, "table.outcomes td a")) == 4
    assert seen(page, "table.poses tbody th") == ["torch"]
    page.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
    assert set(seen(page, "table.parity tbody td:nth-child(2)")) == {"torch"}
    page.evaluate("location.hash = '#filter?q=case-3+other'")
    page.wait_for_function("document.querySelectorAll('table.outcomes tbody tr:not([hidden])').length === 1")
    assert seen(page, "table.outcomes thead th") == ["Case", "other.py:make"]
    assert seen(page, "details.case > summary") == ["case-3"] and len(seen(page, "article.bug h3")) == 1
    assert seen(page, "table.poses tbody th") == [] and "Parity" not in seen(page, "h2")
    page.click("#filter button")
    page.wait_for_selector("html:not(.filtered)")
    assert {name: seen(page, name) for name in everything} == everything


def test_a_solvers_name_spans_the_columns_that_are_left(page: Any, tmp_path: Path) -> None:
    outcomes = [
        made.solved("a", "torch", 1),
        made.solved("a", "torch", 1, tool="memcheck"),
        made.solved("a", "torch", 1, memory="poison"),
    ]
    outcomes += [made.solved("a", "reference", 1)]
    page.goto(write_report(made.write_run(tmp_path / "run", outcomes), pictures=False).as_uri())
    assert seen(page, "table.outcomes thead th") == ["Case", "torch", "reference", "plain", "memcheck", "poisoned memory", "plain"]
    for value, heads, spans in (
        ("plain", ["Case", "torch", "reference", "plain", "plain"], [1, 1]),
        ("poisoned memory", ["Case", "torch", "poisoned memory"], [1]),
        ("", ["Case", "torch", "reference", "plain", "memcheck", "poisoned memory", "plain"], [3, 1]),
    ):
        page.select_option("#filter [name=tool]", value)
        assert seen(page, "table.outcomes thead th") == heads
        across = "name => [...document.querySelectorAll(name)].slice(1).map((it) => it.colSpan)"
        assert page.evaluate(across, "table.outcomes thead tr:first-child th:not([hidden])") == spans


def test_a_filter_that_fits_nothing_says_so(page: Any, report: str) -> None:
    page.goto(report)
    assert not page.is_visible("#nothing")
    page.fill("#filter [name=q]", "no such thing")
    assert page.inner_text("#nothing").startswith("Nothing matches the filter.")
    assert set(seen(page, "h2")) == {"Charts of the whole run", "Environment", "Repeat this run"}
    page.click("#nothing button")
    page.wait_for_selector("#nothing", state="hidden")
    assert len(shown(page)) == 4 * len(made.SOLVERS) + 2


def test_a_card_leads_to_the_outcomes_that_show_its_bug(page: Any, report: str) -> None:
    page.goto(report)
    page.click("article.bug >> nth=0 >> a[href^='#filter']")
    page.wait_for_selector("html.filtered")
    assert page.input_value("#filter [name=bug]") == "1"
    assert len(shown(page)) == 1 and len(seen(page, "article.bug h3")) == 1
    assert page.locator("#filter [name=bug] option:checked").inner_text() == "1: crash (SIGSEGV)"


def test_the_filter_stays_in_sight_and_covers_nothing_that_a_link_leads_to(page: Any, report: str) -> None:
    page.goto(report)
    for link in page.evaluate("[...document.querySelectorAll('nav a')].map((it) => it.getAttribute('href'))"):
        page.evaluate("link => { location.hash = link; }", link)
        page.wait_for_timeout(30)
        box = page.locator("#filter").bounding_box()
        assert 0 <= box["y"] < 200
        assert page.locator(link).bounding_box()["y"] >= box["y"] + box["height"]


def test_every_filter_agrees_with_what_is_known_of_each_outcome(page: Any, report: str) -> None:
    page.goto(report)
    known = page.evaluate("""() => [...document.querySelectorAll("[data-outcome]")].map((it) => [it.id, { ...it.dataset }])""")
    for field in ("bug", "outcome", "solver", "tool", "tag"):
        for value in page.evaluate(
            "name => [...document.querySelector(`#filter [name=${name}]`).options].map((it) => it.value)", field
        ):
            page.evaluate(FILTERED, [field, value])
            fits = [
                name for name, told in known
                if not value or value in (told.get(field, "").split() if field in ("bug", "tag") else [told[field]])
            ]  # fmt: skip
            assert shown(page) == fits, (field, value)
            assert page.get_attribute("#filter output", "aria-live") == "polite"
            said = f"{len(shown(page))} of {len(known)} outcomes" if len(shown(page)) < len(known) else f"{len(known)} outcomes"
            assert page.inner_text("#filter output") == said
        page.evaluate(FILTERED, [field, ""])


def test_a_link_to_a_filtered_outcome_shows_it(page: Any, report: str) -> None:
    page.goto(report + "#filter?outcome=CRASHED")
    assert len(shown(page)) == 2
    hidden = page.get_attribute("[data-outcome][hidden]", "id")
    page.evaluate("id => { location.hash = id; }", hidden)
    page.wait_for_function("id => document.getElementById(id).open && document.getElementById(id).checkVisibility()", arg=hidden)
    assert len(shown(page)) == 4 * len(made.SOLVERS) + 2


def test_commands_are_copied_and_keys_lead_on(page: Any, report: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(report)
    page.click("article .copy >> nth=0")
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("python -m harness replay")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.press("j")  # a letter, there
    assert page.input_value("#filter [name=q]") == "j"
    page.evaluate("document.activeElement.blur()")
    page.fill("#filter [name=q]", "")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.textContent") != first
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.textContent") == first


def test_what_a_solver_calls_itself_or_prints_is_only_text(page: Any, report: str) -> None:
    page.goto(report)
    assert page.title() != "pwned" and page.query_selector("img[src=x]") is None
    assert any(HOSTILE in it.inner_text() for it in page.query_selector_all("article pre"))


@pytest.mark.parametrize("one_file", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_thousand_outcomes_are_filtered_at_once(page: Any, tmp_path: Path, one_file: bool) -> None:
    outcomes = [made.solved(f"case-{i:03}", solver, i % 11) for i in range(500) for solver in (*made.SOLVERS, "mine.py:fast")]
    file = write_report(made.write_run(tmp_path / "run", outcomes), one_file=one_file)
    assert one_file == (not list(file.parent.glob("cases-*.html")))
    page.goto(file.as_uri())
    for name, value, count in (("solver", "mine.py:fast", 500), ("q", "case-49 fast", 10)):
        milliseconds = page.evaluate(FILTERED, [name, value])
        assert len(shown(page)) == count
        assert milliseconds < 1000
