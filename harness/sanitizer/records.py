"""compute-sanitizer's XML records -> findings. Whatever the file holds, this gives what could be read and says what could not.

Its shapes are those of the recordings in tests/recordings. What stands only in the text, the allocation next to an access, is the
caller's to hand over (``text.Log.nearest``).
"""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.sanitizer import launches
from harness.sanitizer.finding import Finding, finding, place_name
from harness.sanitizer.kinds import direction_of, kind_of, space_of
from harness.sanitizer.source import where

LARGEST_BYTES = 256 << 20
_MOST_FRAMES = 64
_MOST_TEXT = 4000
_CHUNK = 1 << 20

HARMLESS_API = frozenset({("cuCtxGetDevice", 201), ("cuCtxGetCurrent", 201), ("cuCtxGetDevice_v2", 201)})
"""cuda.core asks which context is current before there is one; the answer "none" is counted as an error by the tool."""
STICKY = frozenset({700, 702, 710, *range(714, 720)})
"""After a fault on the device every further call fails with one of these: an echo of it, not a fault of its own."""

_INSIDE_A_KERNEL = re.compile(r"\$([^$]+)\$(.+)")
"""How the tool names a function that is not inlined: ``$kernel$function``."""


@dataclass(frozen=True)
class Records:
    """What the file holds. ``findings`` are not yet grouped.

    ``launched`` are the kernels that the tool saw the solver launch and instrumented, ``unplaced`` those whose stack does not say
    whose they are, ``own`` the harness's (``launches.origin``), ``filtered`` those that the tool's filter left out.
    ``harmless`` counts records that are no fault of the program, ``echoes`` calls that failed only because a fault had happened.
    ``problem`` says why the file cannot be read to its end.
    """

    findings: tuple[Finding, ...] = ()
    launched: tuple[str, ...] = ()
    unplaced: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()
    harmless: int = 0
    echoes: int = 0
    exists: bool = False
    problem: str | None = None

    @property
    def launches(self) -> int:
        return len(self.launched) + len(self.unplaced) + len(self.own) + len(self.filtered)


def read(file: Path, tool: str, roots: Sequence[Path] = (), nearest: Mapping[int, dict[str, int]] | None = None) -> Records:
    """The records of a run of ``tool``. ``nearest`` maps the address of an access to the allocation next to it."""
    reading = _Reading(tool, roots, nearest or {})
    try:
        for record in _records(file):
            reading.take(record)
    except FileNotFoundError:
        return Records(problem="there is no record file")
    except (OSError, ET.ParseError, _Unreadable, ValueError, LookupError) as error:
        return dataclasses.replace(reading.records(), problem=f"its record file cannot be read to the end: {error}")
    return reading.records()


class _Unreadable(Exception):
    """Not what compute-sanitizer writes."""


def _records(file: Path) -> Iterator[ET.Element]:
    size = file.stat().st_size
    if size > LARGEST_BYTES:
        raise _Unreadable(f"it has {size} bytes")
    _refuse_entities(file)
    with open(file, "rb") as handle:
        depth, root = 0, None
        for event, element in ET.iterparse(handle, events=("start", "end")):
            depth += 1 if event == "start" else -1
            if root is None:
                root = element
                if element.tag != "ComputeSanitizerOutput":
                    raise _Unreadable(f"it starts with {element.tag[:40]!r}")
            elif event == "end" and depth == 1:
                if element.tag == "record":
                    yield element
                root.remove(element)  # not clear(): the parser is ahead, and the next ones are there already
        if root is None:
            raise _Unreadable("it is empty")


def _refuse_entities(file: Path) -> None:
    """No document types and no encodings to hide them in: foreign code could have written over the file."""
    with open(file, "rb") as handle:
        tail = b""
        while chunk := handle.read(_CHUNK):
            if b"<!DOCTYPE" in tail + chunk:
                raise _Unreadable("it has a document type")
            if b"\0" in chunk:
                raise _Unreadable("it is no UTF-8 text")
            tail = chunk[-16:]


class _Reading:
    """What the records so far have come to."""

    def __init__(self, tool: str, roots: Sequence[Path], nearest: Mapping[int, dict[str, int]]) -> None:
        self.tool, self.roots, self.nearest = tool, roots, nearest
        self.findings: list[Finding] = []
        self.analyses: list[Finding] = []
        self.launched: dict[str, list[str]] = {launches.SOLVE: [], launches.UNKNOWN: [], launches.HARNESS: []}
        self.filtered: list[str] = []
        self.harmless = self.echoes = 0

    def take(self, record: ET.Element) -> None:
        kind = _text(record, "kind") or ""
        if kind == "LaunchInfo":
            frames = ((_text(frame, "func"), _text(frame, "path")) for frame in record.iterfind("hostStack/frame"))
            to = self.filtered if _text(record, "what/filtered") == "true" else self.launched[launches.origin(frames)]
            to.append((_text(record, "what/kernel") or "a kernel without a name")[:_MOST_TEXT])
            return
        result = _integer(_text(record, "what/result"))
        if kind == "Api" and (_text(record, "what/api"), result) in HARMLESS_API:
            self.harmless += 1
        elif kind == "Api" and result in STICKY and any(found["kind"] != "api-error" for found in self.findings):
            self.echoes += 1
        else:
            read = _READERS.get(kind, _finding)
            (self.analyses if kind == "Analysis" else self.findings).append(read(self, record))

    def records(self) -> Records:
        findings = self.findings + _unseen(self.analyses, self.findings)
        solver, unplaced, own = (tuple(self.launched[whose]) for whose in (launches.SOLVE, launches.UNKNOWN, launches.HARNESS))
        return Records(
            tuple(findings), solver, unplaced, own, tuple(self.filtered), self.harmless, self.echoes, exists=True
        )  # fmt: skip


def _unseen(analyses: list[Finding], hazards: list[Finding]) -> list[Finding]:
    """An analysis sums up single hazards: it is a finding of its own where none of them was written, and else says how many."""
    alone = []
    for analysis in analyses:
        same = [hazard for hazard in hazards if hazard["signature"] == analysis["signature"]]
        if same:
            same[0]["count"] += max(0, analysis["count"] - sum(hazard["count"] for hazard in same))
        else:
            alone.append(analysis)
    return alone


def _finding(reading: _Reading, record: ET.Element) -> Finding:
    """Any record that names at most one access: Precise, Imprecise, StackOverflow, Syscall, Initcheck, Synccheck, Api, Leak."""
    kind = _text(record, "kind") or ""
    message = _message(record)
    at = record.find("where")
    innermost = _frame(at) if at is not None else None
    address = _integer(_text(record, "what/address") or _text(record, "what/accessAddress"))
    size = _integer(_text(record, "what/size") or _text(record, "what/accessSize"))
    tool_kind = kind_of(kind, message, reading.tool)
    return finding(
        reading.tool, tool_kind, message,
        space=space_of(_text(record, "what/space") or message) or ("heap" if kind == "Syscall" else None),
        direction=direction_of(_text(record, "what/direction") or message) or ("read" if kind == "InitcheckApiError" else None),
        size=size, address=address, nearest_allocation=reading.nearest.get(address) if address is not None else None,
        kernel=_kernel(record, innermost), where=where(innermost["path"], innermost["line"], reading.roots) if innermost else None,
        thread=_index(record, "threadIdx"), block=_index(record, "blockIdx"), host_stack=_stack(record.find("hostStack")),
    )  # fmt: skip


def _hazard(reading: _Reading, record: ET.Element) -> Finding:
    """Two threads at one place of shared memory. The message names both."""
    first, second = record.find("what/thread0"), record.find("what/thread1")
    return _race(
        reading, record, first, second, _text(record, "what/common/type"), "access",
        address=_integer(_text(record, "what/common/address")),
        block=_index(record, "blockIdx"), host_stack=_stack(record.find("hostStack")),
    )  # fmt: skip


def _analysis(reading: _Reading, record: ET.Element) -> Finding:
    """All hazards between two lines, as one."""
    first, second = record.find("what/source"), record.find("what/destination")
    count = _integer(_text(record, "what/destination/count")) or 1
    return _race(reading, record, first, second, None, "direction", count=count)


def _race(
    reading: _Reading, record: ET.Element, first: ET.Element | None, second: ET.Element | None, sort: str | None, access: str,
    **known: Any,
) -> Finding:  # fmt: skip
    ends = [
        (_text(end, access), _frame(at)) for end in (first, second) if end is not None and (at := end.find("where")) is not None
    ]
    if len(ends) < 2:
        return _finding(reading, record)
    threads = [_index(end, "threadIdx") if end is not None else None for end in (first, second)]
    places = [place_name(at["path"], at["line"]) or at["function"] or "?" for _, at in ends]
    said = [
        f"{done or 'Access'} at {place}" + (f" by thread {tuple(thread)}" if thread else "")
        for (done, _), place, thread in zip(ends, places, threads, strict=True)
    ]
    # Read after write and write after read of one pair of lines are one race: it is told at the read.
    told = 0 if ends[0][0] == "Read" else 1
    verb, frame = ends[told]
    message = f"{sort + ' hazard' if sort else 'Race'}: {said[0]}, then {said[1]}"
    message += " (a warning)" if _text(record, "level") == "Warning" else ""
    return finding(
        reading.tool, "race", message, other_place=places[1 - told],
        space="shared", direction=direction_of(verb or ""), kernel=_kernel(record, frame), thread=threads[told],
        where=where(frame["path"], frame["line"], reading.roots), **known,
    )  # fmt: skip


_READERS: dict[str, Callable[[_Reading, ET.Element], Finding]] = {"Hazard": _hazard, "Analysis": _analysis}


def _message(record: ET.Element) -> str:
    """The tool's sentence, with the part that its XML keeps in an element of its own."""
    said = _text(record, "what/text") or _text(record, "what/exception") or _text(record, "kind") or "a record without text"
    more = _text(record, "what/type") if (_text(record, "kind") or "") == "Synccheck" else None
    return (f"{said}: {more}" if more else said)[:_MOST_TEXT]


def _kernel(record: ET.Element, innermost: dict[str, Any] | None) -> str | None:
    """The function that was launched: the outermost on the device."""
    outer = [_frame(element)["function"] for element in record.iterfind("deviceStack/frame")]
    name = next((name for name in reversed(outer) if name), innermost["function"] if innermost else None)
    inside = _INSIDE_A_KERNEL.fullmatch(name) if name else None
    return inside[1] if inside else name


def _stack(stack: ET.Element | None) -> list[dict[str, Any]]:
    return [] if stack is None else [_frame(element) for element in list(stack.iterfind("frame"))[:_MOST_FRAMES]]


def _frame(element: ET.Element) -> dict[str, Any]:
    return {
        "function": _text(element, "func"), "module": _text(element, "module"), "path": _text(element, "path"),
        "line": _integer(_text(element, "line")),
    }  # fmt: skip


def _index(element: ET.Element, name: str) -> list[int] | None:
    """A thread's or a block's three coordinates: the first in the element."""
    found = next(element.iter(name), None)
    values = [_integer(_text(found, axis)) for axis in "xyz"] if found is not None else []
    return [value for value in values if value is not None] if values and None not in values else None


def _text(element: ET.Element, path: str) -> str | None:
    found = element.findtext(path)
    return found.strip()[:_MOST_TEXT] or None if found else None


def _integer(text: str | None) -> int | None:
    """A number of at most 64 bits, decimal or hexadecimal."""
    match = re.fullmatch(r"(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})", text or "")
    return None if match is None else int(match[1], 0) if match[1].startswith("0x") else int(match[1])
