"""What a recording says of the run that it comes from, in the shape of an outcome, so that the same rules apply."""

from __future__ import annotations

import re
from typing import Any

from harness import cudaerror, exitcode
from harness.case import Case
from harness.diagnosis.evidence import RECORDED_SOLVER
from harness.diagnosis.inputs import input_facts
from harness.outcome import ExceptionInfo, Kind, Outcome

_RAISED = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Iteration)\b(?=:|$)")


def recorded_outcome(case: Case) -> Outcome:
    """The recorded run's end. A call that came back with two finite poses is as expected; there is no parity to judge it by."""
    recorded = case.document.recorded
    fields: dict[str, Any] = {
        "case": case.id, "solver": RECORDED_SOLVER, "tool": "none", "stage": "solving", "seconds": 0.0, "input": input_facts(case),
        "judged": False, "expected": False,
        "repeat": f"harness replay {case.path or case.id} --solver mast3r-slam:PATH",
    }  # fmt: skip
    if recorded.event == "returned" and recorded.exception:
        return Outcome(kind=Kind.SOLVER_STATUS, status="NON_FINITE", reason=recorded.exception, **fields)
    if recorded.event in ("returned", "not_run"):
        return Outcome(kind=Kind.OK, status=recorded.event, **fields | {"expected": True})
    if recorded.event == "raised":
        return _raised(recorded.exception, fields)
    code = getattr(recorded, "exit_code", None)  # a recorder that outlives the tracker may know it
    if isinstance(code, int):
        exit = exitcode.decode(code, windows=code > 255)
        if exit.crashed:
            return Outcome(kind=Kind.CRASHED, exit=exit, **fields)
    return Outcome(kind=Kind.INCONCLUSIVE, reason="the recorded call never came back", **fields)


def raised_line(text: str) -> str:
    """The line of a formatted exception that names it: of several the last, which is the one that was raised."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _RAISED.match(line)]
    return (named[-1] if named else lines[-1] if lines else "").strip()


def _raised(text: str, fields: dict[str, Any]) -> Outcome:
    line = raised_line(text)
    name, _, first = line.partition(": ")
    message = first + text[text.rfind(line) + len(line) :] if line else text
    info = ExceptionInfo(name or "Exception", message, text)
    cuda = cudaerror.find(f"{name}: {message}") or cudaerror.find(message)
    return Outcome(kind=Kind.RAISED if cuda is None else Kind.CUDA_ERROR, exception=info, cuda=cuda, **fields)
