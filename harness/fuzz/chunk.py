"""One chunk of a campaign, in whatever process runs it: mutants made, solved, judged; what is wrong is given back with its case."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import jsonfile, registry
from harness.batch import run_batch
from harness.bench import Site, bench
from harness.cargo import Bundle, fetch
from harness.case import Case
from harness.casefile import DOCUMENT, TENSORS, pack_tensors, read_case
from harness.errors import UsageError
from harness.fuzz.mutate import mutant
from harness.fuzz.oracle import complaint, expectation
from harness.isolation import Limits, Task
from harness.loading import failed
from harness.memory.evidence import with_memory
from harness.outcome import POOL, RECORDED, Kind, Outcome
from harness.process import INTERRUPTED, PRELOAD, PRELOAD_TORCH, Launcher
from harness.registry import SolverSpec
from harness.relayout import CONTIGUOUS
from harness.remote import SentSolver, asking

ORACLE = "reference"
CHUNK = 64


@dataclass(frozen=True)
class Plan:
    """What every chunk of a campaign needs. With ``twins`` each mutant is solved once more in C order."""

    bases: tuple[Bundle, ...]
    solver: SentSolver
    tool: str
    memory: str
    seed: int
    twins: bool
    limits: Limits
    site: Site

    def task(self, case: Case, solver: SolverSpec) -> Task:
        assert case.path is not None
        return Task(case.path, case.document, solver, self.tool, self.memory)


@dataclass(frozen=True)
class Complaint:
    """What is wrong with what a solver did with a case."""

    signature: str
    what: str
    case: Case
    oracle: Outcome


@dataclass(frozen=True)
class Part:
    """Mutants of a chunk that are run together: all of them, where no worker was lost with them."""

    number: int
    mutants: range

    @classmethod
    def whole(cls, number: int) -> Part:
        return cls(number, range(number * CHUNK, (number + 1) * CHUNK))

    def halved(self) -> tuple[Part, Part]:
        middle = len(self.mutants) // 2
        return Part(self.number, self.mutants[:middle]), Part(self.number, self.mutants[middle:])


@dataclass(frozen=True)
class Chunk:
    """What so many mutants came to. ``signatures`` of all that showed one; ``complaints``: the first of each signature."""

    number: int
    mutants: int
    seconds: float
    signatures: tuple[str, ...]
    complaints: tuple[Complaint, ...]

    def __add__(self, more: Chunk) -> Chunk:
        return Chunk(
            self.number, self.mutants + more.mutants, self.seconds + more.seconds, self.signatures + more.signatures,
            self.complaints + more.complaints,
        )  # fmt: skip


class _Ended(Exception):
    """The children were ended: nothing they left says anything."""


def run_part(plan: Plan, part: Part) -> Chunk | None:
    """None where its children were ended from outside. Raises ``UsageError`` where the solver cannot run here."""
    start = time.monotonic()
    place = bench(plan.site)
    folder = place.folder / f"chunk-{part.number}-{secrets.token_hex(4)}"
    try:
        with place.in_use():
            told = _complaints(plan, part.mutants, folder)
    except _Ended:
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    first = {complaint.signature: complaint for complaint in reversed(told)}
    signatures = tuple(complaint.signature for complaint in told)
    return Chunk(part.number, len(part.mutants), time.monotonic() - start, signatures, tuple(reversed(first.values())))


def again(plan: Plan, case: Case, oracle: Outcome | None = None) -> tuple[str, str] | None:
    """What is wrong with what the solver does with a case that runs alone, as a signature and a sentence."""
    place = bench(plan.site)
    folder = place.folder / f"again-{secrets.token_hex(8)}"
    try:
        with place.in_use():
            written = _scratch_case(case, folder / "cases")
            task = plan.task(written, plan.solver.here())
            if oracle is None:
                judge = _judge(task)
                oracle = _run(plan, [judge], folder / "oracle")[judge.name]
            seen = [
                _run(plan, [dataclasses.replace(task, layout=layout)], folder / layout)
                for layout in ((RECORDED, CONTIGUOUS) if plan.twins else (RECORDED,))
            ]
    except _Ended:
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    outcomes = [outcome for run in seen for outcome in run.values()]
    return complaint(case, outcomes[0], outcomes[1] if plan.twins else None, oracle)


def _complaints(plan: Plan, mutants: range, folder: Path) -> list[Complaint]:
    bases = _bases(plan.bases)
    cases = [_scratch_case(mutant(bases[i % len(bases)], plan.seed, i), folder / "cases") for i in mutants]
    solver = plan.solver.here()
    mine = [plan.task(case, solver) for case in cases]
    twins = [dataclasses.replace(task, layout=CONTIGUOUS) for task in mine] if plan.twins else []
    seen = _run(plan, [*mine, *twins], folder / "jobs")
    judges = [_judge(task) for task in mine]
    oracles = _run(plan, judges, folder / "oracle")
    found = []
    for i, case in enumerate(cases):
        told = complaint(case, seen[mine[i].name], seen[twins[i].name] if twins else None, oracles[judges[i].name])
        if told is not None:
            oracle_said = oracles[judges[i].name]
            document = case.document.model_copy(update={"expect": expectation(told[0], oracle_said)})
            found.append(Complaint(*told, Case(document, case.values), oracle_said))
    return found


def _judge(task: Task) -> Task:
    """The oracle's run of the same case."""
    return dataclasses.replace(task, solver=registry.resolve(ORACLE), tool="none", memory=POOL)


def _run(plan: Plan, tasks: Sequence[Task], folder: Path) -> dict[str, Outcome]:
    """Outcomes by the task's name."""
    found: dict[str, Outcome] = {}
    for task, outcome in run_batch(tasks, plan.limits, folder, _launcher(plan)):
        if outcome.kind is Kind.UNAVAILABLE:
            raise UsageError(f"{task.solver.name} cannot be fuzzed here: {outcome.reason}")
        if outcome.kind is Kind.INCONCLUSIVE and outcome.reason == INTERRUPTED:
            raise _Ended
        if why := failed(outcome):
            raise UsageError(why)
        found[task.name] = with_memory(outcome, folder / task.name)
    return found


def _launcher(plan: Plan) -> Launcher:
    return bench(plan.site).launcher(PRELOAD + (PRELOAD_TORCH if plan.solver.spec.uses_torch else ()))


@functools.lru_cache(maxsize=1)
def _bases(bundles: tuple[Bundle, ...]) -> tuple[Case, ...]:
    return tuple(read_case(fetch(bundle, asking())) for bundle in bundles)


def _scratch_case(case: Case, parent: Path) -> Case:
    """Written without the care that ``write_case`` takes: it is read in a second and then gone."""
    folder = parent / case.id
    folder.mkdir(parents=True)
    data = pack_tensors(case.values, case.document)
    (folder / TENSORS).write_bytes(data)
    document = case.document.model_copy(update={"tensors_sha256": hashlib.sha256(data).hexdigest()})
    (folder / DOCUMENT).write_text(jsonfile.dumps(document.model_dump(mode="json", by_alias=True)), encoding="utf-8")
    return Case(document, case.values, folder)
