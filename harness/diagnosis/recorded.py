"""What a recording says of the run that it comes from, in the shape of an outcome, so that the same rules apply."""

from __future__ import annotations

import re
from typing import Any

from harness import cudaerror, exitcode
from harness.case import Case
from harness.commandline import command_line
from harness.diagnosis.evidence import RECORDED_SOLVER
from harness.diagnosis.inputs import input_facts
from harness.outcome import ExceptionInfo, Exit, Kind, Outcome
from harness.registry import TRACKER, of_tracker

_NOT_FINITE = "returned a pose that is not finite"
_RAISED = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Iteration)\b(?=:|$)")


def recorded_outcome(case: Case) -> Outcome:
    """The recorded run's end, as far as anybody saw it. A call that came back with two finite poses is as expected; there is no
    parity to judge it by.
    """
    recorded = case.document.recorded
    fields: dict[str, Any] = {
        "case": case.id, "solver": RECORDED_SOLVER, "tool": "none", "stage": "solving", "seconds": 0.0, "input": input_facts(case),
        "judged": False, "expected": False,
        "repeat": command_line(
            ["harness", "replay", str(case.path or case.id), "--solver", of_tracker(recorded.tracker) or f"{TRACKER}PATH"]
        ),
    }  # fmt: skip
    if recorded.event == "returned" and recorded.exception:
        return _returned(recorded.exception, fields)
    if recorded.event in ("returned", "not_run"):
        return Outcome(kind=Kind.OK, status=recorded.event, **fields | {"expected": True})
    if recorded.event == "raised":
        return _raised(recorded.exception, fields)
    exit = None if recorded.exit is None else Exit(**recorded.exit.model_dump())
    fields |= {"exit": exit, "faulthandler": recorded.stack}
    if exit is not None and (exit.crashed or exitcode.is_abort(exit, recorded.stack)):
        return Outcome(kind=Kind.CRASHED, **fields)
    how = f"its process ended in it, {exit.name}" if exit is not None else "and nobody saw how its process ended"
    return Outcome(kind=Kind.INCONCLUSIVE, reason=f"the recorded call never came back: {how}", **fields)


def raised_line(text: str) -> str:
    """The line of a formatted exception that names it: of several the last, which is the one that was raised."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _RAISED.match(line)]
    return (named[-1] if named else lines[-1] if lines else "").strip()


def _returned(text: str, fields: dict[str, Any]) -> Outcome:
    """A call came back with what is no pair of finite poses: NaN, a GPU that died meanwhile, or another thing altogether."""
    if text.startswith(_NOT_FINITE):
        return Outcome(kind=Kind.SOLVER_STATUS, status="NON_FINITE", reason=text, **fields)
    cuda = cudaerror.find(text)
    if cuda is not None:
        return Outcome(kind=Kind.CUDA_ERROR, cuda=cuda, reason=text, **fields)
    what = text.partition("\n")[0].removesuffix(", not (T_WCf, T_CkCf)")
    return Outcome(kind=Kind.INCONCLUSIVE, reason=f"the solver {what}; it must return (T_WCf, T_CkCf)", **fields)


def _raised(text: str, fields: dict[str, Any]) -> Outcome:
    line = raised_line(text)
    name, _, first = line.partition(": ")
    message = first + text[text.rfind(line) + len(line) :] if line else text
    info = ExceptionInfo(name or "Exception", message, text)
    cuda = cudaerror.find(f"{name}: {message}") or cudaerror.find(message)
    return Outcome(kind=Kind.RAISED if cuda is None else Kind.CUDA_ERROR, exception=info, cuda=cuda, **fields)
