"""Text and numbers on their way into the page."""

from __future__ import annotations

import math

import pytest

from harness.report.text import Anchors, clean, clip, number

NUMBERS = [
    (None, "\u2013"),
    (math.nan, "NaN"),
    (-math.inf, "\u2212\u221e"),
    (0.0, "0"),
    (1.2e-5, "1.2e-5"),
    (-3e20, "-3e20"),
    (812.25, "812"),
    (1442.0, "1440"),
]


@pytest.mark.parametrize(("value", "text"), NUMBERS)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_clean_keeps_text_and_shows_what_cannot_be_shown() -> None:
    assert clean("a\tb\r\nc\rd \x1b[1;31mred\x1b[0m \x00 \x07 é 点 \U0001f600") == "a\tb\nc\nd red ␀ ␇ é 点 \U0001f600"
    assert clean("\udc80\ud83d\u202e\x7f\ufffe") == "\ufffd" * 5


def test_clip_loses_nothing_it_does_not_count() -> None:
    for text in ("short", "a\n" * 4000, "y" * 9000, "one\n" + "z" * 9000 + "\nend"):
        got = clip(text, 1000)
        assert len(got.head) + got.omitted + len(got.tail) == len(text.rstrip())
        assert text.startswith(got.head)
        assert text.rstrip().endswith(got.tail)
        assert len(got.head) + len(got.tail) <= 1000


def test_anchors_are_readable_distinct_and_stable() -> None:
    names = [("a", "b"), ("a b", "c"), ("a/b", "c"), ("a", "b"), ("\udc80", "x")]
    first, second = Anchors(), Anchors()
    found = [first.new("o", *name) for name in names]
    assert found[0] == "o-a--b"
    assert len(set(found)) == len(names)
    assert found == [second.new("o", *name) for name in names]
