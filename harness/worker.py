"""The child: one case through one solver in a process of its own, leaving files behind whatever happens to it.

In its job folder it finds ``job.json`` and leaves ``journal.jsonl`` (a line per stage, written the moment it is reached),
``faulthandler`` (Python stacks at a fatal signal or shortly before the time limit) and ``result.json`` (atomic). In a memory mode
also ``memory.json`` and ``fault`` (``harness.memory``). A ``job.json`` that names other folders is a batch: their jobs, one after
the other, until one has no good end.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness import building, layout, solvers
from harness.case import Case, CaseDocument, as_float
from harness.casefile import read_case, read_document
from harness.errors import SolverUnavailable
from harness.jsonfile import dumps, write_json
from harness.memory import trials
from harness.memory.arena import Arena, Fill, HostArena, all_nan
from harness.memory.book import Book
from harness.outcome import BUILDING, EXACT, IMPORTED, POISON, POOL, RECORDED, SPAWNED
from harness.registry import SolverSpec
from harness.relayout import relayout
from harness.sanitizer import inside
from harness.worker_files import BATCH, FAULTHANDLER, JOB, JOURNAL, RESULT, START_VARIABLE
from sim3solve import build
from sim3solve.problem import PROBLEMS, Iteration, Problem, Solution, Status


class Journal:
    """Appends a line per stage. Unbuffered, so that the line of the last stage reached survives any death."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.built = False

    def stage(self, stage: str, **more: Any) -> None:
        self.built = self.built or stage == BUILDING
        line = dumps({"stage": stage, "time": time.time(), **more}, indent=None)
        os.write(self._descriptor, (line + "\n").encode())

    def iteration(self, k: int, it: Iteration) -> None:
        self.stage(f"iteration {k}", cost=it.cost, delta_norm=it.delta_norm, n_matches=it.n_matches, T_CkCf=list(it.T_CkCf))


def run_job(folder: Path) -> int:
    """Do the job in ``folder``. Returns the exit code: 0 when a result, good or bad, was written."""
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    if BATCH in job:
        return _run_jobs([Path(each) for each in job[BATCH]])
    _run(job, folder, alone=True, first=True)
    return 0


def _run_jobs(folders: list[Path]) -> int:
    """A job that raised is the last: what it left behind in this process, a dead GPU above all, is nobody else's. So is one whose
    solver could not be built."""
    for folder in folders:
        os.environ[START_VARIABLE] = str(time.time())
        job = json.loads((folder / JOB).read_text(encoding="utf-8"))
        if not _run(job, folder, alone=False, first=folder is folders[0]):
            break
    return 0


def _run(job: dict[str, Any], folder: Path, *, alone: bool, first: bool) -> bool:
    """One job with its journal and its result. In a batch the process itself sees to the time limit, by ending.

    Returns whether another may follow.
    """
    journal = Journal(folder / JOURNAL)
    journal.stage(SPAWNED, pid=os.getpid())
    with open(folder / FAULTHANDLER, "w", encoding="utf-8") as stacks:
        faulthandler.enable(stacks, all_threads=True)

        def limited(start: float, limit_s: float, *, end: bool) -> float:
            """Until when, from ``start``. A little before that a hang leaves its stack, from inside native code, too."""
            until = start + limit_s
            faulthandler.dump_traceback_later(max(0.05, until - time.time() - 0.25), file=stacks, exit=end)
            return until

        def begin() -> float:
            journal.stage(IMPORTED)
            return limited(time.time(), job["limit_s"], end=not alone)

        limited(float(os.environ.get(START_VARIABLE, time.time())), job["load_limit_s"], end=not first)
        _limit_memory(job["memory_limit_bytes"])
        try:
            result = _caught(lambda: _replay(job, folder, journal, begin))
        except SolverUnavailable as error:
            result = {"unavailable": str(error)}
        result["judged"] = result.get("judged", True)
        write_json(folder / RESULT, result)
        journal.stage("written")
        faulthandler.cancel_dump_traceback_later()
        faulthandler.disable()
    return "exception" not in result and not (journal.built and "unavailable" in result)


def _caught(do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return do()
    except SolverUnavailable:
        raise
    except BaseException as error:  # noqa: BLE001  the one place: whatever a solver raises is the outcome
        return {"exception": _describe(error)}


def _replay(job: dict[str, Any], folder: Path, journal: Journal, begin: Callable[[], float]) -> dict[str, Any]:
    """``begin`` begins the time limit and returns its end: when the solver is loaded, and whatever it compiles is compiled."""
    mode = job.get("memory", POOL)
    if mode == POISON:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA: torch's filling of what is new asks for it
    building.told(build, lambda: journal.stage(BUILDING))
    solver = inside.load(SolverSpec(**job["solver"]), job, folder)
    device = _device(job["device"], solver, read_document(Path(job["case"])))
    if solver.build is not None:
        solver.build(device)
    deadline = begin()
    case = read_case(job["case"])
    if case.document.tensors_sha256 != job["tensors_sha256"]:
        raise RuntimeError("the case changed while the run was going on")
    case = relayout(case, job.get("layout", RECORDED))
    journal.stage("loaded")
    if mode == POOL:
        tensors = _arrays(case, solver, device, inside.arena(job, case.document.tensors, device))
        journal.stage("context", device=device)
        return _solve(case, solver, tensors, device, journal, job.get("solves", 1))
    book = Book(folder, mode, case.document.tensors)
    attempts = iter(range(1 << 30))

    def attempt(arena: Arena) -> dict[str, Any]:
        tensors = _arrays(case, solver, device, arena)
        book.placed(arena)
        first = next(attempts) == 0
        journal.stage("context" if first else f"again: {arena.name}", device=device)
        return _caught(lambda: _solve(case, solver, tensors, device, journal if first else None))

    on_gpu = device.startswith("cuda")
    make = functools.partial(_device_arena, device, mode) if on_gpu else HostArena
    return trials.run(folder, book, attempt, make, on_gpu=on_gpu, until=deadline - job["limit_s"] / 2)


def _solve(
    case: Case, solver: solvers.Solver, tensors: dict[str, Any], device: str, journal: Journal | None, solves: int = 1
) -> dict[str, Any]:
    """One solve, journalled where a journal is given. Its result as ``result.json`` has it."""
    if journal is not None:
        journal.stage("solving")
    if case.document.kind == "op":
        result = _solve_op(case, solver, tensors)
    else:
        result = _solve_pose(case, solver, tensors, journal, solves)
    if journal is not None:
        journal.stage("solved")
    return result | {"device": device, "judged": solver.judged}


def _solve_pose(
    case: Case, solver: solvers.Solver, tensors: dict[str, Any], journal: Journal | None, solves: int
) -> dict[str, Any]:
    """``solves`` of the same problem: the result is the first one's, the time the shortest."""
    problem: Problem = PROBLEMS[case.document.kind](**tensors)

    def timed(observe: solvers.Observe) -> tuple[float, Solution, list[float], list[float]]:
        start = time.perf_counter()
        solution = _solution(solver.solve(problem, case.options, observe))
        poses = _row(solution.T_WCf, "T_WCf"), _row(solution.T_CkCf, "T_CkCf")  # waits for the device
        return time.perf_counter() - start, solution, *poses

    seconds, solution, T_WCf, T_CkCf = timed(journal.iteration if journal is not None else lambda k, iteration: None)
    for _ in range(1, solves):
        seconds = min(seconds, timed(lambda k, iteration: None)[0])
    return {
        "status": solution.status.value, "iterations": solution.iterations, "cost": solution.cost, "T_WCf": T_WCf, "T_CkCf": T_CkCf,
        "trace": [vars(it) for it in solution.trace], "solve_seconds": seconds,
        "values": solver.yardsticks(problem, case.options, solution) if solver.yardsticks else {},
    }  # fmt: skip


def _solve_op(case: Case, solver: solvers.Solver, tensors: dict[str, Any]) -> dict[str, Any]:
    assert case.document.op is not None
    if solver.op is None:
        raise SolverUnavailable("it has no Lie-group operations, and the case is one")
    start = time.perf_counter()
    value = _to_numpy(solver.op(case.document.op.name, tensors)).astype(np.float64)
    return {"op_value": value.tolist(), "solve_seconds": time.perf_counter() - start}


def _device(wanted: str, solver: solvers.Solver, document: CaseDocument) -> str:
    """The device to run on: ``auto`` is a GPU where the solver can use one and the machine has one."""
    if "cuda" not in solver.devices:
        return "cpu"  # the oracle for one, which is needed whatever --device says of the others
    if wanted == "cpu" and "cpu" not in solver.devices:
        raise SolverUnavailable("it runs on a GPU only, and --device asked for the CPU")
    count, by = _gpus(solver)
    needs_cuda = "cpu" not in solver.devices or "cuda" in document.requires or wanted.startswith("cuda")
    if needs_cuda and not count:
        raise SolverUnavailable(f"needs an NVIDIA GPU, and {by} none here")
    if wanted == "auto":
        recorded = next(iter(document.tensors.values())).device
        wanted = (recorded if recorded.startswith("cuda") else "cuda:0") if count else "cpu"
    return "cuda:0" if wanted == "cuda" else wanted


def _gpus(solver: solvers.Solver) -> tuple[int, str]:
    """How many there are for this solver, and who says so."""
    if solver.arrays == "cuda":
        from harness.memory.device import device_count

        return device_count(), "the driver shows"
    torch = solvers.import_torch()
    return torch.cuda.device_count() if torch.cuda.is_available() else 0, f"torch {torch.__version__} sees"


def _index(device: str) -> int:
    return int(device.partition(":")[2])


def _device_arena(device: str, mode: str, name: str, *, fill: Fill = all_nan) -> Arena:
    from harness.memory.device import DeviceArena

    return DeviceArena(name, _index(device), mode == EXACT, fill)


def _arrays(case: Case, solver: solvers.Solver, device: str, arena: Arena | None = None) -> dict[str, Any]:
    specs = case.document.tensors
    if solver.arrays == "cuda":
        from harness import cuda_layout

        if cuda_layout.can_hold(specs):
            return cuda_layout.arrays(case, _index(device), arena)  # type: ignore[arg-type]  # on a GPU it is of a GPU
    if solver.arrays != "numpy":
        torch = solvers.import_torch()
        from harness.torch_layout import tensors

        return tensors(case, torch.device(device), arena)  # type: ignore[arg-type]  # it is one of the two that there are
    arrays = layout.arrays(case, arena.allocate) if isinstance(arena, HostArena) else layout.arrays(case)
    return {name: as_float(a, specs[name].dtype) if specs[name].dtype == "bfloat16" else a for name, a in arrays.items()}


def _solution(returned: Any) -> Solution:
    """A ``Solution`` from whatever the solver returned. Raises TypeError when it is neither that nor a pair of poses."""
    if isinstance(returned, Solution):
        return returned
    if isinstance(returned, tuple) and len(returned) == 2:
        finite = all(np.isfinite(_to_numpy(pose)).all() for pose in returned)  # it said nothing: NaN breaks no promise
        return Solution(Status.CONVERGED if finite else Status.NON_FINITE, *returned, iterations=0, cost=float("nan"))
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
