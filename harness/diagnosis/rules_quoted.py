"""Rules for what another tool said in the exception that a solver ended with: a program of its own, watched by valgrind or MSan.

The harness did not start that tool and did not see it work, so its words make a cause likely and never proven.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.diagnosis.evidence import Evidence, fact, find_line, frame_facts
from harness.diagnosis.rule import HOST, LIKELY, Match, Rule, present
from harness.outcome import Kind

_MESSAGE = ("exception.message",)
_SOURCE = re.compile(r"\((?P<valgrind>[^()\s]+:\d+)\)$|^\s*#\d+ 0x\w+ in \S+ (?P<msan>\S+:\d+)", re.MULTILINE)
_ORIGIN = re.compile(r"^(?:==\d+==)?\s*Uninitiali[sz]ed value was (?:created|stored)", re.MULTILINE)
_RUNTIME = re.compile(r"vgpreload|compiler-rt|libsanitizer|\bmsan_")


@dataclass(frozen=True)
class Words:
    """What a tool says, and what that is called here."""

    pattern: re.Pattern[str]
    cause: str
    claim: str
    fix: str


# fmt: off
WORDS = (
    Words(re.compile(r"^==\d+== (?:Conditional jump or move depends on|Use of) uninitialised value|"
                     r"MemorySanitizer: use-of-uninitialized-value"),
          "uninitialized", "a read of memory that nobody wrote", "set the memory before it is first read"),
    Words(re.compile(r"^==\d+== Invalid (?:read|write) of size \d+"),
          "out-of-bounds", "an access outside every allocation", "check the index against the size at that line"),
)
# fmt: on


def quoted_rule(words: Words) -> Callable[[Evidence], Match | None]:
    def match(e: Evidence) -> Match | None:
        said = find_line(e.outcome, words.pattern, _MESSAGE) if e.outcome.kind is Kind.RAISED else None
        if said is None or e.exception is None:
            return None
        report = e.exception.message[e.exception.message.index(said.quote.removesuffix(" ...")) :]
        use, _, origin = report.partition("\n" + made[0] if (made := _ORIGIN.search(report)) else "\0")
        places = [place for part in (use, origin) if (place := _place(part)) is not None]
        at = f" at {places[0]}" if places else ""
        of = f", which was allocated at {places[1]}" if len(places) > 1 else ""
        return Match(
            HOST, f"{words.claim}{at}{of}: so says the tool that watched it", LIKELY,
            (said, *(fact(e.outcome, "exception.message", place) for place in places), *present(*frame_facts(e)[:1])),
            "the tool says nothing when the program is run again", e.command(), words.fix,
        )  # fmt: skip

    match.__doc__ = f"Valgrind or MemorySanitizer says in an exception: {words.claim}."
    return match


def _place(report: str) -> str | None:
    """The innermost source line that is not the tool's own."""
    for line in report.splitlines():
        found = _SOURCE.search(line)
        if found and not _RUNTIME.search(line):
            return found["valgrind"] or found["msan"]
    return None


RULES = tuple(Rule(words.cause, quoted_rule(words)) for words in WORDS)
