"""What is drawn of a fault: its address, from what compute-sanitizer really wrote, and the time up to it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import html_tree
import pytest
import report_run as made
import sanitizer_recordings as recorded

from harness.outcome import Kind
from harness.report.addresses import access_of, address_drawing, said
from harness.report.findings import views
from harness.report.timeline import timeline

CELL = 12


def finding(version: str, name: str) -> dict[str, Any]:
    return recorded.read(version, name)[0].findings[0]


def corners(path: str) -> list[float]:
    return [float(part.split()[0]) for part in path.split("M")[1:]]


def drawn(found: dict[str, Any]) -> html_tree.Element:
    [svg] = html_tree.parse(str(address_drawing(found))).all("svg")
    return svg


@pytest.mark.parametrize("version", recorded.VERSIONS)
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("memcheck-misaligned_read", "12 past a multiple of 16; 12 bytes into the allocation of 512 bytes"),
        ("memcheck-misaligned_write", "4 past a multiple of 16; 4 bytes into the allocation of 1024 bytes"),
        ("memcheck-read_past_end", "; right after the end of the allocation of 128 bytes"),
        ("memcheck-read_before", "; 4 bytes before the start of the allocation of 512 bytes"),
        ("memcheck-shared_past_end", "read of 4 bytes at 0x480; no allocation is known there"),
    ],
)
def test_a_recorded_address_is_told_against_its_allocation(version: str, name: str, where: str) -> None:
    assert where in drawn(finding(version, name)).attributes["aria-label"]


@pytest.mark.parametrize("version", recorded.VERSIONS)
def test_every_recorded_address_is_drawn_byte_for_byte(version: str) -> None:
    seen = 0
    for name in recorded.names(version):
        for found in recorded.read(version, name)[0].findings:
            if found["address"] is None:
                assert not address_drawing(found)
                continue
            svg, seen = drawn(found), seen + 1
            first = int(next(it.text for it in svg.all("text") if it.text.startswith("0x")), 16)  # of the multiples of 16
            [access] = svg.all("path", "access")
            assert corners(access.attributes["d"]) == [(found["address"] - first) * CELL]
            assert first % 16 == 0 and first <= found["address"] < first + 32
            near = found["nearest_allocation"]
            own = [x for x in range(64) if near and near["address"] <= first + x < near["address"] + near["size"]]
            bytes_drawn = [x for it in svg.all("path", "in") for x in corners(it.attributes["d"]) if "h12v" in it.attributes["d"]]
            assert bytes_drawn == [x * CELL for x in own]
            assert bool(svg.all("path", "slot")) == bool(found["kind"] == "misaligned")
    assert seen > 10


def test_an_aligned_slot_lies_before_a_misaligned_access() -> None:
    found = finding(recorded.VERSIONS[0], "memcheck-misaligned_read")
    [slot], [access] = (drawn(found).all("path", name) for name in ("slot", "access"))
    assert corners(access.attributes["d"])[0] - corners(slot.attributes["d"])[0] == 12 * CELL
    planted = found | {"address": found["address"] - 12}
    assert not drawn(planted).all("path", "slot")


def test_ticks_stand_at_multiples() -> None:
    svg = drawn(finding(recorded.VERSIONS[0], "memcheck-misaligned_read"))
    at = {step: {x / CELL for x in corners(svg.all("path", f"t{step}")[0].attributes["d"])} for step in (4, 8, 16)}
    assert at == {16: {0, 16, 32, 48, 64}, 8: {8, 24, 40, 56}, 4: set(range(4, 64, 8))}


def test_the_line_of_a_recorded_fault_is_marked() -> None:
    found = finding(recorded.VERSIONS[0], "memcheck-write_past_end")
    [view] = views((found,))
    [hit] = [line for line in view.lines if line.hit]
    assert int(hit.number) == found["where"]["line"] and len(view.lines) > 1
    assert view.drawing and str(found["where"]["line"]) in view.place


@pytest.mark.parametrize("size", [3, 12, 1 << 70, 0, -4, "4", None, True])
@pytest.mark.parametrize("address", [1 << 64, -1, "0x10", True, 0, 7, (1 << 64) - 1, None, math.nan])
def test_addresses_that_nobody_has_are_left_out_or_drawn_whole(address: Any, size: Any) -> None:
    for near in (None, 3, {}, {"address": "x", "size": 4}, {"address": 0, "size": 1 << 63, "distance": 0}):
        made_up = {"address": address, "size": size, "nearest_allocation": near, "direction": "<script>"}
        access = access_of(made_up)
        possible = isinstance(address, int) and not isinstance(address, bool) and 0 <= address < 1 << 64
        assert (access is not None) == possible
        if access is not None:
            svg = drawn(made_up)
            assert svg.attributes["aria-label"] == said(access)
            assert not svg.all("script")
            for path in svg.all("path"):
                assert all(-4 <= x <= 64 * CELL + 4 for x in corners(path.attributes["d"]))


STAGES = (("spawned", 0.0), ("imported", 0.06257), ("loaded", 0.06958), ("context", 0.07164), ("solving", 0.07168))
"""As a run under AddressSanitizer left them that it ended at 0.93 s."""


def test_time_is_to_scale_and_the_end_is_where_it_died() -> None:
    died = made.outcome("a", "b", Kind.CRASHED, stage="solving", expected=False, exit=made.SEGFAULT)
    died = replace(died, stages=STAGES, seconds=0.93)
    [bar] = (drawn := html_tree.parse(str(timeline(died)))).all("div", "bar")
    parts = {it.text: it.attributes for it in bar.all("i")}
    assert list(parts) == ["import", "load case", "place tensors", "prepare", "solve"]
    shares = {name: float(it["style"].removeprefix("flex-grow:")) for name, it in parts.items()}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert shares["solve"] == pytest.approx((0.93 - 0.07168) / 0.93, abs=1e-4)
    assert parts["solve"]["class"] == "died" and parts["solve"]["title"] == "solve: 858 ms"
    assert "930 ms, died: SIGSEGV during solve" in drawn.text and "not reached: solved, written" in drawn.text


def test_every_part_of_the_bar_is_named_below_it_in_its_colour() -> None:
    drawn = html_tree.parse(str(timeline(made.solved("a", "b", 1))))
    names = ["import", "load case", "place tensors", "prepare", "solve", "write result", "end"]
    parts, below = drawn.all("div", "bar")[0].all("i"), drawn.all("li")
    assert [it.text for it in parts] == [it.all("b")[0].text for it in below] == names
    assert [it.attributes["class"] for it in parts] == [it.all("i")[0].attributes["class"] for it in below]
    assert {it.text for it in parts if it.attributes["class"] == "solve"} == {"solve"}
    assert "died" not in drawn.text and "not reached" not in drawn.text
    assert "iterations 1\u20136" in below[4].text


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (Kind.TIMEOUT, {"limit_s": 20.0}, "ended at the limit"),
        (Kind.CUDA_ERROR, {"cuda": made.MISALIGNED}, "CUDA error 716"),
        (Kind.FINDINGS, {"findings": (made.FINDING,), "tool": "asan"}, "ended by asan"),
    ],
)
def test_each_end_has_its_words(kind: Kind, fields: dict[str, Any], words: str) -> None:
    ended = made.outcome("a", "b", kind, stage="solving", expected=False, **fields)
    assert f"{words} during solve" in html_tree.parse(str(timeline(replace(ended, seconds=3.0)))).text


@pytest.mark.parametrize("times", [(), (0.0, math.nan), (0.0, math.inf), (1.0, 0.5), (-1.0, 0.5)])
def test_times_that_cannot_be_are_not_drawn(times: tuple[float, ...]) -> None:
    odd = made.outcome("a", "b", Kind.CRASHED, stage="solving", expected=False, exit=made.SEGFAULT)
    assert timeline(replace(odd, stages=tuple(zip(("spawned", "imported"), times, strict=False)))) == ""
