"""Turn whatever a replay left behind into text a page can hold: clean, short, and numbers that read well."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

from harness.errors import ResultError

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]+")


def clean(text: str) -> str:
    """The same text with terminal colours gone and whatever HTML, SVG or UTF-8 cannot carry made visible.

    Control characters become their Unicode pictures. Lone surrogates and the marks that reverse the direction of text, by which
    a traceback could be made to read as something else, become U+FFFD.
    """
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNPRINTABLE.sub(lambda match: chr(0x2400 + ord(match[0])) if match[0] < "\x20" else "\ufffd", text)


CUT_WITHIN = 200
"""Characters that may be given up so that a cut falls between two lines."""


@dataclass(frozen=True)
class Clipped:
    """The beginning and the end of a long text, and how many characters between them are left out."""

    head: str
    omitted: int = 0
    tail: str = ""


def clip(text: str, limit: int) -> Clipped:
    """At most about ``limit`` characters: a quarter from the start, the rest from the end, where programs say why they died.

    Cut between lines where lines are short.
    """
    text = text.rstrip()
    if len(text) <= limit:
        return Clipped(clean(text))
    head, tail = text[: limit // 4], text[len(text) - (limit - limit // 4) :]
    head = head[: head.rfind("\n", max(0, len(head) - CUT_WITHIN)) + 1] or head
    tail = tail[tail.find("\n", 0, CUT_WITHIN) + 1 :]
    return Clipped(clean(head), len(text) - len(head) - len(tail), clean(tail))


def shorten(text: str, length: int) -> str:
    """One line of at most ``length`` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= length else line[: length - 1] + "\u2026"


class Anchors:
    """Element ids for links: readable, the same in every report of the same run, never the same twice."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def new(self, prefix: str, *names: str) -> str:
        raw = "--".join(names)
        slug = _NOT_IN_AN_ID.sub("-", raw)
        if slug != raw:
            slug += "-" + hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        anchor, n = f"{prefix}-{slug}", 1
        while anchor in self._used:
            n += 1
            anchor = f"{prefix}-{slug}~{n}"
        self._used.add(anchor)
        return anchor


def as_float(value: Any, where: str, field: str) -> float | None:
    """A number of a run file, where NaN and infinities are words. Raises ``ResultError`` when it is neither."""
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ResultError(clean(where), field, f"is not a number: {shorten(repr(value), 60)}") from None


def number(value: float | None, digits: int = 3) -> str:
    """``1.2e-5`` rather than ``1.2e-05``, ``1400`` rather than ``1.4e+03``; a dash when there is none."""
    if value is None:
        return "\u2013"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "\u221e" if value > 0 else "\u2212\u221e"
    text = f"{value:.{digits}g}"
    if "e+" in text and abs(value) < 1e6:
        return f"{float(text):.0f}"
    return re.sub(r"e([+-])0*(\d)", lambda match: "e" + ("-" if match[1] == "-" else "") + match[2], text)


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return number(seconds)
    if abs(seconds) < 1e-3:
        return f"{number(seconds * 1e6)} \u00b5s"
    if abs(seconds) < 1:
        return f"{number(seconds * 1e3)} ms"
    if abs(seconds) < 120:
        return f"{number(seconds)} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def count(n: int, noun: str, plural: str | None = None) -> str:
    return f"{n} {noun if n == 1 else plural or noun + 's'}"
