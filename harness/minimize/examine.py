"""One run of one case, wherever an executor runs it: the files are written, the child run, its outcome judged, the files removed.

``examine`` is all that is submitted to an executor. What it needs travels with it, the case as bytes, so that a worker on another
machine needs nothing from this one but the solver.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import secrets
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from harness import registry
from harness.case import CaseDocument
from harness.casefile import DOCUMENT, TENSORS, read_case, read_document
from harness.diagnosis import signatures
from harness.isolation import Limits, Task, run_isolated
from harness.memory.evidence import with_memory
from harness.minimize.failure import Answer
from harness.outcome import POOL, Kind, Outcome
from harness.process import PRELOAD, PRELOAD_TORCH, Launcher, open_launcher
from harness.registry import SolverSpec
from harness.replay import ORACLE
from harness.verdict import judge

INTERRUPTED = "the run was interrupted"


@dataclass(frozen=True)
class How:
    """How every case of one minimizing is run. ``scratch`` is a folder for what children leave; made where it is not there."""

    solver: SolverSpec
    tool: str
    memory: str
    limits: Limits
    scratch: str
    threads: int


@dataclass(frozen=True)
class Examination:
    """A case, as the bytes of its files, and how to run it. ``judged``: the oracle is run, too, where the solver gave a result."""

    document: bytes
    tensors: bytes
    how: How
    judged: bool


@dataclass(frozen=True)
class _Run(Task):
    """A task of which many run at once, each of another case of the same id: its name is its own."""

    label: str = ""

    @property
    def name(self) -> str:
        return f"{super().name}__{self.label}"


def examine(what: Examination) -> Answer | None:
    """What a run showed. None where it was ended from here, and so says nothing. Never raises for anything the child does."""
    folder = Path(what.how.scratch) / secrets.token_hex(8)
    case_folder = folder / "case"
    case_folder.mkdir(parents=True)
    try:
        (case_folder / DOCUMENT).write_bytes(what.document)
        (case_folder / TENSORS).write_bytes(what.tensors)
        return run_case(case_folder, folder, what.how, judged=what.judged)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_case(case_folder: Path, folder: Path, how: How, *, judged: bool) -> Answer | None:
    """``examine`` for a case on disk; what the children leave goes into ``folder``."""
    document = read_document(case_folder)
    outcome = _run(how, Task(case_folder, document, how.solver, how.tool, how.memory), folder / "solver")
    if outcome.kind is Kind.INCONCLUSIVE and outcome.reason == INTERRUPTED:
        return None
    if not judged or outcome.kind not in (Kind.OK, Kind.SOLVER_STATUS):
        seen = _seen(outcome, document)
        expected = None if outcome.kind is Kind.UNAVAILABLE or not judged else outcome.kind.value in document.expect.outcomes
        return _answer(seen, expected, None)
    oracle = run_oracle(case_folder, folder, how)
    if oracle.kind is Kind.INCONCLUSIVE and oracle.reason == INTERRUPTED:
        return None
    verdict = judge(outcome, oracle, read_case(case_folder))
    same = outcome.kind is oracle.kind and (outcome.kind is Kind.OK or outcome.status == oracle.status)
    agrees = same and (outcome.kind is not Kind.OK or (verdict.parity is not None and verdict.parity["within"]))
    return _answer(verdict, verdict.expected, agrees)


def run_oracle(case_folder: Path, folder: Path, how: How) -> Outcome:
    """What the float64 oracle does with a case: no tool, memory as it was recorded."""
    task = Task(case_folder, read_document(case_folder), registry.resolve(ORACLE), memory=POOL)
    return _run(how, task, folder / "oracle")


def _run(how: How, task: Task, folder: Path) -> Outcome:
    launcher = _launchers.get(how, task.solver)
    task = _Run(**vars(task), label=secrets.token_hex(8))
    return with_memory(run_isolated(task, how.limits, folder, launcher), folder)


def _seen(outcome: Outcome, document: CaseDocument) -> Outcome:
    """With what a signature asks of the input: an empty one is a class of its own."""
    n = next((spec.shape[0] for spec in document.tensors.values() if spec.shape), 0)
    size = {"batch": n} if document.kind == "op" else {"n_points": document.n_points}
    return dataclasses.replace(outcome, input={"kind": document.kind, "op": document.op.name if document.op else None} | size)


def _answer(o: Outcome, expected: bool | None, agrees: bool | None) -> Answer:
    distance = ((o.parity or {}).get("oracle") or {}).get("d_sigma")
    named = signatures(o) if o.kind is not Kind.UNAVAILABLE else ()
    said = o.verdict or (o.reason or "" if o.kind in (Kind.UNAVAILABLE, Kind.INCONCLUSIVE) else "")
    return Answer(
        o.kind.value, named, o.status, None if distance is None else float(distance), expected, agrees, o.seconds, o.device, said
    )


class _Launchers:
    """What starts children in this process: one for each way of a search, made when first needed: torch is imported once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[str, tuple[str, ...], int], Launcher] = {}

    def get(self, how: How, solver: SolverSpec) -> Launcher:
        forked = how.tool == "none" and not how.limits.fresh_interpreter
        preload: tuple[str, ...] = PRELOAD if forked or solver.name == ORACLE else ()
        if forked and how.solver.uses_torch:
            preload += PRELOAD_TORCH
        for scratch in {scratch for scratch, _, _ in list(self._open)} - {how.scratch}:
            if not Path(scratch).is_dir():  # of a search that is over, elsewhere
                self.close(scratch)
        with self._lock:
            key = (how.scratch, preload, how.threads)
            if key not in self._open:
                self._open[key] = open_launcher(Path(how.scratch) / "supervisor.log", preload=preload, threads=how.threads)
            return self._open[key]

    def close(self, scratch: str | None = None) -> None:
        with self._lock:
            closed = [self._open.pop(key) for key in list(self._open) if scratch in (None, key[0])]
        for launcher in closed:
            with contextlib.suppress(OSError):
                launcher.close()


_launchers = _Launchers()
atexit.register(_launchers.close)


def end_children(scratch: str) -> None:
    """End what runs in this process for the search of this scratch folder. What is asked for again is started again."""
    _launchers.close(scratch)
