"""A finding on the page: its line marked among its neighbours, its address against alignment and allocation, its stack."""

from __future__ import annotations

import dataclasses

import pytest
import sanitizer_recordings as recordings
from jinja2 import Environment, PackageLoader

from harness.outcome import Kind, Outcome
from harness.report.evidence import Place, section
from harness.report.findings import MOST, views
from harness.sanitizer.finding import finding


def shown(name: str, version: str = recordings.VERSIONS[1]):
    return views(recordings.decide(version, name).findings)[0]


def test_a_misaligned_read() -> None:
    it = shown("memcheck-misaligned_read")
    facts = dict(it.facts)
    assert it.title == "Finding 1 of 1: misaligned, 32 times"
    assert facts["Access"] == "read of 16 bytes in global memory"
    assert facts["Address"].endswith("which is 12 past a multiple of 16")
    assert facts["Allocation"].startswith("12 bytes into the allocation of 512 bytes at 0x")
    assert facts["Kernel"] == "misaligned_read" and facts["Thread"] == "thread (0, 0, 0) in block (0, 0, 0)"
    assert it.place.startswith("tests/recordings/faults.cu:")
    assert [line.hit for line in it.lines] == [False, False, True, False, False]
    assert "reinterpret_cast<const float4*>(in + 3)" in it.lines[2].text
    assert any("target.py:" in frame for frame in it.stack)


@pytest.mark.parametrize(("name", "said"), [
    ("memcheck-read_past_end", "byte 1 after the allocation of 128 bytes"),
    ("memcheck-read_before", "byte 4 before the allocation"),
])  # fmt: skip
def test_which_side_of_an_allocation(name: str, said: str) -> None:
    """The allocation before it is nearer than the one that was meant, where the tool says so."""
    facts = dict(shown(name).facts)
    near = recordings.decide(recordings.VERSIONS[1], name).findings[0]
    if name == "memcheck-read_before" and near["address"] > near["nearest_allocation"]["address"]:
        said = "byte 4 after the allocation"
    assert facts["Allocation"].startswith(said)


def test_the_template_escapes_and_marks() -> None:
    rows = views((finding("asan", "out-of-bounds", "<b>bad</b>", where={"path": "a<b>.cpp", "line": 2,
                          "snippet": [[1, "int x;"], [2, "x < y && <script>"], [3, ""]]}),))  # fmt: skip
    page = Environment(loader=PackageLoader("harness.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = str(page.get_template("findings.html.j2").module.findings(rows, 3))  # type: ignore[attr-defined]
    assert "<mark>2 &gt; x &lt; y &amp;&amp; &lt;script&gt;" in html
    assert "<script>" not in html and "<b>bad" not in html and "3 more findings" in html


@pytest.mark.parametrize("odd", [
    {}, {"kind": None, "where": "x"}, {"where": {"path": "p", "snippet": [1, [2], [3, 4]]}}, {"host_stack": [1, {}]},
    {"nearest_allocation": {"address": 1}}, {"address": 5, "nearest_allocation": {"address": 1, "size": 2, "distance": 3}},
    {"address": "x", "size": "y", "count": "z", "thread": 7}, {"mine": "own"},
])  # fmt: skip
def test_a_finding_of_another_make_is_shown_all_the_same(odd: dict) -> None:
    (it,) = views((odd,))
    assert it.title.startswith("Finding 1 of 1") and all(isinstance(value, str) for value in dataclasses.astuple(it)[:2])
    assert ("mine", "own") in it.facts or "mine" not in odd


def test_of_very_many_some_are_shown() -> None:
    assert len(views(({"kind": "race"},) * (MOST + 5))) == MOST


@pytest.mark.parametrize(("by", "said"), [
    ({"launched": ["solve_ray_dist"]}, "; launched: solve_ray_dist"),
    ({"libraries": ["/srv/libmine.so", "/srv/b.so"]}, "; watched: libmine.so, b.so"),
    ({"libraries": [f"/{i}.so" for i in range(7)]}, "; watched: 0.so, 1.so, 2.so, 3.so, 4.so and 2 more"),
    ({"libraries": []}, ""), ({"libraries": "all"}, ""),
])  # fmt: skip
def test_what_a_tool_watched_is_said(by: dict, said: str) -> None:
    watched = {"watched_by": {"name": "asan", "version": "gcc 12", "source": "/lib/libasan.so"} | by}
    ended = {"status": "CONVERGED", "tool_state": "clean", "values": watched}
    outcome = Outcome("c", "mine.py:make", "asan", Kind.OK, "written", 1.0, "again", **ended)
    facts = dict(section(outcome, None, {}, {}, Place("1", "#case"), 100).facts)
    assert facts["Tool"] == f"asan gcc 12 (/lib/libasan.so): clean{said}"
