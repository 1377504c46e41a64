"""One run of one case, wherever an executor runs it: the files are written, the child run, its outcome judged, the files removed.

``examine`` is all that is submitted to an executor. What it needs travels with it, the case as bytes, so that a worker on another
machine needs nothing from this one but the same harness.
"""

from __future__ import annotations

import dataclasses
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness import registry
from harness.bench import Site, bench
from harness.case import CaseDocument
from harness.casefile import DOCUMENT, TENSORS, read_case, read_document
from harness.diagnosis import signatures
from harness.isolation import Limits, Task, run_isolated
from harness.loading import failed
from harness.memory.evidence import with_memory
from harness.minimize.failure import Answer
from harness.outcome import POOL, Kind, Outcome
from harness.process import INTERRUPTED, PRELOAD, PRELOAD_TORCH
from harness.registry import SolverSpec
from harness.remote import SentSolver
from harness.replay import ORACLE
from harness.verdict import judge


@dataclass(frozen=True)
class How:
    """How every case of one minimizing is run; ``sent`` is ``solver`` as it travels, ``site`` where children leave their files."""

    solver: SolverSpec
    sent: SentSolver
    tool: str
    memory: str
    limits: Limits
    site: Site


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
    place = bench(what.how.site)
    folder = place.folder / secrets.token_hex(8)
    case_folder = folder / "case"
    case_folder.mkdir(parents=True)
    try:
        (case_folder / DOCUMENT).write_bytes(what.document)
        (case_folder / TENSORS).write_bytes(what.tensors)
        with place.in_use():
            return run_case(case_folder, folder, what.how, judged=what.judged)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_case(case_folder: Path, folder: Path, how: How, *, judged: bool) -> Answer | None:
    """``examine`` for a case on disk; what the children leave goes into ``folder``."""
    document = read_document(case_folder)
    outcome = _run(how, Task(case_folder, document, how.sent.here(), how.tool, how.memory), folder / "solver")
    if outcome.kind is Kind.INCONCLUSIVE and outcome.reason == INTERRUPTED:
        return None
    if why := failed(outcome):
        return Answer(Kind.UNAVAILABLE.value, verdict=why)
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
    forked = task.tool == "none" and not how.limits.fresh_interpreter
    launcher = bench(how.site).launcher(PRELOAD + (PRELOAD_TORCH if task.solver.uses_torch else ()) if forked else ())
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
