"""The child: one case through one solver in a process of its own, leaving files behind whatever happens to it.

In its job folder it finds ``job.json`` and leaves ``journal.jsonl`` (a line per stage, written the moment it is reached),
``faulthandler`` (Python stacks at a fatal signal or shortly before the time limit) and ``result.json`` (atomic).
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from harness import layout, solvers
from harness.case import Case, as_float
from harness.casefile import read_case
from harness.errors import SolverUnavailable
from harness.jsonfile import dumps, write_json
from harness.registry import SolverSpec
from harness.worker_files import FAULTHANDLER, JOB, JOURNAL, RESULT, START_VARIABLE
from sim3solve.problem import PROBLEMS, Iteration, Problem, Solution, Status


class Journal:
    """Appends a line per stage. Unbuffered, so that the line of the last stage reached survives any death."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def stage(self, stage: str, **more: Any) -> None:
        line = dumps({"stage": stage, "time": time.time(), **more}, indent=None)
        os.write(self._descriptor, (line + "\n").encode())

    def iteration(self, k: int, it: Iteration) -> None:
        self.stage(f"iteration {k}", cost=it.cost, delta_norm=it.delta_norm, n_matches=it.n_matches, T_CkCf=list(it.T_CkCf))


def run_job(folder: Path) -> int:
    """Do the job in ``folder``. Returns the exit code: 0 when a result, good or bad, was written."""
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    journal = Journal(folder / JOURNAL)
    journal.stage("spawned", pid=os.getpid())
    with open(folder / FAULTHANDLER, "w", encoding="utf-8") as stacks:
        faulthandler.enable(stacks, all_threads=True)
        # A little before the harness ends this process, so that a hang leaves its stack; works inside native code too.
        deadline = float(os.environ.get(START_VARIABLE, time.time())) + job["limit_s"]
        faulthandler.dump_traceback_later(max(0.05, deadline - time.time() - 0.25), file=stacks)
        _limit_memory(job["memory_limit_bytes"])
        try:
            result = _solve(job, journal)
        except SolverUnavailable as error:
            result = {"unavailable": str(error)}
        except BaseException as error:  # noqa: BLE001  the one place: whatever a solver raises is the outcome
            result = {"exception": _describe(error)}
        result["judged"] = result.get("judged", True)
        write_json(folder / RESULT, result)
        journal.stage("written")
        faulthandler.cancel_dump_traceback_later()
        faulthandler.disable()
    return 0


def _solve(job: dict[str, Any], journal: Journal) -> dict[str, Any]:
    solver = solvers.load(SolverSpec(**job["solver"]))
    journal.stage("imported")
    case = read_case(job["case"])
    if case.document.tensors_sha256 != job["tensors_sha256"]:
        raise RuntimeError("the case changed while the run was going on")
    journal.stage("loaded")
    device = _device(job["device"], solver, case)
    tensors = _arrays(case, solver, device)
    journal.stage("context", device=device)
    if case.document.kind == "op":
        return _do_op(case, solver, tensors, journal) | {"device": device, "judged": solver.judged}
    problem: Problem = PROBLEMS[case.document.kind](**tensors)
    journal.stage("solving")
    start = time.perf_counter()
    returned = solver.solve(problem, case.options, journal.iteration)
    solution = _solution(returned)
    T_WCf, T_CkCf = _row(solution.T_WCf, "T_WCf"), _row(solution.T_CkCf, "T_CkCf")  # waits for the device
    seconds = time.perf_counter() - start
    journal.stage("solved")
    return {
        "status": solution.status.value, "iterations": solution.iterations, "cost": solution.cost, "T_WCf": T_WCf, "T_CkCf": T_CkCf,
        "trace": [vars(it) for it in solution.trace], "solve_seconds": seconds, "device": device, "judged": solver.judged,
        "values": solver.yardsticks(problem, case.options, solution) if solver.yardsticks else {},
    }  # fmt: skip


def _do_op(case: Case, solver: solvers.Solver, tensors: dict[str, Any], journal: Journal) -> dict[str, Any]:
    assert case.document.op is not None
    if solver.op is None:
        raise SolverUnavailable("it has no Lie-group operations, and the case is one")
    journal.stage("solving")
    start = time.perf_counter()
    value = _to_numpy(solver.op(case.document.op.name, tensors)).astype(np.float64)
    seconds = time.perf_counter() - start
    journal.stage("solved")
    return {"op_value": value.tolist(), "solve_seconds": seconds}


def _device(wanted: str, solver: solvers.Solver, case: Case) -> str:
    """The device to run on: ``auto`` is a GPU where the solver can use one and the machine has one."""
    if "cuda" not in solver.devices:
        return "cpu"  # the oracle for one, which is needed whatever --device says of the others
    import torch

    has_cuda = torch.cuda.is_available()
    if wanted == "cpu" and "cpu" not in solver.devices:
        raise SolverUnavailable("it runs on a GPU only, and --device asked for the CPU")
    needs_cuda = "cpu" not in solver.devices or "cuda" in case.document.requires or wanted.startswith("cuda")
    if needs_cuda and not has_cuda:
        raise SolverUnavailable(f"needs an NVIDIA GPU, and torch {torch.__version__} sees none here")
    if wanted != "auto":
        return wanted
    recorded = next(iter(case.document.tensors.values())).device
    return (recorded if recorded.startswith("cuda") else "cuda:0") if has_cuda else "cpu"


def _arrays(case: Case, solver: solvers.Solver, device: str) -> dict[str, Any]:
    if solver.arrays == "torch":
        import torch

        from harness.torch_layout import tensors

        return tensors(case, torch.device(device))
    specs = case.document.tensors
    arrays = layout.arrays(case)
    return {name: as_float(a, specs[name].dtype) if specs[name].dtype == "bfloat16" else a for name, a in arrays.items()}


def _solution(returned: Any) -> Solution:
    """A ``Solution`` from whatever the solver returned. Raises TypeError when it is neither that nor a pair of poses."""
    if isinstance(returned, Solution):
        return returned
    if isinstance(returned, tuple) and len(returned) == 2:
        return Solution(Status.CONVERGED, *returned, iterations=0, cost=float("nan"))
    raise TypeError(f"the solver returned a {type(returned).__name__}; it must return a Solution or (T_WCf, T_CkCf)")


def _row(pose: Any, name: str) -> list[float]:
    values = _to_numpy(pose).astype(np.float64).ravel()
    if values.size != 8:
        raise TypeError(f"the solver returned a {name} of {values.size} numbers; it must be one pose of 8")
    return [float(x) for x in values]


def _to_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "data") and hasattr(value, "matrix"):  # a lietorch group element wraps its tensor
        value = value.data
    if hasattr(value, "detach"):
        return np.asarray(value.detach().cpu().double())
    return np.asarray(value)


def _describe(error: BaseException) -> dict[str, str]:
    # The innermost frames last and the harness's own left out: what a user needs to see is the solver's.
    return {"type": type(error).__name__, "message": str(error), "traceback": "".join(traceback.format_exception(error))}


def _limit_memory(limit_bytes: int | None) -> None:
    """Bound private memory; an allocation over it fails in the child, which can then say so. Windows: the job object does it."""
    if limit_bytes is None or sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    sys.exit(run_job(Path(sys.argv[1])))
