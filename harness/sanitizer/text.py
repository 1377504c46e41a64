"""compute-sanitizer's text: its summary line, what it says when it failed, and what its records leave out.

Not all it may complain of is known. So any line of its own that begins as a complaint is one, unless it is part of a record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LARGEST_BYTES = 256 << 20

NEVER_ATTACHED = "before first instrumented API call"
NO_LAUNCH = "before first instrumented kernel launch"
BAD_END = "process didn't terminate successfully"
APPLICATION = "Target application returned an error"
NOT_PRINTED = "errors were not printed"
UNSUPPORTED = ("Device not supported", "device is not supported", "not supported on the current system or device")
FAILURES = (
    BAD_END, APPLICATION, "doesn't exist or is not a valid executable", "Internal Sanitizer Error",
    "Internal error", "Failed to write XML report", "Failed writing error record", "Could not connect to target",
    "No attachable process found", "Failed to initialize WDDM debugger interface", "Some options are not supported",
    "couldn't find exit code", "Wait for exit code callback timed out", "Failed to attach", "Failed to resume", "Failed to pause",
    "Unable to find injection library", "out of memory", "Error debugging",
)  # fmt: skip
_COMPLAINT = re.compile(r"(?:Fatal|Error|Warning|Internal)\b")
_OF_A_RECORD = re.compile(r"(?:Error|Warning): (?:Potential \w+ hazard detected at|Race reported between)")
_ERRORS = re.compile(r"^=+ ERROR SUMMARY: (\d{1,18}) errors?\s*$", re.MULTILINE)
_HAZARDS = re.compile(
    r"^=+ RACECHECK SUMMARY: (\d{1,18}) hazards? displayed \((\d{1,18}) errors?, (\d{1,18}) warnings?\)", re.MULTILINE
)
_MISSING = re.compile(r"^=+ ERROR SUMMARY: (\d{1,18}) errors? (?:were|was) not printed", re.MULTILINE)
_LAUNCH = re.compile(r"^=+ Launch #\d+.*\n=+ +Kernel: (.{1,300})", re.MULTILINE)
_ACCESS = re.compile(
    r"^=+ +Access to (?P<address>0x[0-9a-f]{1,16}) is [^\n]{1,80}\n"
    r"=+ +and is (?:(?P<distance>[\d,]{1,26}) bytes (?:before|after)|inside) "
    r"the nearest allocation at (?P<at>0x[0-9a-f]{1,16}) of size (?P<size>[\d,]{1,26}) bytes",
    re.MULTILINE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Log:
    """``summary`` is how many records the footer counts, None without a footer; ``missing`` how many of them were not written.

    ``hazards`` is how many races racecheck found, written or not.
    ``failures`` are the tool's own words of what went wrong with it. ``last_launch`` is the kernel it saw launched last, where it
    tells. ``nearest`` maps the address of an access to the allocation next to it: {"address", "size", "distance"}, distance in
    bytes, 0 inside.
    """

    exists: bool = False
    summary: int | None = None
    missing: int = 0
    hazards: int | None = None
    never_attached: bool = False
    no_launch: bool = False
    bad_end: bool = False
    unsupported: str | None = None
    failures: tuple[str, ...] = ()
    last_launch: str | None = None
    nearest: Mapping[int, dict[str, int]] = field(default_factory=dict)


def read(file: Path, tool: str, stderr: Path | None = None) -> Log:
    """What the text says. A file that is missing or too large gives a ``Log`` without a summary.

    ``stderr`` is the tool's own, where it says that it could not write its files.
    """
    try:
        if file.stat().st_size > LARGEST_BYTES:
            return Log(exists=True, failures=(f"its text has {file.stat().st_size} bytes",))
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Log(failures=_failures(_own_words(stderr)))
    lines = [line.strip("= \t") for line in text.splitlines() if line.startswith("=")]
    complaints = [line for line in lines if _COMPLAINT.match(line) and not _OF_A_RECORD.match(line) and not _is_a_state(line)]
    footers = (_HAZARDS if tool == "racecheck" else _ERRORS).findall(text)
    others = (_ERRORS if tool == "racecheck" else _HAZARDS).findall(text)
    if any(_first_number(other) for other in others):
        complaints.append("the text has the summary of another tool, and that counts errors")
    missing = _MISSING.findall(text)
    launches = _LAUNCH.findall(text)
    return Log(
        exists=True,
        summary=_first_number(footers[-1]) if footers else None,
        missing=int(missing[-1]) if missing else 0,
        hazards=sum(map(int, footers[-1][1:])) if footers and tool == "racecheck" else None,
        never_attached=any(NEVER_ATTACHED in line for line in lines),
        no_launch=any(NO_LAUNCH in line for line in lines),
        bad_end=any(BAD_END in line for line in lines),
        unsupported=next((line[:300] for line in lines for word in UNSUPPORTED if word in line), None),
        failures=_failures(lines + _own_words(stderr), complaints),
        last_launch=launches[-1] if launches else None,
        nearest=dict(map(_nearest, _ACCESS.finditer(text))),
    )  # fmt: skip


def _first_number(footer: str | tuple[str, ...]) -> int:
    return int(footer if isinstance(footer, str) else footer[0])


def _nearest(match: re.Match[str]) -> tuple[int, dict[str, int]]:
    numbers = {name: int((match[name] or "0").replace(",", "") or 0) for name in ("distance", "size")}
    return int(match["address"], 16), {"address": int(match["at"], 16)} | {name: numbers[name] for name in ("size", "distance")}


def _own_words(stderr: Path | None) -> list[str]:
    """The lines of stderr that are the tool's; the child's own are on the same stream."""
    if stderr is None or not stderr.is_file():
        return []
    with open(stderr, "rb") as handle:
        text = handle.read(1 << 20).decode("utf-8", errors="replace")
    return [line for line in text.splitlines() if line.startswith(("Error: ", "========= "))]


def _failures(lines: list[str], complaints: Sequence[str] = ()) -> tuple[str, ...]:
    known = [line for line in lines for word in FAILURES if word in line]
    return tuple(dict.fromkeys(line.strip("= \t")[:300] for line in (*known, *complaints)))


def _is_a_state(line: str) -> bool:
    """Whether a complaint has a state of its own."""
    return any(word in line for word in (NEVER_ATTACHED, NO_LAUNCH, *UNSUPPORTED))
