"""Rules for errors that CUDA reports by number. The number is the driver's own word; which call caused it often is not known."""

from __future__ import annotations

import re
from collections.abc import Callable

from harness import cudaerror
from harness.diagnosis.blocking import BLOCKING, VARIABLE
from harness.diagnosis.cuda_codes import CODES, MEMCHECK, Code
from harness.diagnosis.evidence import Evidence, fact, find_line, frame_facts, input_fact
from harness.diagnosis.libraries import ADAPTERS, LIETORCH
from harness.diagnosis.rule import ENVIRONMENT, HOST, LIKELY, NOT_KNOWN, POSSIBLE, PROVEN, UNKNOWN, Match, Rule, present
from harness.outcome import Fact, Kind
from harness.versions import serves


def no_kernel_image(e: Evidence) -> Match | None:
    """The extension, or torch itself, holds no code for this GPU, and no PTX that the driver could compile for it."""
    code = _code(e, 209)
    if code is None:
        return None
    capability = e.capability
    needed = f"sm_{capability[0]}{capability[1]}" if capability else ""
    here = [Fact(f"this GPU: {needed}", f"run.json: environment.gpus[{e.gpu_index}]")] if needed else []
    held = [(fat, f"{audit.source}: architectures") for audit in e.documents.audits for fat in audit.fat_binaries]
    without = [(fat, where) for fat, where in held if capability and serves(fat.architectures, capability) is None]
    torchs = _torchs_architectures(e)
    by_torch = bool(torchs) and capability is not None and serves(torchs, capability) is None
    listed = [Fact(f"{fat.file}: {', '.join(fat.architectures)}", where) for fat, where in (without or held)][:3]
    if by_torch:
        listed.insert(0, Fact(f"torch: {', '.join(torchs)}", "run.json: environment.architectures"))
    served = bool(capability and held) and not without and not by_torch
    wanted = f"{capability[0]}.{capability[1]}+PTX" if capability else "12.0+PTX"
    rebuild = f'TORCH_CUDA_ARCH_LIST="{wanted}"' + ("" if capability else " for an RTX 50xx (sm_120)")
    return Match(
        ENVIRONMENT,
        f"no kernel image: {'torch itself' if by_torch else 'the extension'} holds no code for this GPU's architecture"
        f"{f' ({needed})' if needed else ''}, and no PTX that the driver could compile for it",
        PROVEN,
        (*code, *listed, *here),
        "the audit of what was loaded lists this GPU's architecture, or PTX (compute_NN) of it or an older one",
        "harness doctor" if by_torch else "harness audit FILE (the extension)",
        f"install a torch that is built for {needed}" if by_torch else f"rebuild with this GPU's architecture and PTX: {rebuild}",
        tuple(listed) if served else (),
    )


def _torchs_architectures(e: Evidence) -> list[str]:
    built = e.documents.environment.get("architectures")
    return [str(name) for name in built] if isinstance(built, list) else []


def toolkit_newer_than_driver(e: Evidence) -> Match | None:
    """The PTX is of a newer toolkit than the driver knows."""
    code = _code(e, 222)
    if code is None:
        return None
    about = e.documents.doctor.about(r"toolkit.*driver|driver.*toolkit") if e.documents.doctor else ()
    bad = tuple(Fact(f"{it.name}: {it.state}: {it.detail}", it.where) for it in about if it.state in ("fail", "warn"))
    good = tuple(Fact(f"{it.name}: {it.state}: {it.detail}", it.where) for it in about if it.state == "ok")
    return Match(
        ENVIRONMENT,
        "the toolkit is newer than the driver, which does not know its PTX",
        PROVEN,
        (*code, *bad[:2]),
        "the driver's CUDA version is not below the toolkit's",
        "harness doctor",
        "update the driver, or ship machine code (cubin: sm_NN) for this GPU instead of PTX",
        () if bad else good,
    )


def empty_launch(e: Evidence) -> Match | None:
    """An empty batch launched a grid of no blocks; nobody looked, and the error came up later."""
    code = _code(e, 9) or _code(e, 1) or _failed_launch(e)
    if code is None:
        return None
    is_op = e.outcome.input.get("kind") == "op"  # which has no points, and whose batch is what is launched for
    counts = [name for name in (("batch",) if is_op else ("n_points", "n_valid")) if e.known(name)]
    empty = next((name for name in counts if e.outcome.input.get(name) == 0), None)
    if counts and empty is None:
        return None  # something was launched, whatever a probe says of nothing
    refused = [rung for rung in e.rungs(batch="0", device="cuda") if rung.result == "error" and _is_launch_error(rung.detail)]
    filled = [r for r in e.rungs(device="cuda", result="ok") if refused and r.op == refused[0].op and r.batch != "0"]
    if empty is None and not refused:
        return None
    return Match(
        HOST,
        "an empty batch launched a grid of no blocks, and the launch was not checked, so the error came up at a later call",
        PROVEN if empty in ("n_points", "batch") else LIKELY,
        (*code, *([input_fact(e, empty)] if empty else []), *(Fact(r.words, r.where) for r in (*refused[:1], *filled[:1]))),
        "the same error with a batch of one",
        "harness probe",
        "return early for an empty batch, and check every launch where it is made",
    )


def no_device_guard(e: Evidence) -> Match | None:
    """An illegal access on a GPU other than the first: the extension launches on whatever device is current."""
    code = _code(e, 700)
    if code is None or e.gpu_index == 0:
        return None
    first = [r for r in e.rungs(device="cuda:0", result="ok") if e.op is None or r.op == e.op]
    second = [
        r
        for r in e.rungs(device=f"cuda:{e.gpu_index}")
        if r.result in ("error", "crash", "wrong") and (e.op is None or r.op == e.op)
    ]
    split = [
        (b, a)
        for b in second
        for a in first
        if (a.op, a.group, a.dtype, a.batch, a.layout) == (b.op, b.group, b.dtype, b.batch, b.layout)
    ]
    confidence = PROVEN if split else LIKELY if e.ran(LIETORCH) else POSSIBLE
    return Match(
        HOST,
        f"the extension launches on the current GPU and not on that of its tensors (cuda:{e.gpu_index}): it has no device guard",
        confidence,
        (
            *code,
            fact(e.outcome, "device", e.outcome.device),
            *frame_facts(e),
            *(Fact(r.words, r.where) for pair in split[:1] for r in pair),
        ),
        f"the same error on cuda:0, or after torch.cuda.set_device({e.gpu_index})",
        e.command("--device cuda:0"),
        "torch.cuda.set_device() before the tracker starts, or CUDA_VISIBLE_DEVICES; in the extension at::cuda::OptionalCUDAGuard",
    )


def legacy_stream(e: Evidence) -> Match | None:
    """Results are read before the work is done: the extension launches on the legacy stream, not on the current one."""
    if not (e.off or e.outcome.kind is Kind.SOLVER_STATUS) or e.outcome.expected or not e.on_gpu:
        return None
    if e.outcome.solver in ADAPTERS:  # which work on the default stream, where this cannot show
        return None
    late = [r for r in e.rungs(surely=False, device="cuda", result="wrong") if not _default(r.stream) and e.op in (None, r.op)]
    calm = [r for r in e.rungs(surely=False, device="cuda", result="ok") if _default(r.stream)]
    split = [
        (b, a)
        for b in late
        for a in calm
        if (a.op, a.group, a.dtype, a.batch, a.layout) == (b.op, b.group, b.dtype, b.batch, b.layout)
    ]
    if not split:
        return None
    return Match(
        HOST,
        "the extension launches on the legacy stream and not on the current one: where another stream is current, results are read "
        "before the work is done",
        POSSIBLE,  # the probe saw what the library does, and nobody saw which stream was current here
        tuple(Fact(r.words, r.where) for r in split[0]),
        "the same wrong value with all work on the default stream, or with CUDA_LAUNCH_BLOCKING=1",
        "harness probe",
        "launch on at::cuda::getCurrentCUDAStream(); until then run the tracker on the default stream",
    )


def unordered_streams(e: Evidence) -> Match | None:
    """Wrong as it is, and right when every launch is waited for: work on one stream needs that of another and does not wait."""
    lost = e.off or (e.outcome.kind is Kind.SOLVER_STATUS and e.outcome.expected is False)
    if not lost or not e.on_gpu or e.outcome.findings:
        return None
    calm = next((o for o in e.documents.blocking if o.key == e.outcome.key and o.kind is Kind.OK), None)
    if calm is None or (calm.parity or {}).get("within") is not True:
        return None
    return Match(
        HOST,
        "work on one stream does not wait for the work on another that it needs: the result is wrong as it is, and right when "
        "every launch is waited for",
        LIKELY,
        (
            fact(e.outcome, "outcome", f"{e.outcome.kind.value} {e.outcome.status}"),
            *([fact(e.outcome, "parity.why", e.outcome.parity.get("why"))] if e.outcome.parity else []),
            Fact(f"{calm.kind.value} {calm.status}", f"{BLOCKING}: {calm.solver} on {calm.case}"),
        ),
        f"a wrong result with {VARIABLE}=1, too, or a right one without it when it is run again",
        f"{VARIABLE}=1 {e.command()}",
        "let the consumer wait: torch.cuda.current_stream().wait_stream(producer); and launch on the current stream, not on the "
        "legacy one",
    )


def code_rule(entry: Code) -> Callable[[Evidence], Match | None]:
    def match(e: Evidence) -> Match | None:
        code = _code(e, entry.code)
        if code is None:
            return None
        test = e.command(entry.test) if entry.test.startswith("--") else entry.test
        return Match(entry.side, entry.claim, entry.confidence, (*code, *frame_facts(e)), entry.refute, test, entry.fix)

    match.__doc__ = f"CUDA reported error {entry.code}: {entry.claim}."
    return match


def unnamed_error(e: Evidence) -> Match | None:
    """A message speaks of CUDA, and of no error that is known."""
    if e.outcome.kind is not Kind.CUDA_ERROR or e.outcome.cuda is None:
        return None
    said = find_line(e.outcome, re.compile("CUDA", re.IGNORECASE), ("exception.message", "stderr"))
    return Match(
        UNKNOWN,
        f"a CUDA error that has no entry here: {e.outcome.cuda.code or 'no number was given'}",
        NOT_KNOWN,
        (*present(said), *frame_facts(e)),
        "nothing is claimed that could be refuted",
        e.command(MEMCHECK),
        "look the error up in CUDA's documentation of cudaError",
    )


def _code(e: Evidence, wanted: int) -> tuple[Fact, ...] | None:
    """The error with what was said, when it is this one."""
    cuda = e.outcome.cuda
    if e.outcome.kind is not Kind.CUDA_ERROR or cuda is None or cuda.code != wanted:
        return None
    said = find_line(e.outcome, re.compile(r"CUDA|cuda"), ("exception.message", "stderr"))
    return (fact(e.outcome, "cuda", f"{cuda.code} {cuda.name}"), *present(said))


def _failed_launch(e: Evidence) -> tuple[Fact, ...] | None:
    """memcheck's record of a launch that the driver refused."""
    for finding in e.outcome.findings:
        if finding.get("kind") == "api-error" and re.search(r"call to cu(da)?Launch", str(finding.get("message"))):
            return (fact(e.outcome, "findings", finding["message"]),)
    return None


def _is_launch_error(detail: str) -> bool:
    """Whether CUDA refused a launch: invalid configuration, which from CUDA 13 on is an invalid argument."""
    error = cudaerror.find(detail)
    return error is not None and error.code in (1, 9)


def _default(stream: str) -> bool:
    return stream in ("", "0") or "default" in stream.lower() or "legacy" in stream.lower()


FIRST = (Rule("empty-launch", empty_launch),)
RULES = (
    Rule("no-kernel-image", no_kernel_image),
    Rule("toolkit-newer-than-driver", toolkit_newer_than_driver),
    Rule("no-device-guard", no_device_guard),
    Rule("unordered-streams", unordered_streams),
)
BEFORE_SYMPTOMS = (Rule("legacy-stream", legacy_stream),)
"""What is true of the library whatever the outcome: asked after every cause that the outcome itself shows."""
LAST = (*(Rule(entry.cause, code_rule(entry)) for entry in CODES), Rule("unnamed-cuda-error", unnamed_error))
