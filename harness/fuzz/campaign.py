"""A campaign: chunks of mutants, each chunk two processes (solver, oracle), and what is found confirmed, kept once and as a case.

The folder of a campaign holds ``campaign.json`` (what is asked for), ``chunks.jsonl`` (a line per finished chunk) and ``finds/``: a
folder per signature with the case and ``find.json``. A campaign that was cut off goes on: finished chunks are not done again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import jsonfile, registry
from harness.batch import run_batch
from harness.case import Case
from harness.casefile import DOCUMENT, TENSORS, find_cases, pack_tensors, read_case, write_case
from harness.errors import HarnessError, UsageError
from harness.fuzz.mutate import can_mutate, mutant
from harness.fuzz.oracle import BITWISE, JUDGED, complaint
from harness.isolation import Limits, Task, default_memory, run_isolated
from harness.memory.evidence import with_memory
from harness.minimize import MinimizeLimits, Target, minimize_case
from harness.outcome import POOL, Kind, Outcome
from harness.process import PRELOAD, PRELOAD_TORCH, Launcher, cores, open_launcher
from harness.relayout import CONTIGUOUS
from harness.runfolder import alive, is_alive

ORACLE = "reference"
CHUNK = 64
VOTES = 3
"""Times a find is run alone; those that show it again are its rate."""


@dataclass(frozen=True)
class Campaign:
    """What to do. ``executions`` counts runs of the solver, twins included; ``seconds`` bounds this call, not the campaign.

    A twin is the mutant once more, in C order.
    """

    bases: tuple[Path, ...]
    solver: str
    out: Path
    tool: str = "none"
    memory: str = ""
    executions: int = 2000
    seconds: float = float("inf")
    seed: int = 0
    jobs: int = 0
    same_bits: bool | None = None  # whether another layout must give the same bits; None: where the solver is one of BITWISE
    limits: Limits = dataclasses.field(default_factory=lambda: Limits(timeout_s=20.0))


@dataclass(frozen=True)
class Find:
    """One fault, once. ``rate`` of the confirming runs showed it again; ``count`` mutants had its signature."""

    signature: str
    what: str
    case: str
    rate: float
    count: int
    repeat: str
    minimized: str = ""


@dataclass(frozen=True)
class State:
    """How far a campaign is."""

    executions: int
    seconds: float
    finds: tuple[Find, ...]
    wanted: int


Progress = Callable[[State], None]


def fuzz(campaign: Campaign, progress: Progress | None = None, executor: Executor | None = None) -> State:
    """Go on with a campaign until its executions are done or the time is up. Raises ``HarnessError``s."""
    bases = tuple(case for case in map(read_case, find_cases(list(campaign.bases))) if can_mutate(case))
    if not bases:
        raise UsageError("none of the cases can be mutated: single operations and generated values are left out")
    spec = registry.resolve(campaign.solver)
    _open(campaign, bases, spec)
    twins = campaign.solver in BITWISE if campaign.same_bits is None else campaign.same_bits
    per_chunk = CHUNK * (1 + twins)
    done = {chunk["chunk"] for chunk in _chunks(campaign.out)}
    todo = [i for i in range(-(-campaign.executions // per_chunk)) if i not in done]
    worker = _Worker(campaign, bases, spec, twins)
    until = time.monotonic() + campaign.seconds
    width = campaign.jobs or cores()
    pool = executor or ThreadPoolExecutor(width, thread_name_prefix="fuzz")
    pending: set[Future[None]] = set()
    with alive(campaign.out), closing(worker):
        try:
            while pending or (todo and time.monotonic() < until):
                while todo and len(pending) < width and time.monotonic() < until:
                    pending.add(pool.submit(worker.chunk, todo.pop(0)))
                finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                if progress is not None and finished:
                    progress(read_state(campaign.out))
        except OSError as error:  # what a child does is an outcome; this is our own disk
            raise HarnessError(f"{error.filename or campaign.out}: {error.strerror or error}; finished chunks are kept") from error
        finally:
            worker.stop()
            if executor is None:
                pool.shutdown(wait=True, cancel_futures=True)
    return read_state(campaign.out)


def read_state(folder: Path) -> State:
    """A campaign from its files. Raises ``UsageError`` where there is none."""
    try:
        asked = json.loads((folder / "campaign.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / 'campaign.json'}: no campaign: {error}") from None
    chunks = list(_chunks(folder))
    counts: dict[str, int] = {}
    for chunk in chunks:
        for each in chunk["signatures"]:
            counts[each] = counts.get(each, 0) + 1
    finds = []
    for file in sorted((folder / "finds").glob("*/find.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        finds.append(Find(**document | {"count": counts.get(document["signature"], 1)}))
    return State(sum(c["executions"] for c in chunks), sum(c["seconds"] for c in chunks), tuple(finds), asked["executions"])


def _open(campaign: Campaign, bases: Sequence[Case], spec: registry.SolverSpec) -> None:
    """The folder, or the one that is there when it is of the same campaign: only the number of executions may be another."""
    what = {
        "bases": sorted(base.document.tensors_sha256 for base in bases), "solver": spec.name, "source": spec.fingerprint(),
        "tool": campaign.tool, "memory": campaign.memory, "seed": campaign.seed, "chunk": CHUNK, "same_bits": campaign.same_bits,
    }  # fmt: skip
    file = campaign.out / "campaign.json"
    if file.exists():
        there = {k: v for k, v in json.loads(file.read_text(encoding="utf-8")).items() if k != "executions"}
        different = sorted(k for k in what if there.get(k) != what[k])
        if different:
            raise UsageError(f"{file}: another campaign is there ({', '.join(different)} differ); give another --out")
        if is_alive(campaign.out):
            raise UsageError(f"{campaign.out}: a process is at work on this campaign")
    try:
        (campaign.out / "finds").mkdir(parents=True, exist_ok=True)
        jsonfile.write_json(file, what | {"executions": campaign.executions})
    except OSError as error:
        raise HarnessError(f"{campaign.out}: cannot write a campaign there: {error.strerror}") from error


def _chunks(folder: Path) -> Iterator[dict[str, Any]]:
    file = folder / "chunks.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with suppress(ValueError):  # cut short by the end of the process: that chunk is done again
            yield json.loads(line)


class _Worker:
    """Does chunks, from many threads."""

    def __init__(self, campaign: Campaign, bases: tuple[Case, ...], spec: registry.SolverSpec, twins: bool) -> None:
        self._c, self._bases, self._spec, self._twins = campaign, bases, spec, twins
        self._oracle = registry.resolve(ORACLE)
        self._lock = threading.Lock()
        self._known = {find.signature for find in read_state(campaign.out).finds}
        self._stopped = False
        shared = Path("/dev/shm")  # scratch need not outlive anything, and a mutant lives for a second
        self._scratch = Path(tempfile.mkdtemp(prefix="harness-fuzz-", dir=shared if os.access(shared, os.W_OK) else None))
        preload = PRELOAD + (PRELOAD_TORCH if spec.uses_torch else ())
        self._launcher: Launcher = open_launcher(self._scratch / "supervisor.log", preload=preload, threads=1)

    def stop(self) -> None:
        """What still runs ends at once and counts for nothing."""
        self._stopped = True
        self._launcher.close()

    def close(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def chunk(self, number: int) -> None:
        start = time.monotonic()
        folder = self._scratch / f"chunk-{number}"
        try:
            signatures = list(self._complaints(number, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if self._stopped:
            return
        line = {
            "chunk": number, "executions": CHUNK * (1 + self._twins), "seconds": time.monotonic() - start, "signatures": signatures,
        }  # fmt: skip
        with self._lock, open(self._c.out / "chunks.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _complaints(self, number: int, folder: Path) -> Iterator[str]:
        cases = [
            _scratch_case(mutant(self._bases[i % len(self._bases)], self._c.seed, i), folder / "cases")
            for i in range(number * CHUNK, (number + 1) * CHUNK)
        ]
        mine = [self._task(case) for case in cases]
        twins = [dataclasses.replace(task, layout=CONTIGUOUS) for task in mine] if self._twins else []
        seen = self._run([*mine, *twins], folder / "jobs")
        if self._stopped:
            return
        oracles = self._run(
            [dataclasses.replace(task, solver=self._oracle, tool="none", memory=POOL) for task in mine], folder / "oracle"
        )
        for i, case in enumerate(cases):
            twin = seen[twins[i].name] if twins else None
            told = complaint(case, seen[mine[i].name], twin, oracles[case.id])
            if told is not None and not self._stopped:
                yield told[0]
                self._keep(case, oracles[case.id], *told)

    def _run(self, tasks: list[Task], folder: Path) -> dict[str, Outcome]:
        """Outcomes by the task's name; the oracle's by the case's."""
        found: dict[str, Outcome] = {}
        for task, outcome in run_batch(tasks, self._c.limits, folder, self._launcher):
            if outcome.kind is Kind.UNAVAILABLE:
                raise UsageError(f"{task.solver.name} cannot be fuzzed here: {outcome.reason}")
            outcome = with_memory(outcome, folder / task.name)
            found[task.case_folder.name if task.solver is self._oracle else task.name] = outcome
        return found

    def _task(self, case: Case) -> Task:
        assert case.path is not None
        return Task(case.path, case.document, self._spec, self._c.tool, self._c.memory or default_memory(self._c.tool))

    def _keep(self, case: Case, oracle: Outcome, signature: str, what: str) -> None:
        """The first of a signature, run again alone, and kept as a case."""
        with self._lock:
            if signature in self._known:
                return
            self._known.add(signature)
        slug = re.sub(r"[^a-z0-9]+", "-", signature.lower()).strip("-")[:60]
        place = self._c.out / "finds" / f"{slug}-{hashlib.sha256(signature.encode()).hexdigest()[:6]}"
        kept = write_case(case, place / case.id, replace=True)
        again = [self._again(kept, oracle, f"{slug}-{vote}") for vote in range(VOTES)]
        rate = sum(each == signature for each in again) / VOTES
        repeat = self._task(kept).repeat(self._c.limits)
        minimized = self._shrunk(place) if rate == 1.0 and not signature.startswith(JUDGED) else ""
        find = Find(signature, what, str(kept.path), rate, 1, repeat, minimized)
        jsonfile.write_json(place / "find.json", dataclasses.asdict(find))

    def _shrunk(self, place: Path) -> str:
        """The smallest case that fails alike, beside the one found; empty where none was found in the time."""
        target = Target(self._c.solver, self._c.tool, self._c.memory or None)
        limits = MinimizeLimits(budget_s=60.0, max_runs=300, child=self._c.limits)
        with suppress(HarnessError):  # the find stands without it
            case = minimize_case(next(find_cases([place])), target, limits, place / "minimized", jobs=1).case
            return str(case) if case is not None else ""
        return ""

    def _again(self, case: Case, oracle: Outcome, name: str) -> str | None:
        outcomes = []
        for layout in ("recorded", CONTIGUOUS) if self._twins else ("recorded",):
            task = dataclasses.replace(self._task(case), layout=layout)
            folder = self._scratch / name / layout
            outcomes.append(with_memory(run_isolated(task, self._c.limits, folder, self._launcher), folder))
        told = complaint(case, outcomes[0], outcomes[1] if self._twins else None, oracle)
        return told[0] if told is not None else None


def _scratch_case(case: Case, parent: Path) -> Case:
    """Written without the care that ``write_case`` takes: it is read in a second and then gone."""
    folder = parent / case.id
    folder.mkdir(parents=True)
    data = pack_tensors(case.values, case.document)
    (folder / TENSORS).write_bytes(data)
    document = case.document.model_copy(update={"tensors_sha256": hashlib.sha256(data).hexdigest()})
    (folder / DOCUMENT).write_text(jsonfile.dumps(document.model_dump(mode="json", by_alias=True)), encoding="utf-8")
    return Case(document, case.values, folder)
