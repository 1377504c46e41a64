"""The Markdown summary: what it says, that it fits, and that nothing in it gets out of its place."""

from __future__ import annotations

import re

import pytest
from forms_run import hostile_run, with_findings
from markdown_it import MarkdownIt
from report_run import outcome, realistic, write_run

from harness.diagnosis.ofrun import read_diagnosed
from harness.forms.markdown import MOST, code, fence, markdown, prose
from harness.outcome import ExceptionInfo, Kind


def tokens(text: str) -> list:
    return MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"]).parse(text)


def leaves(text: str) -> list:
    return [leaf for token in tokens(text) for leaf in (token.children or [token])]


def test_what_it_says(tmp_path):
    found = read_diagnosed(write_run(tmp_path / "run", realistic() + with_findings()))
    text = markdown(found)
    assert text.startswith("## Pose solvers: ")
    assert len(re.findall(r"^### \d+\. ", text, re.MULTILINE)) == len(found.bugs)
    for bug in found.bugs:
        assert code(bug.signature) in text and code(bug.diagnosis.cause) in text
    assert "python -m harness replay cases/two --solver torch" in text.replace("'", "")
    assert "2.13.0+cpu" in text and "no NVIDIA GPU on this machine" in text
    table = [token for token in tokens(text) if token.type == "tr_open"]
    assert len(table) == 1 + sum(it.expected is False for it in found.run.outcomes)


def test_a_good_run_is_short(tmp_path):
    found = read_diagnosed(write_run(tmp_path / "run", [outcome("one", "torch")]))
    text = markdown(found)
    assert "all 1 as expected" in text and "###" not in text and "| case |" not in text


def test_hostile_strings_stay_in_code(tmp_path):
    """As a renderer sees it: nothing of a case or a solver's output is a link, an image, HTML, a heading or a mention."""
    found = read_diagnosed(hostile_run(tmp_path / "run"))
    text = markdown(found)
    assert "alert(1)" in text
    html = [leaf.content for leaf in leaves(text) if leaf.type.startswith("html")]
    assert {part.strip() for part in html} <= {"<details><summary>Environment, and the command of the run</summary>", "</details>"}
    types = {leaf.type for leaf in leaves(text)}
    assert not types & {"link_open", "image", "code_block", "hr", "s_open", "em_open", "strong_open"}
    plain = [leaf.content for leaf in leaves(text) if leaf.type == "text"]
    for part in plain:
        assert not re.search(r"[@#][\w]|://\w|\bGH-\d|www\.\w", part), part
    headings = [token.tag for token in tokens(text) if token.type == "heading_open"]
    assert headings == ["h2"] + ["h3"] * len(found.bugs)
    assert not any(c in text for c in "\x00\x01\x1b\u202e\ud800")


@pytest.mark.parametrize("text", ["`", "``", "a`b", "```\n```", "`a`", " ` ", "", "\\`", "|\\|`"])
def test_nothing_ends_a_code_span_or_a_fence(text):
    inline = leaves(f"x {code(text)} y")
    assert [leaf.type for leaf in inline if leaf.type != "paragraph_close" and leaf.type != "paragraph_open"] == [
        "text",
        "code_inline",
        "text",
    ]
    block = tokens(fence(text) + "\n\nafter")
    assert [token.type for token in block][:1] == ["fence"] and block[0].content == text + "\n"
    rows = [leaf for token in tokens(f"| a |\n|---|\n| {code(text, in_table=True)} |\n") for leaf in token.children or ()]
    assert [leaf.type for leaf in rows] == ["text", "code_inline"]


@pytest.mark.parametrize(
    "text", ["*a*", "_a_", "<b>", "[a](b)", "![a](b)", "a & b &lt;", "# a", "`a`", "~~a~~", "\\*a*", "$x$", "a|b"]
)
def test_prose_is_read_as_it_was_written(text):
    read = "".join(leaf.content for leaf in leaves(f"- fix: {prose(text)}") if leaf.type == "text")
    assert read == f"fix: {text}".replace("#", "#\u200b")


def test_it_fits_into_an_issue(tmp_path):
    """Thousands of long failures: whole blocks only, the machine at the end."""
    stacks = [f'Traceback (most recent call last):\n  File "f{i}.py", line 1, in f\n' for i in range(300)]
    long = {"verdict": "long " * 300, "repeat": "python " + "x" * 3000, "expected": False}
    outcomes = [
        outcome(f"case-{i:04}", "torch", Kind.RAISED, exception=ExceptionInfo(f"E{i}", "m " * 3000, stack), **long)
        for i, stack in enumerate(stacks)
    ]
    found = read_diagnosed(write_run(tmp_path / "run", outcomes))
    assert len(found.bugs) == 300
    text = markdown(found)
    assert 20_000 < len(text) <= MOST and text.rstrip().endswith("</details>")
    assert text.count("```") % 2 == 0 and "the rest is in the report" in text


def test_what_is_nobody_s_business_is_taken_out(tmp_path):
    found = read_diagnosed(write_run(tmp_path / "run", with_findings()))
    seen: list[str] = []
    text = markdown(found, lambda it: seen.append(it) or "SCRUBBED")
    assert any("replay" in it for it in seen) and "cases/two" not in text and "memcheck" in text
    assert found.run.command in seen
