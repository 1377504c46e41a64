"""Rules for processes that die of a memory access on the host: the symbol collision above all, and what looks like it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.diagnosis import faultclass
from harness.diagnosis.documents import Collision, Rung
from harness.diagnosis.evidence import DEVICE_TOOLS, HOST_TOOLS, RECORDED_SOLVER, Evidence, exit_facts, fact, find_line, frame_facts
from harness.diagnosis.rule import HOST, LIKELY, NOT_KNOWN, POSSIBLE, PROVEN, Match, Rule, present
from harness.diagnosis.sweeps import every_layout_fails, layout_rule
from harness.outcome import Fact, Kind, Outcome

_HOST_DEREFERENCE = re.compile(r"dereferencing Unified Memory from the host")
_NO_ERRORS = re.compile(r"ERROR SUMMARY: 0 errors")
_BANNER = re.compile(r"^Windows fatal exception: (access violation|code 0x[0-9a-fA-F]+)")
_CTYPES = re.compile(r"access violation (reading|writing) 0x[0-9A-Fa-f]+")
_COMMON_NAMES = ("forward", "apply_op", "solve", "call", "__call__", "run", "<lambda>", "<module>")
_TRACKERS_OPS = ("inv", "mul", "act", "retr")
"""What the tracker's solve calls, on tensors that are on the GPU."""
_ACCESS_NAMES = ("SIGSEGV", "STATUS_ACCESS_VIOLATION")


@dataclass(frozen=True)
class LayoutSort:
    """One thing that a kernel takes for granted of its tensors' memory, and how a sweep speaks of it."""

    cause: str
    pattern: re.Pattern[str]
    claim: str
    fix: str


# fmt: off
LAYOUT_SORTS = (
    LayoutSort("misaligned", re.compile(r" mod \d+ != 0"), "a misaligned access",
               "load by the element's own type, or copy to an aligned buffer where a wide load is wanted"),
    LayoutSort("assumes-contiguous", re.compile(r"not contiguous|not adjacent|stored transposed"),
               "it reads a tensor as if its elements lay one after another",
               "use the tensor's strides, or call contiguous() before the launch"),
    LayoutSort("ignores-storage-offset", re.compile(r"past the start of its storage"),
               "it reads a view from the start of the storage that it is a view of", "take data_ptr(), not storage().data_ptr()"),
    LayoutSort("assumes-no-sharing", re.compile(r"shares? (its storage|memory)|elements that share"),
               "it takes for granted that no two tensors share memory",
               "copy what is written to, or read all before the first write"),
)
# fmt: on


def host_symbol_collision(e: Evidence) -> Match | None:
    """The process died of a memory access in a Lie-group operation on a GPU, where CPU and CUDA code define one symbol."""
    vanished = e.outcome.solver == RECORDED_SOLVER and e.on_gpu and _without_a_trace(e)
    ops = (e.op,) if e.op else _TRACKERS_OPS if vanished else ()
    gpu_rungs = tuple(rung for op in ops for rung in e.rungs(op=op, device="cuda"))
    died = [rung for rung in gpu_rungs if rung.result == "crash" and rung.exit_name in _ACCESS_NAMES]
    if not _died_in_the_solve(e) and not (vanished and died):
        return None
    audits = e.documents.audits
    collisions = [collision for audit in audits for collision in audit.collisions]
    named = [collision for collision in collisions if _is_about(collision, e)]
    linked = (e.in_lietorch and e.on_gpu) or (vanished and bool(died))
    hints = [hint for audit in audits for hint in audit.about("linked", "fail")]
    doubts = [hint for audit in audits for hint in audit.about("linked", "ok")]
    if not collisions and any(audit.clean_of_collisions for audit in audits):
        return None
    if not linked and not named:
        return None
    against = (*_device_findings(e), *_probe_denies(gpu_rungs), *_alignment_decides(e))
    if against and not collisions:
        return None
    op = e.op or "the operation"
    shown = named or collisions
    confidence = PROVEN if named or (shown and e.op is None) else POSSIBLE if doubts and not shown else LIKELY
    both = f"{len(collisions)} kernels have a namesake" if len(collisions) > 1 else "a kernel has a namesake"
    return Match(
        HOST,
        f"the GPU path of {op} runs the CPU function of the same name on device pointers, because a linker took the two for one "
        f"(a symbol collision{': ' + both + ' among the CPU functions' if collisions else ''})",
        confidence,
        (
            *exit_facts(e.outcome),
            *frame_facts(e),
            *_supports(e, died),
            *(_collision_fact(it) for it in shown[:2]),
            *(Fact(it.what, it.where) for it in (*hints[:1], *doubts[:1])),
        ),
        "the same death after a rebuild without the collision, or a device finding that names a kernel and an address"
        if collisions
        else "an audit that compares the objects and finds no collision, or a device finding that names a kernel and an address",
        "harness audit build/temp.*/**/*.o (the object files of the extension; a linked .so or .pyd gives only hints)",
        "rebuild the extension with nvcc -static-global-template-stub=true (12.8 or newer; the default from CUDA 13), or put the "
        "CPU templates into an anonymous namespace, or use sim3solve in place of it",
        against,
    )


def host_dereference(e: Evidence) -> Match | None:
    """Host code dereferenced a device pointer: memcheck says so, and no operation is known to collide."""
    own = [f for o in (e.outcome, *e.same_solver(tools=DEVICE_TOOLS)) for f in _findings(o, "host-dereference")]
    said = next((it for o in (e.outcome, *e.same_solver(tools=DEVICE_TOOLS)) if (it := find_line(o, _HOST_DEREFERENCE))), None)
    if not own and not (said and e.fault == faultclass.ACCESS_VIOLATION):
        return None
    if e.outcome.kind not in (Kind.CRASHED, Kind.FINDINGS):
        return None
    facts = (*exit_facts(e.outcome), *frame_facts(e), *own[:2], *present(said))
    return Match(
        HOST,
        "code on the processor read or wrote through a pointer that belongs to the GPU",
        PROVEN if own else LIKELY,
        (*facts, *_clean_audit(e)),
        "the same death with all tensors on the CPU, or a device finding that names a kernel and an address",
        e.command("--device cpu"),
        "find the function at the top of the stack and give it host memory, or make it a launch; if it is one by its source, audit "
        "the binary for a symbol collision",
        _device_findings(e),
    )


def layout_rule_for(sort: LayoutSort) -> Callable[[Evidence], Match | None]:
    def match(e: Evidence) -> Match | None:
        failed = e.fault or e.off or e.outcome.kind in (Kind.CUDA_ERROR, Kind.FINDINGS) or e.outcome.expected is False
        rule = layout_rule(e.sweep) if e.sweep is not None and failed else None
        if rule is None or not sort.pattern.search(rule.text) or (sort.cause == "misaligned") != rule.alignment:
            return None
        return Match(
            HOST if e.fault else e.side,
            f"{sort.claim}: it fails exactly when {rule.text}",
            LIKELY,
            (*exit_facts(e.outcome), *frame_facts(e)[:1], *rule.facts),
            f"a layout in which it fails although not: {rule.text}; or one in which it works all the same",
            e.command("--layouts"),
            sort.fix,
        )

    match.__doc__ = f"A layout sweep says: {sort.claim}."
    return match


def caught_access_violation(e: Evidence) -> Match | None:
    """Windows: an access violation inside a ctypes call became an OSError, and the process lived. The banner alone is no crash."""
    if e.outcome.kind is Kind.CRASHED or e.exception is None or e.exception.type not in ("OSError", "WindowsError"):
        return None
    said = find_line(e.outcome, _CTYPES, ("exception.message",))
    if said is None:
        return None
    return Match(
        HOST,
        "a function called through ctypes touched memory it must not; Python turned that into an OSError, and the process lived",
        PROVEN,
        (said, *present(find_line(e.outcome, _BANNER, ("faulthandler", "stderr"))), *frame_facts(e)),
        "the OSError comes from a file or a device, and its message names no address",
        e.command(),
        "check the argtypes and the pointers of the call at the top of the stack",
    )


def access_violation(e: Evidence) -> Match | None:
    """A memory access killed the process, and what is known does not say why. A fault on the GPU would have been a CUDA error."""
    if e.fault not in (faultclass.ACCESS_VIOLATION, faultclass.BUS_ERROR):
        return None
    where = e.frames[0].word if e.frames else f"stage {e.outcome.stage!r}"
    refuted = _clean_audit(e)
    more = "; it is not the symbol collision, the audit found none" if refuted else ""
    everywhere = every_layout_fails(e.sweep) if e.sweep else None
    return Match(
        HOST,
        f"the process died of a memory access in {where}{more}",
        NOT_KNOWN,
        (*exit_facts(e.outcome), *frame_facts(e), *refuted, *present(everywhere), *_supports(e, []), *_device_findings(e)),
        "nothing is claimed that could be refuted",
        e.command("--tool memcheck --memory exact" if e.on_gpu else "--tool asan"),
        "audit the extension at the top of the stack, run the same case under a sanitizer, and sweep its layouts",
    )


def _without_a_trace(e: Evidence) -> bool:
    """A recorded call that never came back, of which nobody knows where it was; how its process ended may be known."""
    recorded = e.outcome.input.get("recorded")
    if not isinstance(recorded, dict) or recorded.get("event") != "never_returned":
        return False
    return not e.frames and (e.outcome.kind is Kind.INCONCLUSIVE or e.fault == faultclass.ACCESS_VIOLATION)


def _died_in_the_solve(e: Evidence) -> bool:
    return e.fault == faultclass.ACCESS_VIOLATION and e.solving


def _is_about(collision: Collision, e: Evidence) -> bool:
    """Whether the symbol is named after the operation, or after a function at the top of the stack."""
    names = {e.op, *(frame.function for frame in e.frames[:1])} - {None, *_COMMON_NAMES}
    symbol = f"{collision.demangled} {collision.symbol}"
    return any(re.search(rf"(?<![a-z]){re.escape(str(name))}(?![a-z0-9])", symbol) for name in names)


def _collision_fact(collision: Collision) -> Fact:
    return Fact(f"{collision.demangled or collision.symbol} ({collision.host_file}, {collision.cuda_file})", collision.where)


def _supports(e: Evidence, died: Iterable[Rung]) -> tuple[Fact, ...]:
    """What speaks for the host: a memory checker that saw the death and no error, a CPU path that works."""
    facts: list[Fact | None] = []
    for other in (e.outcome, *e.same_solver(tools=DEVICE_TOOLS)):
        facts += [find_line(other, _HOST_DEREFERENCE), find_line(other, _NO_ERRORS)]
    facts += [Fact(rung.words, rung.where) for rung in list(died)[:1]]
    if e.op:
        facts += [Fact(rung.words, rung.where) for rung in e.rungs(op=e.op, device="cpu", result="ok")[:1]]
    if e.sweep is not None:
        facts.append(every_layout_fails(e.sweep))
    return tuple(dict.fromkeys(present(*facts)))


def _device_findings(e: Evidence) -> tuple[Fact, ...]:
    """Findings in a kernel by any tool that saw this solver on this case."""
    found: list[Fact] = []
    for other in (e.outcome, *e.same_solver(tools=DEVICE_TOOLS)):
        for finding in other.findings:
            if (
                other.tool not in HOST_TOOLS
                and finding.get("kernel")
                and finding.get("kind") not in ("host-dereference", "api-error")
            ):
                found.append(fact(other, "findings", f"{finding.get('kind')} in {finding.get('kernel')}"))
    return tuple(dict.fromkeys(found))[:2]


def _findings(outcome: Outcome, kind: str) -> list[Fact]:
    return [
        fact(outcome, "findings", finding.get("message") or kind) for finding in outcome.findings if finding.get("kind") == kind
    ]


def _probe_denies(rungs: tuple[Rung, ...]) -> tuple[Fact, ...]:
    if not rungs or any(rung.result not in ("ok", "unavailable") for rung in rungs):
        return ()
    return tuple(Fact(rung.words, rung.where) for rung in rungs if rung.result == "ok")[:1]


def _alignment_decides(e: Evidence) -> tuple[Fact, ...]:
    rule = layout_rule(e.sweep) if e.sweep else None
    return rule.facts if rule is not None and rule.alignment else ()


def _clean_audit(e: Evidence) -> tuple[Fact, ...]:
    clean = [audit for audit in e.documents.audits if audit.clean_of_collisions]
    if any(audit.collisions for audit in e.documents.audits):
        return ()
    verdicts = [(audit, audit.about("collisions", "ok")) for audit in clean]
    return tuple(
        Fact(said[0].what, said[0].where)
        if said
        else Fact(f"collisions: [] in {', '.join(audit.files)}", f"{audit.source}: collisions")
        for audit, said in verdicts
    )


RULES = (
    Rule("host-symbol-collision", host_symbol_collision),
    *(Rule(sort.cause, layout_rule_for(sort)) for sort in LAYOUT_SORTS),
    Rule("host-dereference", host_dereference),
    Rule("caught-access-violation", caught_access_violation),
)
LAST = (Rule("access-violation", access_violation),)
