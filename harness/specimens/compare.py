"""An outcome against what a specimen must show: is it that, and both in a few words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.outcome import Kind, Outcome
from harness.specimens.table import Sight, Specimen

_OF_FINDING = ("kind", "space", "direction", "size")


def sees(sight: Sight, outcome: Outcome) -> bool:
    """Whether the outcome is what the sight says, payload included."""
    if outcome.kind not in sight.outcome or (sight.cause and cause(outcome) != sight.cause):
        return False
    match outcome.kind:
        case Kind.CRASHED:
            signal = outcome.exit.signal if outcome.exit else None
            return (not sight.signal or signal in sight.signal) and (not outcome.findings or _has_finding(sight, outcome))
        case Kind.CUDA_ERROR:
            return not sight.cuda or (outcome.cuda is not None and outcome.cuda.code in sight.cuda)
        case Kind.SOLVER_STATUS:
            return not sight.status or outcome.status in sight.status
        case Kind.RAISED:
            said = f"{outcome.exception.type}: {outcome.exception.message}" if outcome.exception else ""
            return all(word in said for word in sight.says)
        case Kind.FINDINGS:
            return _has_finding(sight, outcome)
        case Kind.OK:
            return is_clean(outcome, sight.pose)
    return True


def is_clean(outcome: Outcome, pose: str | None = "right") -> bool:
    """A pose came back, right or wrong as asked, and the tool, if any, was there and had nothing to say."""
    if outcome.kind is not Kind.OK or outcome.findings or outcome.tool_state not in (None, "clean"):
        return False
    within = outcome.parity is not None and outcome.parity.get("within") is True
    return pose is None or (outcome.parity is not None and within == (pose == "right"))


def may_be(specimen: Specimen, outcome: Outcome) -> bool:
    """Whether a specimen may end so under a tool that no sight names: never with a finding of a name that is not allowed."""
    own = {words.partition(" ")[2] for words in specimen.elsewhere if words.startswith(f"{Kind.FINDINGS.value} ")}
    if not {str(finding.get("kind")) for finding in outcome.findings} <= own:
        return False
    return outcome.kind is Kind.FINDINGS or outcome.kind.value in specimen.elsewhere


def must(sight: Sight) -> str:
    """What must be seen, in a few words: ``FINDINGS misaligned global read 16``."""
    parts = []
    for kind in sight.outcome:
        match kind:
            case Kind.CRASHED:
                details: list[Any] = ["/".join(sight.signal)]
            case Kind.CUDA_ERROR:
                details = ["/".join(map(str, sight.cuda))]
            case Kind.SOLVER_STATUS:
                details = ["/".join(sight.status)]
            case Kind.FINDINGS:
                details = ["/".join(sight.kind), *(getattr(sight, name) for name in _OF_FINDING[1:])]
            case Kind.RAISED:
                details = [" ".join(sight.says)]
            case Kind.OK:
                details = [f"{sight.pose} pose" if sight.pose else ""]
            case _:
                details = []
        parts.append(_words(kind.value, *details))
    return " or ".join(parts) + (f"; cause {sight.cause}" if sight.cause else "")


def seen(outcome: Outcome) -> str:
    """What was seen, in a few words."""
    details: list[Any] = []
    match outcome.kind:
        case Kind.CRASHED if outcome.exit:
            details = [outcome.exit.signal or outcome.exit.name]
        case Kind.CUDA_ERROR if outcome.cuda:
            details = [outcome.cuda.code]
        case Kind.SOLVER_STATUS:
            details = [outcome.status]
        case Kind.RAISED if outcome.exception:
            details = [outcome.exception.type]
        case Kind.TIMEOUT:
            details = [f"{outcome.limit_s:g} s"]
        case Kind.OK if outcome.parity is not None:
            details = ["right pose" if outcome.parity.get("within") is True else "wrong pose"]
        case Kind.INCONCLUSIVE | Kind.UNAVAILABLE:
            details = [outcome.reason]
    named = [_words(*(finding.get(name) for name in _OF_FINDING)) for finding in outcome.findings]
    state = f"({outcome.tool_state})" if outcome.tool_state not in (None, "clean", "findings") else ""
    claim = f"; cause {cause(outcome)}, {outcome.diagnosis.confidence}" if outcome.diagnosis and cause(outcome) else ""
    return _words(outcome.kind.value, *details, ", ".join(dict.fromkeys(named)), state) + claim


def cause(outcome: Outcome) -> str | None:
    """What the diagnosis names; None where it is not sure, or where nothing was tried."""
    diagnosis = outcome.diagnosis
    sure = diagnosis is not None and diagnosis.confidence in ("proven", "likely") and outcome.kind is not Kind.UNAVAILABLE
    return diagnosis.cause if diagnosis is not None and sure else None


def _has_finding(sight: Sight, outcome: Outcome) -> bool:
    return any(_is(sight, finding) for finding in outcome.findings)


def _is(sight: Sight, finding: dict[str, Any]) -> bool:
    if sight.kind and finding.get("kind") not in sight.kind:
        return False
    wanted = ((name, getattr(sight, name)) for name in _OF_FINDING[1:])
    return all(value is None or finding.get(name) == value for name, value in wanted)


def _words(*words: Any) -> str:
    return " ".join(_texts(words))


def _texts(words: Iterable[Any]) -> list[str]:
    return [str(word) for word in words if word not in (None, "")]
