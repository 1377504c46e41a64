"""A campaign: chunks of mutants, each chunk two processes (solver, oracle), and what is found confirmed, kept once and as a case.

A campaign that was cut off goes on: chunks that its folder says are finished are not done again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from harness import registry
from harness.bench import site
from harness.cargo import offer_case
from harness.case import Case
from harness.casefile import find_cases, read_case, write_case
from harness.commandline import command_line
from harness.dask_executor import WorkersLost
from harness.errors import HarnessError, UsageError
from harness.executors import end, lent_or_open, width
from harness.fuzz.chunk import CHUNK, Chunk, Complaint, Part, Plan, again, run_part
from harness.fuzz.folder import FINDS, Find, State, add_chunk, add_find, chunks, open_folder, read_state
from harness.fuzz.mutate import can_mutate
from harness.fuzz.oracle import BITWISE, LAYOUT
from harness.isolation import Limits, Task, default_memory
from harness.minimize import MinimizeLimits, Target, minimize_case
from harness.remote import CODE, send_solver
from harness.replay import Interrupted
from harness.runfolder import alive

T = TypeVar("T")
MINIMIZE_S = 60.0
"""Seconds that a find's minimizing may take."""
VOTES = 3
"""Times a find is run alone; those that show it again are its rate."""


@dataclass(frozen=True)
class Campaign:
    """What to do. ``executions`` counts runs of the solver, twins included; ``seconds`` bounds this call, not the campaign.

    A twin is the mutant once more, in C order.
    """

    TIMEOUT_S: ClassVar[float] = 20.0

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
    limits: Limits = dataclasses.field(default_factory=lambda: Limits(timeout_s=Campaign.TIMEOUT_S))


Progress = Callable[[State], None]


def fuzz(campaign: Campaign, progress: Progress | None = None, executor: Executor | None = None) -> State:
    """Go on with a campaign until its executions or its time are done. Raises ``HarnessError``s; ``Interrupted`` on Ctrl-C."""
    bases = tuple(case for case in map(read_case, find_cases(list(campaign.bases))) if can_mutate(case))
    if not bases:
        raise UsageError("none of the cases can be mutated: single operations and generated values are left out")
    spec = registry.resolve(campaign.solver)
    open_folder(campaign.out, _identity(campaign, bases, spec), campaign.executions)
    known = {find.signature for find in read_state(campaign.out).finds}
    _clear(campaign.out)
    with _at_work(campaign, bases, spec, executor) as work, alive(campaign.out):
        per_chunk = CHUNK * (1 + work.plan.twins)
        done = {chunk["chunk"] for chunk in chunks(campaign.out)}
        todo = [i for i in range(-(-campaign.executions // per_chunk)) if i not in done]
        work.run(todo, time.monotonic() + campaign.seconds, known, progress)
    return read_state(campaign.out)


def as_they_are(campaign: Campaign, executor: Executor | None = None) -> list[tuple[Case, tuple[str, str] | None]]:
    """Each case as it is and not mutated, and what is wrong with what the solver does with it: a signature and a sentence."""
    cases = tuple(case for case in map(read_case, find_cases(list(campaign.bases))) if can_mutate(case))
    if not cases:
        raise UsageError("none of the cases can be fuzzed: single operations and generated values are left out")
    with _at_work(campaign, cases, registry.resolve(campaign.solver), executor) as work:
        asked = [work.submit(again, work.plan, case) for case in cases]
        return [(case, future.result()) for case, future in zip(cases, asked, strict=True)]


def _identity(campaign: Campaign, bases: Sequence[Case], spec: registry.SolverSpec) -> dict[str, Any]:
    """What must be the same for chunks of another time to be of this campaign."""
    return {
        "bases": sorted(base.document.tensors_sha256 for base in bases), "solver": spec.name, "source": spec.fingerprint(),
        "tool": campaign.tool, "memory": campaign.memory, "seed": campaign.seed, "chunk": CHUNK, "same_bits": campaign.same_bits,
        "limits": dataclasses.asdict(campaign.limits), "code": CODE,
    }  # fmt: skip


@contextmanager
def _at_work(campaign: Campaign, bases: Sequence[Case], spec: registry.SolverSpec, executor: Executor | None) -> Iterator[_Work]:
    """Whatever was submitted is over when it ends, and its scratch is gone."""
    parent, begin = _scratch(campaign.out)
    scratch = Path(tempfile.mkdtemp(prefix=begin, dir=parent))
    plan = Plan(
        tuple(offer_case(base.path) for base in bases if base.path), send_solver(spec), campaign.tool,
        campaign.memory or default_memory(campaign.tool), campaign.seed,
        campaign.solver in BITWISE if campaign.same_bits is None else campaign.same_bits, campaign.limits, site(scratch),
    )  # fmt: skip
    try:
        with lent_or_open(executor, None, campaign.jobs) as pool:
            work = _Work(campaign, plan, pool)
            try:
                yield work
            finally:
                work.end()
    except OSError as error:  # what a child does is an outcome; this is our own disk
        raise HarnessError(f"{error.filename or campaign.out}: {error.strerror or error}; finished chunks are kept") from error
    except KeyboardInterrupt:
        raise Interrupted("interrupted; finished chunks are kept, and the same command goes on") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(out: Path) -> tuple[Path, str]:
    """Where scratch of a campaign lies, and how its names begin. It need not outlive anything: in memory where there is room."""
    shared = Path("/dev/shm")
    parent = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    return parent, f"harness-fuzz-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]}-"


def _clear(out: Path) -> None:
    """Away with what kill -9 left of a campaign on which no process is at work."""
    parent, begin = _scratch(out)
    for left in parent.glob(begin + "*"):
        shutil.rmtree(left, ignore_errors=True)


class _Work:
    """What is under way. ``submit`` is the executor's; ``end`` leaves nothing of it running."""

    def __init__(self, campaign: Campaign, plan: Plan, pool: Executor) -> None:
        self.campaign, self.plan, self.pool = campaign, plan, pool
        self._asked: set[Future[Any]] = set()

    def submit(self, do: Callable[..., T], *args: Any) -> Future[T]:
        future = self.pool.submit(do, *args)
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return future

    def end(self) -> None:
        """What still runs counts for nothing."""
        asked = set(self._asked)
        for future in asked:
            future.cancel()
        end(self.pool, self.plan.site.work)
        wait(asked)

    def run(self, todo: list[int], until: float, known: set[str], progress: Progress | None) -> None:
        campaign, plan = self.campaign, self.plan
        at_once = width(self.pool, campaign.jobs)
        pending: dict[Future[Chunk | None], Part] = {}
        done: dict[int, Chunk] = {}
        while pending or (todo and time.monotonic() < until):
            while todo and len(pending) < at_once and time.monotonic() < until:
                part = Part.whole(todo.pop(0))
                pending[self.submit(run_part, plan, part)] = part
            for future in wait(pending, timeout=0.5, return_when=FIRST_COMPLETED).done:
                part = pending.pop(future)
                try:
                    chunk = future.result()
                except WorkersLost as lost:
                    # One of its mutants takes a worker's machine with it, or the chunk was too much for it.
                    if len(part.mutants) == 1:
                        raise HarnessError(f"{campaign.out}: mutant {part.mutants[0]} of seed {campaign.seed}: {lost}") from None
                    pending |= {self.submit(run_part, plan, half): half for half in part.halved()}
                    continue
                if chunk is None:
                    raise HarnessError(f"{campaign.out}: a chunk was ended from outside; the same command goes on")
                for told in chunk.complaints:
                    if told.signature not in known:
                        known.add(told.signature)
                        self._keep(told)
                done[part.number] = done[part.number] + chunk if part.number in done else chunk
                if done[part.number].mutants == CHUNK:
                    add_chunk(campaign.out, done.pop(part.number), CHUNK * (1 + plan.twins))
                    if progress is not None:
                        progress(read_state(campaign.out))

    def _keep(self, told: Complaint) -> None:
        """The first of a signature, run again alone, and kept as a case."""
        campaign, plan = self.campaign, self.plan
        slug = re.sub(r"[^a-z0-9]+", "-", told.signature.lower()).strip("-")[:60]
        place = campaign.out / FINDS / f"{slug}-{hashlib.sha256(told.signature.encode()).hexdigest()[:6]}"
        kept = write_case(told.case, place / told.case.id, replace=True)
        folder = kept.path or place
        votes = [self.submit(again, plan, told.case, told.oracle) for _ in range(VOTES)]
        rate = sum(_signature(vote) == told.signature for vote in votes) / VOTES
        task = Task(folder, kept.document, plan.solver.spec, plan.tool, plan.memory)
        by_layout = told.signature.startswith(LAYOUT)
        repeat = _again_as_it_is(task, plan) if by_layout else task.repeat(plan.limits)
        minimized = self._shrunk(place) if rate == 1.0 and not by_layout else ""
        add_find(place, Find(told.signature, told.what, str(kept.path), rate, 1, repeat, minimized))

    def _shrunk(self, place: Path) -> str:
        """The smallest case that fails alike, beside the one found; empty where none was found in the time."""
        campaign = self.campaign
        target = Target(campaign.solver, campaign.tool, campaign.memory or None)
        limits = MinimizeLimits(budget_s=MINIMIZE_S, max_runs=300, child=campaign.limits)
        case, out = next(find_cases([place])), place / "minimized"
        try:
            found = minimize_case(case, target, limits, out, executor=self.pool, jobs=campaign.jobs)
        except Interrupted:
            raise
        except HarnessError:  # the find stands without it
            return ""
        return str(found.case) if found.case is not None else ""


def _signature(vote: Future[tuple[str, str] | None]) -> str:
    try:
        told = vote.result()
    except WorkersLost:
        return ""
    return told[0] if told is not None else ""


def _again_as_it_is(task: Task, plan: Plan) -> str:
    """The command that runs a case with its twin."""
    words = ["python", "-m", "harness", "fuzz", str(task.case_folder), "--as-it-is", "--same-bits", "--solver", task.solver.name]
    for option, value, default in (
        ("--tool", task.tool, "none"),
        ("--memory", task.memory, default_memory(task.tool)),
        ("--kernels", plan.limits.kernels or "", ""),
        ("--device", plan.limits.device, "auto"),
        ("--timeout", f"{plan.limits.timeout_s:g}", f"{Campaign.TIMEOUT_S:g}"),
    ):
        if value != default:
            words += [option, value]
    return command_line(words)
