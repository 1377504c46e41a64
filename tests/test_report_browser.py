"""The report in a real browser: filters, links that keep them, copying, keys; nothing on the console and no request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import report_run as made

from harness.outcome import Kind
from harness.report import write_report

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


def test_every_filter_agrees_with_what_is_known_of_each_outcome(page: Any, report: str) -> None:
    page.goto(report)
    known = page.evaluate("""() => [...document.querySelectorAll("[data-outcome]")].map((it) => [it.id, { ...it.dataset }])""")
    for field in ("outcome", "solver", "tool", "tag"):
        for value in page.evaluate(
            "name => [...document.querySelector(`#filter [name=${name}]`).options].map((it) => it.value)", field
        ):
            page.evaluate(FILTERED, [field, value])
            fits = [
                name for name, told in known if not value or value in (told[field].split() if field == "tag" else [told[field]])
            ]
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
    page.wait_for_function("id => document.getElementById(id).open", arg=hidden)
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


@pytest.mark.parametrize("one_file", [False, True])
def test_two_thousand_outcomes_are_filtered_at_once(page: Any, tmp_path: Path, one_file: bool) -> None:
    outcomes = [made.solved(f"case-{i:03}", solver, i % 11) for i in range(500) for solver in (*made.SOLVERS, "mine.py:fast")]
    file = write_report(made.write_run(tmp_path / "run", outcomes), pictures=False, one_file=one_file)
    assert one_file == (not list(file.parent.glob("cases-*.html")))
    page.goto(file.as_uri())
    for name, value, count in (("solver", "mine.py:fast", 500), ("q", "case-49 fast", 10)):
        milliseconds = page.evaluate(FILTERED, [name, value])
        assert len(shown(page)) == count
        assert milliseconds < 1000
