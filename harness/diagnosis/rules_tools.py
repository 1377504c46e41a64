"""Rules for tools that did not do what they were started for. A run under a tool that did not watch is no clean run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.diagnosis.evidence import DEVICE_TOOLS, HOST_TOOLS, Evidence, exit_facts, fact, find_line
from harness.diagnosis.rule import ENVIRONMENT, HOST, LIKELY, NOT_KNOWN, PROVEN, UNKNOWN, Match, Rule, present
from harness.outcome import Kind

_TEXTS = ("reason", "notes", "stderr", "stdout")
_DEBUGGER = re.compile(r"Failed to initialize WDDM debugger interface")
_NOT_SUPPORTED = re.compile(r"Device not supported")
_NEVER = re.compile(r"Target application terminated before first instrumented API call")
_CHILD_DIED = re.compile(r"the child died of \w+")
_DIED = re.compile(r"process didn't terminate successfully")


@dataclass(frozen=True)
class Trap:
    """One state of ``tools`` that is not clean. ``said`` is a tool's own line for it, which alone is enough."""

    state: str
    cause: str
    side: str
    confidence: str
    claim: str
    said: re.Pattern[str] | None
    fix: str
    tools: tuple[str, ...] = (*DEVICE_TOOLS, *HOST_TOOLS)


# fmt: off
TRAPS = (
    Trap("unsupported", "tool-unsupported", ENVIRONMENT, PROVEN, "the tool does not work on this GPU", _NOT_SUPPORTED,
         "use a GPU and a tool of one generation: pip install -U nvidia-cuda-sanitizer-api"),
    Trap("never attached", "tool-never-attached", UNKNOWN, NOT_KNOWN,
         "the tool never attached: the process ended before its first CUDA call, and the tool's own exit code (255, or 0) says "
         "nothing about it", _NEVER, "see that the case runs on the GPU without the tool, and that the solver makes a CUDA call",
         DEVICE_TOOLS),
    Trap("never attached", "no-library-for-the-tool", ENVIRONMENT, PROVEN,
         "none of the solver's own libraries is built for the tool, so nothing of it was watched", None,
         "build your library with -g -fsanitize=address (asan) or -fsanitize=undefined (ubsan), and load it as before", HOST_TOOLS),
    Trap("kernel not launched", "tool-saw-no-kernel", UNKNOWN, NOT_KNOWN,
         "the tool was there and the kernel in question was not launched: nothing was checked", None,
         "look at --kernels, and at whether the solve got as far as its launch", DEVICE_TOOLS),
    Trap("timed out", "tool-timed-out", ENVIRONMENT, LIKELY, "the time limit is too short for a run under this tool", None,
         "give it ten times the limit, or a smaller case"),
    Trap("tool failed", "tool-failed", UNKNOWN, NOT_KNOWN, "the tool itself failed, so what it did not report may still be there",
         _DIED, "read its text; run the case without the tool, and again under it"),
)
# fmt: on


def debugger_interface(e: Evidence) -> Match | None:
    """Windows: the driver's debugger interface is off, so no sanitizer can watch a kernel."""
    said = find_line(e.outcome, _DEBUGGER, _TEXTS) if e.outcome.tool in DEVICE_TOOLS else None
    if said is None:
        return None
    return Match(
        ENVIRONMENT, "Windows' debugger interface for GPUs is off, so the sanitizer cannot watch a kernel", PROVEN, (said,),
        "the same line with the interface on", "harness doctor",
        "set EnableInterface (DWORD 1) under HKEY_LOCAL_MACHINE\\SOFTWARE\\NVIDIA Corporation\\GPUDebugger and start again",
    )  # fmt: skip


def trap_rule(trap: Trap) -> Callable[[Evidence], Match | None]:
    def match(e: Evidence) -> Match | None:
        o = e.outcome
        if o.tool not in trap.tools or o.kind in (Kind.CRASHED, Kind.CUDA_ERROR, Kind.RAISED) or o.findings:
            return None
        said = find_line(o, trap.said, _TEXTS) if trap.said else None
        timed_out = trap.state == "timed out" and o.kind is Kind.TIMEOUT
        if o.tool_state != trap.state and not timed_out and not (said and o.tool_state is None):
            return None
        well = [other for other in e.same_solver(tools=("none",)) if other.kind in (Kind.OK, Kind.SOLVER_STATUS)]
        if trap.state == "timed out" and not well:
            return None  # without the tool it may hang as well
        plain = tuple(fact(other, "outcome", other.kind.value) for other in well[:1])
        state = (fact(o, "tool_state", o.tool_state),) if o.tool_state else ()
        reason = (fact(o, "reason", o.reason),) if o.reason else ()
        limit = 10 * (o.limit_s or 60)
        test = e.command(f"--tool {o.tool}", *([f"--timeout {limit:g}"] if timed_out else []))
        return Match(
            trap.side, f"not a clean run: {trap.claim}", trap.confidence, (*present(said), *state, *reason, *plain),
            "the summary line, the record file, the child's result and a launch of the kernel are all there", test, trap.fix,
        )  # fmt: skip

    match.__doc__ = f"Under a tool: {trap.claim}."
    return match


def dies_under_the_tool(e: Evidence) -> Match | None:
    """The process dies under the tool as it does without it, and the tool has nothing to say: the fault is none of the GPU's."""
    if e.outcome.tool not in DEVICE_TOOLS or e.outcome.findings or e.outcome.kind not in (Kind.CRASHED, Kind.INCONCLUSIVE):
        return None
    dead = [other for other in e.same_solver(tools=("none",)) if other.kind is Kind.CRASHED]
    died = e.fault or find_line(e.outcome, _DIED, _TEXTS) or find_line(e.outcome, _CHILD_DIED, ("reason",))
    if not dead or not died:
        return None
    said = present(find_line(e.outcome, _DIED, _TEXTS), find_line(e.outcome, _CHILD_DIED, ("reason",)))
    return Match(
        HOST, f"the process dies under {e.outcome.tool} as it does without it, and {e.outcome.tool} saw no fault on the GPU",
        LIKELY, (*said, *exit_facts(e.outcome), *exit_facts(dead[0])), "a finding that names a kernel",
        e.command(f"--tool {e.outcome.tool}"), "see the diagnosis of the run without the tool",
    )  # fmt: skip


def hangs_under_a_tool(e: Evidence) -> Match | None:
    """At the time limit under a tool, and nobody knows whether it would have ended without it."""
    if e.outcome.tool == "none" or e.outcome.kind is not Kind.TIMEOUT:
        return None
    return Match(
        UNKNOWN, f"still running under {e.outcome.tool} at the time limit; whether it ends without it is not known",
        NOT_KNOWN, (fact(e.outcome, "limit_s", e.outcome.limit_s),), "nothing is claimed that could be refuted", e.command(),
        "run it without the tool first",
    )  # fmt: skip


FIRST = (Rule("debugger-interface-off", debugger_interface),)
RULES = (Rule("dies-under-the-tool", dies_under_the_tool), *(Rule(trap.cause, trap_rule(trap)) for trap in TRAPS))
LAST = (Rule("hangs-under-a-tool", hangs_under_a_tool),)
