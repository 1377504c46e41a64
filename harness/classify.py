"""From what a child left behind and how it ended to one Outcome. Nothing is decided from an exit code alone.

The order matters: the harness's own kill is a time-out only when no other end came first; a process that died is a crash even
when it had already written a result; a result that cannot be read is no result.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import cudaerror, exitcode
from harness.outcome import NO_POSE, ExceptionInfo, Exit, IterationRecord, Kind, Outcome, iteration_record
from harness.process import Ended
from harness.worker_files import FAULTHANDLER, JOURNAL, RESULT, STDERR, STDOUT

_HEAD, _TAIL = 16_000, 48_000
_MAX_RESULT_BYTES = 64 << 20
_CLAIMS_POSE = ("CONVERGED", "MAX_ITERATIONS")
_STATUSES = (*_CLAIMS_POSE, "NOT_POSITIVE_DEFINITE", "NON_FINITE", "TOO_FEW_MATCHES")


@dataclass(frozen=True)
class Evidence:
    """What the job folder holds."""

    stages: tuple[tuple[str, float], ...]
    trace: tuple[IterationRecord, ...]
    device: str | None
    result: dict[str, Any] | None
    result_problem: str | None
    stdout: str
    stderr: str
    faulthandler: str

    @property
    def stage(self) -> str:
        return self.stages[-1][0] if self.stages else "none"


def classify(folder: Path, ended: Ended, limit_s: float, *, case: str, solver: str, tool: str, repeat: str) -> Outcome:
    """The outcome of the job in ``folder``."""
    seen = _gather(folder)
    exit = None if ended.code is None else exitcode.decode(ended.code)
    if exit is not None and (ended.timed_out or ended.output_bytes is not None):
        exit = dataclasses.replace(exit, meaning="ended by the harness", crashed=False)
    fields: dict[str, Any] = {
        "case": case, "solver": solver, "tool": tool, "repeat": repeat, "stage": seen.stage, "seconds": ended.seconds, "exit": exit,
        "stdout": seen.stdout, "stderr": seen.stderr, "faulthandler": seen.faulthandler, "stages": seen.stages, "trace": seen.trace,
        "device": seen.device, "iterations": len(seen.trace) or None, "cost": seen.trace[-1].cost if seen.trace else None,
    }  # fmt: skip
    fields |= _decide(ended, exit, seen, limit_s)
    return Outcome(**fields)


def _decide(ended: Ended, exit: Exit | None, seen: Evidence, limit_s: float) -> dict[str, Any]:
    finished = seen.result is not None
    if ended.timed_out:
        notes = ("its result was already written; the process did not end",) if finished else ()
        if ended.lost is not None:
            notes = (*notes, ended.lost)
        return {"kind": Kind.TIMEOUT, "limit_s": limit_s, "notes": notes}
    if ended.output_bytes is not None:
        return {"kind": Kind.INCONCLUSIVE, "reason": f"ended by the harness after it had printed {ended.output_bytes >> 20} MiB"}
    if exit is None:
        return {"kind": Kind.INCONCLUSIVE, "reason": ended.lost or "nobody could tell how the process ended"}
    if exit.crashed or exitcode.is_abort(exit, seen.faulthandler):
        notes = ("it had already written its result, then died",) if finished else ()
        return {"kind": Kind.CRASHED, "notes": notes}
    if seen.result is not None:
        fields = _from_result(seen.result)
        if exit.code != 0:
            fields["notes"] = (*fields.get("notes", ()), f"{_ended(exit)} after writing its result")
        return fields
    cuda = cudaerror.find(seen.stderr) if exit.code != 0 else None
    if cuda is not None:
        return {"kind": Kind.CUDA_ERROR, "cuda": cuda}
    reason = seen.result_problem or f"{_ended(exit)} at stage {seen.stage!r} without a result"
    return {"kind": Kind.INCONCLUSIVE, "reason": reason}


def _ended(exit: Exit) -> str:
    return f"the process ended with code {exit.name.removeprefix('exit ')}"  # signed, as the program gave it


def _from_result(result: dict[str, Any]) -> dict[str, Any]:
    if "unavailable" in result:
        return {"kind": Kind.UNAVAILABLE, "reason": result["unavailable"] or "no reason given"}
    if "exception" in result:
        exception = ExceptionInfo(**result["exception"])
        cuda = cudaerror.find(f"{exception.type}: {exception.message}") or cudaerror.find(exception.message)
        return {"kind": Kind.RAISED if cuda is None else Kind.CUDA_ERROR, "exception": exception, "cuda": cuda}
    if "op_value" in result:
        more = {"status": "CONVERGED", "values": {"op_value": result["op_value"]}, "solve_seconds": result["solve_seconds"]}
        return {"kind": Kind.OK, "judged": result["judged"], "device": result["device"], **more}
    poses = {name: tuple(float(x) for x in result[name]) for name in ("T_WCf", "T_CkCf")}
    fields: dict[str, Any] = {name: result[name] for name in ("iterations", "solve_seconds", "device", "judged", "values")}
    fields |= poses | {"cost": float(result["cost"]), "trace": tuple(iteration_record(row) for row in result["trace"])}
    status = result["status"]
    if status in _CLAIMS_POSE and not all(math.isfinite(x) for pose in poses.values() for x in pose):
        return fields | {
            "kind": Kind.SOLVER_STATUS, "status": "NON_FINITE", "notes": (f"the solver said {status}, {NO_POSE}",),
        }  # fmt: skip
    return fields | {"kind": Kind.OK if status in _CLAIMS_POSE else Kind.SOLVER_STATUS, "status": status}


def _gather(folder: Path) -> Evidence:
    stages, trace, device = _read_journal(folder / JOURNAL)
    result, problem = _read_result(folder / RESULT)
    texts = [read_text(folder / name) for name in (STDOUT, STDERR, FAULTHANDLER)]
    return Evidence(stages, trace, device, result, problem, *texts)


def _read_journal(file: Path) -> tuple[tuple[tuple[str, float], ...], tuple[IterationRecord, ...], str | None]:
    stages: list[tuple[str, float]] = []
    trace: list[IterationRecord] = []
    device, start = None, None
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            entry = json.loads(line)
            start = entry["time"] if start is None else start
            stages.append((str(entry["stage"]), entry["time"] - start))
            device = entry.get("device", device)
            if "T_CkCf" in entry:
                trace.append(iteration_record(entry))
        except (ValueError, KeyError, TypeError):
            break  # a line cut short by the end of the process, or written over by it
    return tuple(stages), tuple(trace), device


def _read_result(file: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The child's result, checked, or what is wrong with it. A child that was overrun may have written anything."""
    if not file.exists():
        return None, None
    try:
        if file.stat().st_size > _MAX_RESULT_BYTES:
            return None, f"its result has {file.stat().st_size} bytes"
        result = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(result, dict):
            return None, "its result is not an object"
        if "status" in result and result["status"] not in _STATUSES:
            return None, f"its result has the status {result['status']!r}, which there is not"
        if not isinstance(result.get("values", {}), dict):
            raise TypeError("values is not an object")
        _from_result(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return None, f"its result cannot be read: {type(error).__name__}: {error}"
    return result, None


def read_text(file: Path) -> str:
    """The head and tail of what a child printed; the middle of a long text is replaced by how much was left out."""
    if not file.exists():
        return ""
    size = file.stat().st_size
    with open(file, "rb") as handle:
        if size <= _HEAD + _TAIL:
            return handle.read().decode("utf-8", errors="replace")
        head = handle.read(_HEAD)
        handle.seek(size - _TAIL)
        tail = handle.read(_TAIL)
    cut = f"\n[... {size - _HEAD - _TAIL} bytes left out ...]\n"
    return head.decode("utf-8", errors="replace") + cut + tail.decode("utf-8", errors="replace")
