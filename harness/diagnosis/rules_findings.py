"""Rules for what sanitizers found. A finding is the cause observed: nothing is surer, unless the tool itself was misled."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.diagnosis.evidence import DEVICE_TOOLS, HOST_TOOLS, Evidence, fact, place
from harness.diagnosis.rule import DEVICE, ENVIRONMENT, HOST, LIKELY, POSSIBLE, PROVEN, Match, Rule
from harness.diagnosis.signature import GRAVITY, source_word
from harness.outcome import MEMORY_MODES, POOL, Fact, Kind, Outcome
from harness.sanitizer import words

_STICKY_OF = {
    "misaligned": (716,), "out-of-bounds": (700, 719), "use-after-free": (700, 719), "stack-overflow": (719, 700, 714),
    "wrong-device": (700, 719), "barrier": (719,),
}  # fmt: skip
"""Which CUDA errors a finding explains. A result that is off, or a hang, may follow from any of them."""


@dataclass(frozen=True)
class Sort:
    """One kind of finding. ``claim`` is completed by where it is, ``{there}`` in ``fix`` by that line where one is known."""

    kind: str
    cause: str
    claim: str
    fix: str


# fmt: off
SORTS = (
    Sort("misaligned", "misaligned", "a misaligned access",
         "load by the element's own type, or make sure that every row starts at a multiple of the width of the load"),
    Sort("wrong-device", "wrong-device", "a kernel that was handed memory of another GPU, or of another context, than its own",
         "make the GPU of the tensors the current one round the launch: c10::cuda::CUDAGuard in C++, torch.cuda.device in Python"),
    Sort("out-of-bounds", "out-of-bounds", "an access outside every allocation",
         "check the index against the size{there}; an empty or odd size is the usual way there"),
    Sort("use-after-free", "use-after-free", "an access to memory that was given back",
         "keep the tensor alive until the work that reads it has ended: the stream runs later than Python"),
    Sort("use-before-allocation", "use-before-allocation", "an access to memory before its allocation took effect",
         "allocate and use on one stream, or let the second wait for an event of the first"),
    Sort("double-free", "double-free", "memory that is given back twice",
         "let one object own the allocation"),
    Sort("leak", "leak", "device memory that was never given back",
         "free it, or keep it in a buffer that is used again"),
    Sort("device-exception", "device-exception", "an exception that the tool cannot place: a trap, a failed assertion",
         "compile with -lineinfo or -G, and the exception becomes precise; then read its line"),
    Sort("stack-overflow", "device-stack-overflow", "a stack that is full",
         "take large arrays off the stack and end the recursion; cudaDeviceSetLimit(cudaLimitStackSize) only moves the wall"),
    Sort("race", "race", "two threads that use one place without waiting for each other",
         "put a barrier between the write and the read, or use a shuffle with its mask"),
    Sort("barrier", "divergent-barrier", "a barrier that not all threads reach",
         "take the barrier out of the branch"),
    Sort("uninitialized", "uninitialized", "a read of memory that nobody wrote",
         "set the accumulator before the first addition"),
    Sort("undefined", "undefined-behaviour", "undefined behaviour",
         "mend the line that the tool names; what it computes differs between compilers"),
    Sort("api-error", "unchecked-api-error", "a CUDA call that failed, and nobody looked",
         "check the result of the call and of every launch, and pass the error on"),
)
# fmt: on


def false_alarm(e: Evidence) -> Match | None:
    """Findings under expandable segments, or the one harmless call that cuda.core fails at its start."""
    own = [finding for finding in e.outcome.findings if isinstance(finding, Mapping)]
    if not own or e.outcome.tool not in DEVICE_TOOLS:
        return None
    start = [
        finding for finding in own if finding.get("kind") == "api-error" and re.search(r"\b201\b", str(finding.get("message")))
    ]
    if len(start) == len(own):
        return Match(
            ENVIRONMENT,
            "no fault: cuda.core asks for a context at its start and is told that there is none yet (201)",
            POSSIBLE,
            _quotes(e.outcome, start),
            "the same record later than the first launch",
            e.command("--tool memcheck"),
            "run the tool with --report-api-errors no, or explicit",
        )
    settings = json.dumps(dict(e.documents.environment), default=str)
    found = re.search(r"expandable_segments[:=]\s*True", settings)
    if found is None or any(finding.get("kind") not in ("out-of-bounds", "use-after-free", "uninitialized") for finding in own):
        return None
    return Match(
        ENVIRONMENT,
        "perhaps no fault: torch's expandable segments map memory in a way that compute-sanitizer takes for unallocated",
        POSSIBLE,
        (*_quotes(e.outcome, own), Fact(found[0], "run.json: environment")),
        "the same finding without expandable segments",
        e.command("--tool memcheck --memory exact"),
        "unset expandable_segments in PYTORCH_CUDA_ALLOC_CONF and run the tool again",
    )


def sort_rule(sort: Sort) -> Callable[[Evidence], Match | None]:
    def match(e: Evidence) -> Match | None:
        seen = [(o, finding) for o in _witnesses(e, sort) for finding in o.findings if finding.get("kind") == sort.kind]
        if not seen or not _is_about(sort, e, seen[0][1]):
            return None
        witness, finding = seen[0]
        quotes = tuple(quote for o, found in seen[:2] for quote in _quotes(o, [found]))
        there = " at that line" if words.place(finding) else ""
        return Match(
            _side(witness),
            f"{sort.claim}{_where(finding)}",
            PROVEN,
            (*_symptom(e), *dict.fromkeys((*quotes, *_hidden_by_pool(e, witness)))),
            f"{_by(witness)} finds nothing{there} when the case is run again",
            e.command(*_how(witness)),
            sort.fix.format(there=there),
        )

    match.__doc__ = f"A sanitizer found {sort.claim}, in this run or in one of the same solver on the same case."
    return match


def unnamed_finding(e: Evidence) -> Match | None:
    """A sanitizer found something of a kind that has no rule here."""
    if e.outcome.kind is not Kind.FINDINGS:
        return None
    finding = e.outcome.findings[0]
    return Match(
        _side(e.outcome),
        f"{_by(e.outcome)} found {finding.get('kind') or 'a fault without a kind'}{_where(finding)}",
        POSSIBLE,
        _quotes(e.outcome, [finding]),
        f"{_by(e.outcome)} finds nothing when the case is run again",
        e.command(*_how(e.outcome)),
        "read the finding: this version of the harness does not know its kind",
    )


def hides_in_the_pool(e: Evidence) -> Match | None:
    """The result depends on what lies around the tensors: right among the application's memory, wrong among NaN."""
    failed = e.outcome.expected is False or e.off or e.outcome.kind in (Kind.SOLVER_STATUS, Kind.CUDA_ERROR, Kind.CRASHED)
    if not failed or e.outcome.memory == POOL or e.outcome.findings or e.outcome.values.get("repeatable") is False:
        return None
    calm = [o for o in e.same_solver() if o.memory == POOL and o.layout == e.outcome.layout and o.kind is Kind.OK and o.expected]
    if not calm or any(o.memory == POOL and o.expected is False for o in e.same_solver()):
        return None
    return Match(
        e.side,
        f"it reads memory that is none of the case's: right in the application's memory, {_end(e.outcome)} with {e.outcome.memory} "
        "memory",
        LIKELY,
        (fact(e.outcome, "outcome", _end(e.outcome)), fact(calm[0], "outcome", _end(calm[0]))),
        "the same failure with the application's memory, or none when it is run again",
        e.command("--tool memcheck --memory exact"),
        "find the read with memcheck or initcheck in exact memory; pools hide what lies beyond a tensor",
    )


def _witnesses(e: Evidence, sort: Sort) -> Iterable[Outcome]:
    yield e.outcome
    # No fault on the GPU kills a process.
    yield from e.same_solver(tools=HOST_TOOLS if e.fault else (*DEVICE_TOOLS, *HOST_TOOLS))


def _is_about(sort: Sort, e: Evidence, finding: Mapping[str, Any]) -> bool:
    """Whether what is wrong with this outcome is that finding, be it its own or one of another run."""
    own = e.outcome.findings
    return _gravest(own) == sort.kind or _names_better(finding, own) if own else _explains(sort, e)


def _names_better(finding: Mapping[str, Any], own: Iterable[Mapping[str, Any]]) -> bool:
    """Whether it is the same access, seen where the places of the tensors are known: in the application's memory they are not."""
    where = (finding.get("kernel"), words.place(finding))
    return finding["kind"] == "wrong-device" and any(
        it.get("kind") == "out-of-bounds" and (it.get("kernel"), words.place(it)) == where for it in own
    )


def _explains(sort: Sort, e: Evidence) -> bool:
    """Whether a finding of another run explains how this one ended."""
    o = e.outcome
    if o.kind is Kind.CUDA_ERROR:
        return sort.kind in _STICKY_OF and o.cuda is not None and o.cuda.code in _STICKY_OF[sort.kind]
    if o.kind is Kind.TIMEOUT:
        return sort.kind in ("barrier", "race", "out-of-bounds") and o.tool == "none"
    return (bool(e.fault) and e.solving) or e.off or (o.kind is Kind.SOLVER_STATUS and o.expected is False)


def _gravest(findings: Iterable[Mapping[str, Any]]) -> Any:
    return min((it.get("kind") for it in findings), key=lambda kind: GRAVITY.index(kind) if kind in GRAVITY else len(GRAVITY))


def _symptom(e: Evidence) -> tuple[Fact, ...]:
    if e.outcome.cuda is not None:
        return (fact(e.outcome, "cuda", f"{e.outcome.cuda.code} {e.outcome.cuda.name}"),)
    return (fact(e.outcome, "exit", f"{e.outcome.exit.code} {e.outcome.exit.name}"),) if e.fault and e.outcome.exit else ()


def _quotes(outcome: Outcome, findings: Iterable[Mapping[str, Any]]) -> tuple[Fact, ...]:
    """What the tool says of each; its own words where it left any."""
    return tuple(fact(outcome, "findings", finding.get("message") or finding.get("kind")) for finding in list(findings)[:2])


def _side(witness: Outcome) -> str:
    """Whose code did what was found: a tool watches one side, a memory mode whatever ran."""
    if witness.tool in HOST_TOOLS:
        return HOST
    return DEVICE if witness.tool in DEVICE_TOOLS else Evidence(witness).side


def _by(witness: Outcome) -> str:
    return f"{witness.memory} memory" if witness.tool == "none" else witness.tool


def _how(witness: Outcome) -> list[str]:
    """The options that find it again."""
    tool = [] if witness.tool == "none" else [f"--tool {witness.tool}"]
    return tool + ([] if witness.memory == POOL else [f"--memory {witness.memory}"])


def _where(finding: Mapping[str, Any]) -> str:
    """What was accessed, how far from what, in which kernel and line; a memory mode's own words, which name the tensor."""
    if finding.get("tool") in MEMORY_MODES and finding.get("message"):
        return f": it {finding['message']}" if not str(finding["message"]).startswith("its ") else f": {finding['message']}"
    known = ", ".join(
        filter(None, [words.access(finding) if isinstance(finding.get("size"), int) else "", words.distance(finding)])
    )
    kernel = f" in {finding['kernel']}" if finding.get("kernel") else ""
    line = words.place(finding) or source_word(finding)
    return (f" ({known})" if known else "") + kernel + (f" at {line}" if line else "")


def _hidden_by_pool(e: Evidence, witness: Outcome) -> tuple[Fact, ...]:
    if witness.memory == POOL:
        return ()
    calm = (o for o in (e.outcome, *e.siblings) if o.solver == witness.solver and o.tool == witness.tool and o.memory == POOL)
    return tuple(Fact("clean", place(o, "tool_state")) for o in calm if o.tool_state == "clean")


def _end(outcome: Outcome) -> str:
    return f"{outcome.kind.value} {outcome.status or ''}".strip()


FIRST = (Rule("false-alarm", false_alarm),)
RULES = (*(Rule(sort.cause, sort_rule(sort)) for sort in SORTS), Rule("reads-outside-its-tensors", hides_in_the_pool))
LAST = (Rule("unnamed-finding", unnamed_finding),)
