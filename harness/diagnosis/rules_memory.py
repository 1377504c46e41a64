"""Rules for processes that die of a memory access on the host, and for the layouts in which a solver fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.diagnosis import faultclass
from harness.diagnosis.evidence import DEVICE_TOOLS, Evidence, exit_facts, fact, find_line, frame_facts
from harness.diagnosis.hostfacts import HOST_DEREFERENCE, clean_audit, device_findings, supports
from harness.diagnosis.rule import HOST, LIKELY, NOT_KNOWN, PROVEN, Match, Rule, present
from harness.diagnosis.stages import in_words
from harness.diagnosis.sweeps import every_layout_fails, layout_rule
from harness.outcome import Fact, Kind, Outcome

_BANNER = re.compile(r"^Windows fatal exception: (access violation|code 0x[0-9a-fA-F]+)")
_CTYPES = re.compile(r"access violation (reading|writing) 0x[0-9A-Fa-f]+")


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


def host_dereference(e: Evidence) -> Match | None:
    """Host code dereferenced a device pointer: memcheck says so, and no operation is known to collide."""
    own = [f for o in (e.outcome, *e.same_solver(tools=DEVICE_TOOLS)) for f in _findings(o, "host-dereference")]
    said = next((it for o in (e.outcome, *e.same_solver(tools=DEVICE_TOOLS)) if (it := find_line(o, HOST_DEREFERENCE))), None)
    if not own and not (said and e.fault == faultclass.ACCESS_VIOLATION):
        return None
    if e.outcome.kind not in (Kind.CRASHED, Kind.FINDINGS):
        return None
    facts = (*exit_facts(e.outcome), *frame_facts(e), *own[:2], *present(said))
    return Match(
        HOST,
        "code on the processor read or wrote through a pointer that belongs to the GPU",
        PROVEN if own else LIKELY,
        (*facts, *clean_audit(e)),
        "the same death with all tensors on the CPU, or a device finding that names a kernel and an address",
        e.command("--device cpu"),
        "find the function at the top of the stack and give it host memory, or make it a launch; if it is one by its source, audit "
        "the binary for a symbol collision",
        device_findings(e),
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
    where = f"in {e.frames[0].word}" if e.frames else in_words(e.outcome.stage)
    refuted = clean_audit(e)
    more = "; it is not the symbol collision, the audit found none" if refuted else ""
    everywhere = every_layout_fails(e.sweep) if e.sweep else None
    return Match(
        HOST,
        f"the process died because it read or wrote memory that it must not touch, {where}{more}",
        NOT_KNOWN,
        (*exit_facts(e.outcome), *frame_facts(e), *refuted, *present(everywhere), *supports(e), *device_findings(e)),
        "nothing is claimed that could be refuted",
        e.command("--tool memcheck --memory exact" if e.on_gpu else "--tool asan"),
        "audit the extension at the top of the stack, run the same case under a sanitizer, and sweep its layouts",
    )


def _findings(outcome: Outcome, kind: str) -> list[Fact]:
    return [
        fact(outcome, "findings", finding.get("message") or kind) for finding in outcome.findings if finding.get("kind") == kind
    ]


RULES = (
    *(Rule(sort.cause, layout_rule_for(sort)) for sort in LAYOUT_SORTS),
    Rule("host-dereference", host_dereference),
    Rule("caught-access-violation", caught_access_violation),
)
LAST = (Rule("access-violation", access_violation),)
