"""The ways a process dies, under one word on every system: Windows' 0xC0000005 and Linux's SIGSEGV are the same fault."""

from __future__ import annotations

import re

from harness.diagnosis.frames import from_faulthandler
from harness.outcome import Exit, Kind, Outcome

ACCESS_VIOLATION = "access-violation"
BUS_ERROR = "bus-error"
ABORT = "abort"
HEAP_CORRUPTION = "heap-corruption"
STACK_OVERFLOW = "stack-overflow"
ILLEGAL_INSTRUCTION = "illegal-instruction"
BREAKPOINT = "breakpoint"
ARITHMETIC = "arithmetic"
KILLED = "killed"
NO_MEMORY = "out-of-memory"
MISSING_LIBRARY = "missing-library"
WRONG_LIBRARY = "wrong-library"

_BY_NAME = {
    "SIGSEGV": ACCESS_VIOLATION, "STATUS_ACCESS_VIOLATION": ACCESS_VIOLATION, "SIGBUS": BUS_ERROR,
    "SIGABRT": ABORT, "STATUS_STACK_BUFFER_OVERRUN": ABORT, "STATUS_ASSERTION_FAILURE": ABORT, "CPP_EH_EXCEPTION": ABORT,
    "exit 3": ABORT,  # a crash only where faulthandler saw the abort
    "STATUS_HEAP_CORRUPTION": HEAP_CORRUPTION, "STATUS_STACK_OVERFLOW": STACK_OVERFLOW,
    "SIGILL": ILLEGAL_INSTRUCTION, "STATUS_ILLEGAL_INSTRUCTION": ILLEGAL_INSTRUCTION,
    "SIGTRAP": BREAKPOINT, "STATUS_BREAKPOINT": BREAKPOINT,
    "SIGFPE": ARITHMETIC, "STATUS_INTEGER_DIVIDE_BY_ZERO": ARITHMETIC,
    "SIGKILL": KILLED, "SIGTERM": KILLED, "SIGINT": KILLED, "STATUS_CONTROL_C_EXIT": KILLED, "STATUS_NO_MEMORY": NO_MEMORY,
    "STATUS_DLL_NOT_FOUND": MISSING_LIBRARY, "STATUS_DLL_INIT_FAILED": MISSING_LIBRARY, "DELAYLOAD_MOD_NOT_FOUND": MISSING_LIBRARY,
    "STATUS_INVALID_IMAGE_FORMAT": WRONG_LIBRARY, "STATUS_ENTRYPOINT_NOT_FOUND": WRONG_LIBRARY,
    "DELAYLOAD_ENTRYPOINT_NOT_FOUND": WRONG_LIBRARY, "STATUS_DATATYPE_MISALIGNMENT": BUS_ERROR,
}  # fmt: skip

GLIBC_HEAP = re.compile(r"^(double free or corruption|free\(\): |malloc\(\): |corrupted |munmap_chunk\(\)|realloc\(\): )")
"""What glibc prints before it aborts over a damaged heap: a line of its own."""

_RECURSION = 50


def fault_class(outcome: Outcome) -> str:
    """One of the words above; for an exit that has none its own name in lower case. Empty when the process did not die."""
    if outcome.kind is not Kind.CRASHED or outcome.exit is None:
        return ""
    word = of_exit(outcome.exit)
    if word == ABORT and any(GLIBC_HEAP.match(line) for line in outcome.stderr.splitlines()):
        return HEAP_CORRUPTION
    if word == ACCESS_VIOLATION and repeats(outcome.faulthandler):
        return STACK_OVERFLOW
    return word


def of_exit(exit: Exit) -> str:
    return _BY_NAME.get(exit.name) or exit.name.lower().replace(" ", "-")


def repeats(faulthandler: str) -> bool:
    """Whether the stack is one call over and over, at least 50 deep: a full stack, on systems that have no code for it."""
    frames = from_faulthandler(faulthandler)
    if len(frames) < _RECURSION:
        return False
    distinct = {(frame.file, frame.function) for frame in frames[:_RECURSION]}
    return len(distinct) <= 4
