"""How far a run under ASan or UBSan can be believed: one of ``TOOL_STATES`` and why.

Clean needs all of: the runtime was loaded; at least one of the solver's own libraries is built for it; the child left its result;
and no report was written. A runtime alone watches nothing. What was watched is said, and so is what was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.sanitizer.finding import Finding, group
from harness.sanitizer.state import CLEAN, FINDINGS, NEVER_ATTACHED, TIMED_OUT, TOOL_FAILED, Child, Ending, State
from harness.sanitizer.tools import REPORT


@dataclass(frozen=True)
class Seen:
    """What was left: whether the runtime was loaded, the solver's libraries built for it (None: nobody said), the reports.

    ``unwatched`` are the solver's other libraries. ``stack`` is Python's, innermost first, where the process ended in a report: it
    continues the stack of the last one.
    """

    runtime: bool
    instrumented: tuple[str, ...] | None
    findings: tuple[Finding, ...]
    problem: str | None = None
    stack: tuple[dict[str, Any], ...] = ()
    unwatched: tuple[str, ...] = ()


def decide(tool: str, seen: Seen, child: Child, end: Ending) -> State:
    """The state of one run."""
    flag = {"asan": "-fsanitize=address", "ubsan": "-fsanitize=undefined"}[tool]
    watched = seen.instrumented or ()
    others = ", ".join(file.rpartition("/")[2] for file in seen.unwatched)
    unwatched = (f"{tool} did not watch {others}: not built with {flag}",) if others else ()
    if seen.findings:
        *before, last = seen.findings
        findings = group([*before, last | {"host_stack": [*last["host_stack"], *seen.stack]}])
        notes = (f"{tool}: {seen.problem}",) if seen.problem else ()
        reason = f"{tool} found {len(findings)} fault{'' if len(findings) == 1 else 's'}"
        return State(FINDINGS, reason, findings, (*notes, *unwatched), watched=watched)
    checks = (
        (end.timed_out, TIMED_OUT, f"still running under {tool} after {end.limit_s:g} s"),
        (not child.started, TOOL_FAILED, f"the child did not start with the runtime of {tool} loaded"),
        (child.died_of is not None, TOOL_FAILED, f"the child died of {child.died_of}, and {tool} reported nothing"),
        (seen.problem is not None, TOOL_FAILED, f"{tool}: {seen.problem}"),
        (not child.finished, TOOL_FAILED, f"the child left no result of its own, and {tool} no report ({REPORT}.*)"),
        (seen.instrumented is None, NEVER_ATTACHED, f"the solve was not reached, so {tool} had nothing to watch"),
        (not seen.runtime, TOOL_FAILED, f"the runtime of {tool} was not loaded into the child"),
        (not watched, NEVER_ATTACHED, f"the solver has no library built with {flag}{_named(others)}: {tool} had nothing to watch"),
        (end.code not in (0, None), TOOL_FAILED, f"the child ended with code {end.code} after its result, and {tool} is silent"),
    )  # fmt: skip
    found = next(((word, reason) for failed, word, reason in checks if failed), None)
    return State(*found, watched=watched) if found else State(CLEAN, notes=unwatched, watched=watched)


def _named(others: str) -> str:
    return f" (it loaded {others})" if others else ""
