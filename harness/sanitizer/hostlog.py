"""What ASan and UBSan write about code on the host -> findings. Whatever the text holds, this gives what it could understand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.sanitizer.finding import Finding, finding
from harness.sanitizer.source import where
from harness.sanitizer.tools import REPORT

LARGEST_BYTES = 16 << 20
MOST_FILES = 64
_MOST_FRAMES = 64

_ASAN = re.compile(r"^==\d+==\s?ERROR: (?:Address|UndefinedBehavior)Sanitizer:? (?P<what>[^\n]{1,2000})", re.MULTILINE)
_UBSAN = re.compile(
    r"^(?P<path>(?:[A-Za-z]:)?[^:\n]{1,1000}):(?P<line>\d{1,9}):\d{1,9}: runtime error: (?P<what>[^\n]{1,2000})", re.MULTILINE
)
_FRAME = re.compile(
    r"^ +#\d{1,4} 0x[0-9a-f]{1,16}(?: in (?P<function>.{1,500}?))? +"
    r"(?:\((?P<module>[^()\s]+)\+0x[0-9a-f]+\).*|(?P<place>[^\s(]\S*))$"
)
_PLACE = re.compile(r"(?P<path>.+?):(?P<line>\d{1,9})(?::\d{1,9})?$")
_ACCESS = re.compile(r"^(?P<direction>READ|WRITE) of size (?P<size>\d{1,18}) at (?P<address>0x[0-9a-f]{1,16})", re.MULTILINE)
_SIGNAL = re.compile(r"^==\d+==The signal is caused by a (?P<direction>READ|WRITE) memory access", re.MULTILINE)
_REGISTERS = re.compile(r" at pc | \(pc ")
_ON_ADDRESS = re.compile(r"\b(?:on|unknown) (?:unknown )?address (?P<address>0x[0-9a-f]{1,16})")
_REGION = re.compile(
    r"^0x[0-9a-f]{1,16} is located \d{1,18} bytes (?:inside of|before|after|to the (?:right|left) of) "
    r"(?P<size>\d{1,18})-byte region \[(?P<at>0x[0-9a-f]{1,16}),",
    re.MULTILINE,
)
_ALIGNMENT = re.compile(r"(?:address|pointer) (?P<address>0x[0-9a-f]{1,16}).*which requires (?P<size>\d{1,9}) byte alignment")
_PYTHON = re.compile(r'^  File "(?P<path>[^"\n]{1,1000})", line (?P<line>\d{1,9}) in (?P<function>[^\n]{1,300})$', re.MULTILINE)

INVALID_ACCESS = "invalid-access"
"""The kind of a finding where the process died of an access, and the tool says no more than that."""

_KINDS = (
    ("heap-buffer-overflow", "out-of-bounds", "heap"), ("stack-buffer-overflow", "out-of-bounds", "stack"),
    ("stack-buffer-underflow", "out-of-bounds", "stack"), ("dynamic-stack-buffer-overflow", "out-of-bounds", "stack"),
    ("global-buffer-overflow", "out-of-bounds", "static"), ("container-overflow", "out-of-bounds", "heap"),
    ("use-after-poison", "out-of-bounds", "heap"), ("heap-use-after-free", "use-after-free", "heap"),
    ("stack-use-after", "use-after-free", "stack"), ("stack-overflow", "stack-overflow", "stack"),
    ("attempting double-free", "double-free", "heap"), ("attempting free", "bad-free", "heap"),
    ("alloc-dealloc-mismatch", "bad-free", "heap"), ("odr-violation", "collision", "static"),
    ("SEGV", INVALID_ACCESS, None), ("BUS", INVALID_ACCESS, None), ("FPE", "arithmetic", None),
    ("ILL", "illegal-instruction", None),
)  # fmt: skip
_DEADLY = {"SEGV": "SIGSEGV", "BUS": "SIGBUS", "FPE": "SIGFPE", "ILL": "SIGILL"}
_UNDEFINED = (
    ("misaligned", "misaligned"), ("out of bounds", "out-of-bounds"), ("insufficient space", "out-of-bounds"),
    ("uninitialized", "uninitialized"),
)  # fmt: skip


def read(folder: Path, tool: str, roots: Sequence[Path] = ()) -> tuple[tuple[Finding, ...], str | None]:
    """The findings in a job folder, not yet grouped, and what of its reports could not be read."""
    found: list[Finding] = []
    problem = None
    files = sorted(folder.glob(f"{REPORT}.*"))
    if len(files) > MOST_FILES:
        problem = f"{len(files)} processes left reports, and {MOST_FILES} of them were read"
    for file in files[:MOST_FILES]:
        try:
            size = file.stat().st_size
            with open(file, "rb") as handle:
                text = handle.read(LARGEST_BYTES).decode("utf-8", errors="replace")
        except OSError as error:
            problem = f"{file.name} cannot be read: {error.strerror}"
            continue
        if size > LARGEST_BYTES:
            problem = f"{file.name} has {size} bytes, of which the first {LARGEST_BYTES} were read"
        understood = list(parse(text, tool, roots))
        if not understood and text.strip():
            problem = f"{file.name} is no report that is understood here: {text.strip().splitlines()[0][:200]}"
        found += understood
    return tuple(found), problem


def parse(text: str, tool: str, roots: Sequence[Path] = ()) -> Iterator[Finding]:
    """Each report in a text, in its order."""
    starts = sorted([*_ASAN.finditer(text), *_UBSAN.finditer(text)], key=lambda match: match.start())
    ends = [match.start() for match in starts[1:]] + [len(text)]
    for match, end in zip(starts, ends, strict=False):  # of no report there is an end, too
        body = text[match.start() : end]
        yield _undefined(match, body, tool, roots) if match.re is _UBSAN else _address(match, body, tool, roots)


def deadly_signal(found: Finding) -> str | None:
    """The signal of a process that died and of which the tool only told where; None for a fault that the tool itself found."""
    return _DEADLY.get(found["message"].split(" ")[0].rstrip(":"))


def python_frames(faulthandler: str) -> list[dict[str, Any]]:
    """The stack of the thread that a faulthandler trace is about, innermost first, as frames of a host stack."""
    current = faulthandler.split("most recent call first):\n", 1)[-1].split("\n\n", 1)[0]
    frames = [_frame(m["function"], None, m["path"], int(m["line"])) for m in _PYTHON.finditer(current)]
    return frames[:_MOST_FRAMES]


def _address(match: re.Match[str], body: str, tool: str, roots: Sequence[Path]) -> Finding:
    """A report of AddressSanitizer."""
    what = match["what"]
    kind, space = next(
        ((kind, space) for word, kind, space in _KINDS if what.startswith(word)), (what.split(" ")[0].rstrip(":"), None)
    )
    access, region = _ACCESS.search(body), _REGION.search(body)
    signal = _SIGNAL.search(body)
    direction = access["direction"] if access else signal["direction"] if signal else None
    named = access or _ON_ADDRESS.search(what)
    address = int(named["address"], 16) if named else None
    stack = _stack(body)
    own = _own(stack)
    return finding(
        tool, kind, _REGISTERS.split(what)[0], space=space, direction=direction.lower() if direction else None,
        size=int(access["size"]) if access else None, address=address,
        nearest_allocation=_nearest(region, address) if region and address is not None else None,
        where=where(own["path"], own["line"], roots) if own else None, host_stack=stack,
    )  # fmt: skip


def _undefined(match: re.Match[str], body: str, tool: str, roots: Sequence[Path]) -> Finding:
    """A report of UndefinedBehaviorSanitizer. The size of a misaligned access is the alignment that its type requires."""
    what = match["what"]
    kind = next((kind for word, kind in _UNDEFINED if word in what), "undefined")
    aligned = _ALIGNMENT.search(what) if kind == "misaligned" else None
    return finding(
        tool, kind, what, direction={"load": "read", "store": "write"}.get(what.split(" ")[0]),
        size=int(aligned["size"]) if aligned else None, address=int(aligned["address"], 16) if aligned else None,
        where=where(match["path"], int(match["line"]), roots), host_stack=_stack(body),
    )  # fmt: skip


def _nearest(region: re.Match[str], address: int) -> dict[str, int]:
    at, size = int(region["at"], 16), int(region["size"])
    inside = at <= address < at + size
    return {"address": at, "size": size, "distance": 0 if inside else at - address if address < at else address - (at + size) + 1}


def _stack(body: str) -> list[dict[str, Any]]:
    """The first stack of a report; those after it are of the allocation."""
    frames: list[dict[str, Any]] = []
    for line in body.splitlines():
        match = _FRAME.match(line)
        if match is None:
            if frames:
                break
            continue
        if len(frames) < _MOST_FRAMES:
            place = _PLACE.fullmatch(match["place"] or "")
            path, number = (place["path"], int(place["line"])) if place else (match["place"], None)
            frames.append(_frame(match["function"], match["module"], path, number))
    return frames


def _own(stack: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The innermost frame in the program's own source: the runtime's are those of memcpy and its like."""
    for frame in stack:
        runtime = "libsanitizer" in (frame["path"] or "") or "compiler-rt" in (frame["path"] or "")
        if frame["path"] and frame["line"] and not runtime and not (frame["function"] or "").startswith("__interceptor"):
            return frame
    return None


def _frame(function: str | None, module: str | None, path: str | None, line: int | None) -> dict[str, Any]:
    return {"function": function, "module": module, "path": path, "line": line}
