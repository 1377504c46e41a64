"""A finding of a sanitizer as a reader asks for it: what, in which line, at which address against which allocation, from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness.report.addresses import address_drawing
from harness.report.text import clean, shorten
from harness.sanitizer.words import access, place

MOST = 50
"""Findings shown of one outcome; the others are in its JSON."""
_LONG, _FRAMES = 400, 120
"""Characters of a line, frames of a stack, and lines of source that are shown of one finding."""
_PLAIN = ("tool", "signature", "where", "host_stack", "nearest_allocation", "count", "message")


@dataclass(frozen=True)
class Line:
    """A line of source; ``hit`` marks the one that the finding names."""

    number: str
    text: str
    hit: bool


@dataclass(frozen=True)
class FindingView:
    title: str
    message: str
    facts: tuple[tuple[str, str], ...]
    drawing: Markup
    place: str
    lines: tuple[Line, ...]
    stack: tuple[str, ...]


def views(findings: tuple[dict[str, Any], ...]) -> tuple[FindingView, ...]:
    """Every finding, whatever is missing in it: outcomes may be of another version, or of somebody's own making."""
    return tuple(_view(finding, i, len(findings)) for i, finding in enumerate(findings[:MOST], 1) if isinstance(finding, Mapping))


def _view(finding: Mapping[str, Any], i: int, of: int) -> FindingView:
    where = finding.get("where")
    where = where if isinstance(where, Mapping) else {}
    count = finding.get("count")
    times = f", {count} times" if isinstance(count, int) and count > 1 else ""
    facts = [("Access", access(finding)), ("Address", _address(finding)), ("Allocation", _allocation(finding))]
    facts += [("Kernel", _word(finding.get("kernel"))), ("Thread", _thread(finding))]
    known = {"kind", "space", "direction", "size", "address", "address_mod_size", "kernel", "thread", "block", *_PLAIN}
    facts += [(str(name), _word(value)) for name, value in finding.items() if name not in known]
    return FindingView(
        title=shorten(f"Finding {i} of {of}: {_word(finding.get('kind')) or 'without a kind'}{times}", 200),
        message=shorten(_word(finding.get("message")), 600),
        facts=tuple((shorten(name, 80), shorten(value, _LONG)) for name, value in facts if value),
        drawing=address_drawing(finding),
        place=shorten(place(finding), _LONG),
        lines=_lines(where),
        stack=_stack(finding.get("host_stack")),
    )


def _address(finding: Mapping[str, Any]) -> str:
    address, size, mod = (finding.get(name) for name in ("address", "size", "address_mod_size"))
    if not isinstance(address, int):
        return ""
    if not isinstance(size, int) or not isinstance(mod, int):
        return f"0x{address:x}"
    verdict = f"{mod} past a multiple of {size}" if mod else f"a multiple of {size}"
    return f"0x{address:x}, which is {verdict}"


def _allocation(finding: Mapping[str, Any]) -> str:
    """Where the address lies against the allocation next to it."""
    near, address = finding.get("nearest_allocation"), finding.get("address")
    if not isinstance(near, Mapping) or not all(isinstance(near.get(name), int) for name in ("address", "size", "distance")):
        return ""
    if near["distance"] == 0:
        into = f"{address - near['address']} bytes into" if isinstance(address, int) else "inside"
        return f"{into} the allocation of {near['size']} bytes at 0x{near['address']:x}"
    side = "before" if isinstance(address, int) and address < near["address"] else "after"
    return f"byte {near['distance']} {side} the allocation of {near['size']} bytes at 0x{near['address']:x}"


def _thread(finding: Mapping[str, Any]) -> str:
    parts = [
        f"{name} ({', '.join(map(str, at))})" for name in ("thread", "block") if isinstance(at := finding.get(name), (list, tuple))
    ]
    return " in ".join(parts)


def _lines(where: Mapping[str, Any]) -> tuple[Line, ...]:
    rows = where.get("snippet")
    rows = [row for row in rows if isinstance(row, (list, tuple)) and len(row) == 2] if isinstance(rows, (list, tuple)) else []
    rows = [(str(number)[:12], str(text)[:_LONG], number == where.get("line")) for number, text in rows[:_FRAMES]]
    width = max((len(number) for number, _, _ in rows), default=0)
    return tuple(Line(clean(number.rjust(width)), clean(text), hit) for number, text, hit in rows)


def _stack(frames: Any) -> tuple[str, ...]:
    """One line a frame, innermost first; a frame without source says which library it is in."""
    shown = []
    for frame in frames[:_FRAMES] if isinstance(frames, (list, tuple)) else ():
        if isinstance(frame, Mapping):
            line = f"{frame['path']}:{frame.get('line')}" if frame.get("path") else _word(frame.get("module"))
            shown.append(clean(f"{_word(frame.get('function'))[:_LONG] or '?'}  {line[:_LONG]}"))
    return tuple(shown)


def _word(value: Any) -> str:
    return "" if value is None else str(value)
