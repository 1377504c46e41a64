"""Rules for processes that ended in a way which itself says what happened: exit codes, time limits, exceptions, silence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.diagnosis import faultclass
from harness.diagnosis.evidence import RECORDED_SOLVER, SAID, Evidence, exit_facts, fact, find_line, frame_facts, input_fact
from harness.diagnosis.faultclass import GLIBC_HEAP
from harness.diagnosis.rule import DEVICE, ENVIRONMENT, HOST, LIKELY, NOT_KNOWN, POSSIBLE, PROVEN, UNKNOWN, Match, Rule, present
from harness.diagnosis.stages import in_words
from harness.outcome import Kind

_NOTHING = "nothing is claimed that could be refuted"
_WAITS_FOR_GPU = ("synchronize", "item", "tolist", "cpu", "sync", "wait", "numpy", "nonzero", "_solve_and_wait")
_ABORT_LINE = re.compile(r"[Aa]ssert|terminate called|what\(\):|Check failed|\*\*\*|Aborted|fatal", re.IGNORECASE)
_CONTRACT = re.compile(r"^the solver returned a \S+; it must return")
_OUTPUT = re.compile(r"after it had printed \d+ MiB")


@dataclass(frozen=True)
class Death:
    """One way to die. ``asks`` are options of replay that would say more."""

    fault: str
    cause: str
    side: str
    confidence: str
    claim: str
    refute: str
    asks: str
    fix: str


# fmt: off
DEATHS = (
    Death(faultclass.HEAP_CORRUPTION, "heap-corruption", HOST, PROVEN,
          "the heap was overwritten, at some time before it was noticed", "ASan finds no write outside its block", "--tool asan",
          "run the native code under ASan: it names the write, not the place where it was noticed"),
    Death(faultclass.STACK_OVERFLOW, "host-stack-overflow", HOST, LIKELY,
          "the stack of the process is full: a call that calls itself without end",
          "the frames of the stack are not one call over and over", "", "end the recursion that the stack shows"),
    Death(faultclass.ILLEGAL_INSTRUCTION, "illegal-instruction", HOST, POSSIBLE,
          "an instruction that this processor does not have, or a trap that the compiler put where the program must not go (UBSan "
          "in trap mode)", "the same binary works on this machine", "--tool ubsan",
          "build for this processor (no -march=native from another), or read what UBSan says"),
    Death(faultclass.BREAKPOINT, "breakpoint", HOST, POSSIBLE,
          "a breakpoint or a compiler's trap was hit, and no debugger was attached", "a debugger shows another instruction",
          "--tool ubsan", "look at the instruction in a debugger; __debugbreak and __builtin_trap end so"),
    Death(faultclass.ARITHMETIC, "arithmetic-fault", HOST, PROVEN, "an integer was divided by zero, or the quotient did not fit",
          "a debugger shows another instruction", "--tool ubsan", "check the divisor; an empty input is the usual one"),
    Death(faultclass.KILLED, "killed-from-outside", ENVIRONMENT, POSSIBLE,
          "something outside ended the process, and it was not the harness; most often the kernel, out of memory",
          "the system's log names no out-of-memory kill at that time", "--memory-limit 4000000000",
          "look into dmesg or journalctl -k for oom-kill; give it memory, or a limit so that it says so itself"),
    Death(faultclass.NO_MEMORY, "out-of-memory", HOST, PROVEN, "the machine had no memory left for the process",
          "it happens with memory to spare", "", "use fewer points, or fewer jobs at once"),
)
# fmt: on


def death_rule(death: Death) -> Callable[[Evidence], Match | None]:
    def match(e: Evidence) -> Match | None:
        if e.fault != death.fault:
            return None
        heap = find_line(e.outcome, GLIBC_HEAP, ("stderr",))
        test = e.command(death.asks) if death.asks else e.command()
        facts = (*exit_facts(e.outcome), *present(heap), *frame_facts(e))
        named = e.outcome.exit is not None and e.outcome.exit.name == "STATUS_STACK_OVERFLOW"
        return Match(death.side, death.claim, PROVEN if named else death.confidence, facts, death.refute, test, death.fix)

    match.__doc__ = f"The process died: {death.claim}."
    return match


def aborted(e: Evidence) -> Match | None:
    """The process ended itself: abort(), an assertion, an uncaught C++ exception, a failed security check."""
    code_3 = (
        e.outcome.kind is Kind.INCONCLUSIVE
        and e.outcome.exit is not None
        and e.outcome.exit.name == "exit 3"
        and "abort" in e.outcome.exit.meaning
    )
    if e.fault != faultclass.ABORT and not code_3:
        return None
    said = find_line(e.outcome, _ABORT_LINE, ("stderr",))
    return Match(
        HOST,
        "the process ended itself: an assertion, an uncaught C++ exception or a failed security check"
        + ("" if said else "; it printed no reason"),
        PROVEN if said and not code_3 else LIKELY,
        (*exit_facts(e.outcome), *present(said), *frame_facts(e)),
        "a debugger shows that another process sent the signal",
        e.command(),
        "read its last line on stderr; the function is at the top of the stack",
    )


def hangs_on_the_gpu(e: Evidence) -> Match | None:
    """At the time limit the process was waiting for the GPU: a kernel that does not end, or one that never gets to run."""
    waits = e.outcome.kind is Kind.TIMEOUT and e.on_gpu and e.frames and e.frames[0].function in _WAITS_FOR_GPU
    if not waits or e.outcome.tool != "none":
        return None
    return Match(
        DEVICE,
        f"a kernel does not end: the process waits for the GPU in {e.frames[0].word}",
        LIKELY,
        (fact(e.outcome, "limit_s", e.outcome.limit_s), *frame_facts(e)),
        "it ends with a longer time limit",
        e.command("--tool synccheck"),
        "bound the loops of the kernel; look for a barrier that not all threads reach, and for a flag that nobody sets",
    )


def hangs(e: Evidence) -> Match | None:
    """Still running at the time limit. Where it was is known, why is not."""
    if e.outcome.kind is not Kind.TIMEOUT or e.outcome.tool != "none":
        return None
    where = f"in {e.frames[0].word}" if e.frames else in_words(e.outcome.stage)
    return Match(
        HOST if e.frames or not e.on_gpu else UNKNOWN,
        f"still running at the time limit, {where}",
        NOT_KNOWN,
        (fact(e.outcome, "limit_s", e.outcome.limit_s), *frame_facts(e)),
        _NOTHING,
        e.command(f"--timeout {10 * (e.outcome.limit_s or 60):g}"),
        "give it ten times the limit: slow and stuck look alike until then",
    )


def breaks_the_contract(e: Evidence) -> Match | None:
    """The solver returned something that is no solution."""
    said = find_line(e.outcome, _CONTRACT, ("exception.message",))
    if said is None:
        return None
    return Match(
        HOST, "the solver returned something that is no solution", PROVEN, (said,), "it returns a Solution, or (T_WCf, T_CkCf)",
        e.command(), "return (T_WCf, T_CkCf) as the tracker's own functions do",
    )  # fmt: skip


def out_of_host_memory(e: Evidence) -> Match | None:
    """Python itself says that there is no memory."""
    if e.exception is None or e.exception.type != "MemoryError":
        return None
    return Match(
        HOST, "the machine had no memory left for the process", PROVEN,
        (fact(e.outcome, "exception", "MemoryError"), *frame_facts(e)), "it happens with memory to spare", e.command(),
        "use fewer points, or raise --memory-limit",
    )  # fmt: skip


def endless_output(e: Evidence) -> Match | None:
    """The harness ended a process that printed without end."""
    said = find_line(e.outcome, _OUTPUT, ("reason",))
    if said is None:
        return None
    return Match(
        HOST, "the process printed without end, and the harness stopped it", PROVEN, (said,), "it ends by itself",
        e.command(), "take the print out of the loop",
    )  # fmt: skip


def raised(e: Evidence) -> Match | None:
    """An exception that no rule knows: it names itself, and its cause is not known here."""
    if e.outcome.kind is not Kind.RAISED or e.exception is None:
        return None
    where = f" in {e.frames[0].word}" if e.frames else ""
    first = e.exception.message.partition("\n")[0]
    return Match(
        HOST, f"{e.exception.type} was raised{where}", NOT_KNOWN,
        (fact(e.outcome, "exception", f"{e.exception.type}: {first}"), *frame_facts(e)), _NOTHING, e.command(),
        "read the traceback",
    )  # fmt: skip


def died(e: Evidence) -> Match | None:
    """A process died in a way that has no rule."""
    if e.outcome.kind is not Kind.CRASHED:
        return None
    name = e.outcome.exit.name if e.outcome.exit else "?"
    return Match(
        HOST, f"the process died of {name}", NOT_KNOWN, (*exit_facts(e.outcome), *frame_facts(e)), _NOTHING, e.command(),
        "look the code up in the system's documentation",
    )  # fmt: skip


def never_returned(e: Evidence) -> Match | None:
    """A recorded call that never came back: the process died, hung or was killed in it, and nothing says which."""
    recorded = e.outcome.input.get("recorded")
    if e.outcome.kind is not Kind.INCONCLUSIVE or not isinstance(recorded, dict) or recorded.get("event") != "never_returned":
        return None
    if e.outcome.solver != RECORDED_SOLVER:
        return None
    return Match(
        UNKNOWN, "the recorded call never came back: the process died in it, hung, or was killed", NOT_KNOWN,
        (input_fact(e, "recorded"), *(input_fact(e, name) for name in ("devices",) if e.known(name))), _NOTHING, e.command(),
        "replay the case through the tracker that it was recorded from; probe and audit its extension",
    )  # fmt: skip


def ended_without_a_result(e: Evidence) -> Match | None:
    """The process ended, or was lost, and left nothing to judge."""
    if e.outcome.kind is not Kind.INCONCLUSIVE or e.outcome.tool != "none":
        return None
    return Match(
        UNKNOWN, "the process left nothing to judge", NOT_KNOWN,
        (fact(e.outcome, "reason", e.outcome.reason), *exit_facts(e.outcome)), _NOTHING, e.command(),
        "look for os._exit, sys.exit and a kill from outside; run it again",
    )  # fmt: skip


def not_on_this_machine(e: Evidence) -> Match | None:
    """It was not tried: this machine lacks something, and the reason says what."""
    if e.outcome.kind is not Kind.UNAVAILABLE:
        return None
    said = find_line(e.outcome, re.compile(r"\S"), SAID)
    return Match(
        ENVIRONMENT, "this machine lacks what it needs", PROVEN, present(said), "it runs here by itself", "harness doctor",
        "the reason says what is missing",
    )  # fmt: skip


RULES = (
    Rule("out-of-memory", out_of_host_memory),
    Rule("breaks-the-contract", breaks_the_contract),
    Rule("endless-output", endless_output),
    Rule("hangs-on-the-gpu", hangs_on_the_gpu),
    Rule("never-returned", never_returned),
)
LAST = (
    *(Rule(death.cause, death_rule(death)) for death in DEATHS),
    Rule("aborted", aborted), Rule("hangs", hangs), Rule("raised", raised), Rule("died", died),
    Rule("ended-without-a-result", ended_without_a_result), Rule("not-on-this-machine", not_on_this_machine),
)  # fmt: skip
