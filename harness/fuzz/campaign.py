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
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import jsonfile, registry
from harness.bench import site
from harness.cargo import offer_case
from harness.case import Case
from harness.casefile import find_cases, read_case, write_case
from harness.errors import HarnessError, UsageError
from harness.executors import end, open_executor, width
from harness.fuzz.chunk import CHUNK, Chunk, Complaint, Plan, again, run_chunk
from harness.fuzz.mutate import can_mutate
from harness.fuzz.oracle import BITWISE, JUDGED
from harness.isolation import Limits, Task, default_memory
from harness.minimize import MinimizeLimits, Target, minimize_case
from harness.remote import send_solver
from harness.runfolder import alive, is_alive

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
    until = time.monotonic() + campaign.seconds
    shared = Path("/dev/shm")  # scratch need not outlive anything, and a mutant lives for a second
    scratch = Path(tempfile.mkdtemp(prefix="harness-fuzz-", dir=shared if os.access(shared, os.W_OK) else None))
    plan = Plan(
        tuple(offer_case(base.path) for base in bases if base.path), send_solver(spec), campaign.tool,
        campaign.memory or default_memory(campaign.tool), campaign.seed, twins, campaign.limits, site(scratch),
    )  # fmt: skip
    try:
        with alive(campaign.out), open_executor(None, campaign.jobs) if executor is None else nullcontext(executor) as pool:
            try:
                _run(campaign, plan, pool, todo, until, progress)
            finally:
                end(pool, plan.site.work)  # what still runs counts for nothing
    except OSError as error:  # what a child does is an outcome; this is our own disk
        raise HarnessError(f"{error.filename or campaign.out}: {error.strerror or error}; finished chunks are kept") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return read_state(campaign.out)


def _run(campaign: Campaign, plan: Plan, pool: Executor, todo: list[int], until: float, progress: Progress | None) -> None:
    known = {find.signature for find in read_state(campaign.out).finds}
    at_once = width(pool, campaign.jobs)
    pending: set[Future[Chunk | None]] = set()
    try:
        while pending or (todo and time.monotonic() < until):
            while todo and len(pending) < at_once and time.monotonic() < until:
                pending.add(pool.submit(run_chunk, plan, todo.pop(0)))
            finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                chunk = future.result()
                if chunk is None:
                    raise HarnessError(f"{campaign.out}: a chunk was ended from outside; the same command goes on")
                for told in chunk.complaints:
                    if told.signature not in known:
                        known.add(told.signature)
                        _keep(campaign, plan, pool, told)
                line = {
                    "chunk": chunk.number, "executions": CHUNK * (1 + plan.twins), "seconds": chunk.seconds,
                    "signatures": chunk.signatures,
                }  # fmt: skip
                with open(campaign.out / "chunks.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            if progress is not None and finished:
                progress(read_state(campaign.out))
    finally:
        for future in pending:
            future.cancel()


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
        "kernels": campaign.limits.kernels,
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


def _keep(campaign: Campaign, plan: Plan, pool: Executor, told: Complaint) -> None:
    """The first of a signature, run again alone, and kept as a case."""
    slug = re.sub(r"[^a-z0-9]+", "-", told.signature.lower()).strip("-")[:60]
    place = campaign.out / "finds" / f"{slug}-{hashlib.sha256(told.signature.encode()).hexdigest()[:6]}"
    kept = write_case(told.case, place / told.case.id, replace=True)
    votes = [pool.submit(again, plan, told.case, told.oracle) for _ in range(VOTES)]
    rate = sum(vote.result() == told.signature for vote in votes) / VOTES
    repeat = Task(kept.path or place, kept.document, plan.solver.spec, plan.tool, plan.memory).repeat(plan.limits)
    shrinks = rate == 1.0 and not told.signature.startswith(JUDGED)
    minimized = _shrunk(campaign, pool, place) if shrinks else ""
    find = Find(told.signature, told.what, str(kept.path), rate, 1, repeat, minimized)
    jsonfile.write_json(place / "find.json", dataclasses.asdict(find))


def _shrunk(campaign: Campaign, pool: Executor, place: Path) -> str:
    """The smallest case that fails alike, beside the one found; empty where none was found in the time."""
    target = Target(campaign.solver, campaign.tool, campaign.memory or None)
    limits = MinimizeLimits(budget_s=60.0, max_runs=300, child=campaign.limits)
    with suppress(HarnessError):  # the find stands without it
        found = minimize_case(next(find_cases([place])), target, limits, place / "minimized", executor=pool, jobs=campaign.jobs)
        return str(found.case) if found.case is not None else ""
    return ""
