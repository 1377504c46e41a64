"""Whether a replay ends as the call did that its case was recorded from, and what to say where none does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.diagnosis import faultclass
from harness.diagnosis.evidence import Evidence
from harness.outcome import Kind, Outcome
from harness.registry import TRACKER


def reproduces(replayed: Outcome, recorded: Outcome) -> bool:
    """Whether a replay of the same case failed in the way of the recording, as far as that is known."""
    match recorded.kind:
        case Kind.CRASHED:
            word = faultclass.fault_class(recorded)
            died = replayed.exit is not None and replayed.exit.crashed
            alike = died and word in (faultclass.fault_class(replayed), faultclass.of_exit(replayed.exit))  # type: ignore[arg-type]
            return alike or (word == faultclass.KILLED and replayed.kind is Kind.TIMEOUT)  # somebody ended what hung
        case Kind.CUDA_ERROR:
            return replayed.cuda is not None and recorded.cuda is not None and replayed.cuda.code == recorded.cuda.code
        case Kind.RAISED:
            return bool(replayed.exception and recorded.exception and replayed.exception.type == recorded.exception.type)
        case Kind.SOLVER_STATUS:
            return replayed.status == recorded.status
        case _:  # it never came back, and nobody knows how; or it returned what is no pose
            return replayed.kind in (Kind.CRASHED, Kind.TIMEOUT, Kind.RAISED)


def unreproduced(recordings: Iterable[Outcome], outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """The recordings that no replay of the same case reproduces."""
    return tuple(
        recorded for recorded in recordings if not any(reproduces(it, recorded) for it in outcomes if it.case == recorded.case)
    )


def not_reproduced(recorded: Outcome, outcomes: Sequence[Outcome]) -> str:
    """One sentence for a recording that no replay reproduces, with what was missing from the replays."""
    asked = [it for it in outcomes if it.case == recorded.case]
    mine = [it for it in asked if it.kind is not Kind.UNAVAILABLE]
    trackers = [it for it in asked if it.solver.startswith(TRACKER)]
    why = []
    if not trackers:
        why.append(f"its own tracker was not among them: {recorded.repeat}")
    elif all(it.kind is Kind.UNAVAILABLE for it in trackers):
        why.append(f"its own tracker could not be run: {trackers[0].reason}")
    if Evidence(recorded).on_gpu and not any(Evidence(it).on_gpu and it.device is not None for it in mine):
        why.append("it was recorded on a GPU, and none was used here")
    return f"The recorded call of {recorded.case} {how_it_ended(recorded)}, and no solver here reproduces it" + (
        f" ({'; '.join(why)})." if why else "."
    )


def how_it_ended(recorded: Outcome) -> str:
    e = Evidence(recorded)
    where = f" in {e.frames[0].word}" if e.frames else ""
    match recorded.kind:
        case Kind.CRASHED:
            assert recorded.exit is not None
            return f"never came back: the process died of {recorded.exit.name}{where}"
        case Kind.CUDA_ERROR:
            assert recorded.cuda is not None
            return f"ended in {recorded.cuda.name} ({recorded.cuda.code})"
        case Kind.RAISED:
            assert recorded.exception is not None
            return f"raised {recorded.exception.type}{where}"
        case Kind.SOLVER_STATUS:
            return "returned a pose that is not finite"
        case _:
            return "never came back" if "never came back" in (recorded.reason or "") else "returned what is no pair of poses"
