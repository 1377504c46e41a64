"""(cases x solvers x tools x memory modes x layouts) -> outcomes on disk.

What is finished stays finished: a run that was cut off is taken up again.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from harness import environment, registry
from harness.batch import deal
from harness.case import CaseDocument
from harness.casefile import find_cases, read_document
from harness.commandline import command_line
from harness.compare import TOLERANCES
from harness.dispatch import Crew, open_crew
from harness.errors import HarnessError, ResultError, UsageError, os_reason
from harness.executors import check_address
from harness.isolation import Limits, Task, default_memory
from harness.jsonfile import write_json
from harness.judging import judge_all
from harness.memory.evidence import with_memory
from harness.outcome import EXACT, MEMORY_MODES, POOL, RECORDED, Kind, Outcome
from harness.process import INTERRUPTED, PRELOAD, PRELOAD_TORCH, Launcher, cores, open_launcher
from harness.relayout import once, variants
from harness.run import JOBS, OUTCOMES, RUN_FILE, SWEPT, YARDSTICKS, Run, read_header, read_outcome, read_run, write_outcome
from harness.runfolder import alive, is_alive, point_latest
from harness.sweep.drive import sweep

ORACLE = "reference"
Progress = Callable[[Outcome, int, int], None]


@dataclass(frozen=True)
class Request:
    """What to replay. ``out`` is the folder runs go into; ``jobs`` how many children run at once."""

    cases: tuple[Path, ...]
    solvers: tuple[str, ...]
    tools: tuple[str, ...] = ("none",)
    limits: Limits = dataclasses.field(default_factory=Limits)
    jobs: int = 0
    out: Path = Path("reports")
    command: str = ""
    resume: bool = True
    memories: tuple[str, ...] = ()  # none given: what suits each tool
    layouts: tuple[str, ...] = (RECORDED,)  # see harness.relayout
    sweep: bool = False  # of layouts: every task is run again in many, and a rule looked for
    batch: int = 0  # tasks in one process, one after the other; 0 for what suits: several under a tool, else each alone
    executor: str | None = None  # where tasks run, see harness.executors; None: here


class Interrupted(HarnessError):
    """Ctrl-C. Everything finished is on disk."""


def replay(
    request: Request, progress: Progress | None = None, tasks: Sequence[Task] | None = None, executor: Executor | None = None
) -> Run:
    """Run everything that has no outcome yet, judge it against the oracle, and return the run.

    ``tasks``, when given, are run in place of every case with every solver, tool and memory mode of the request. ``executor``
    runs them in place of that of the request, and is left open; the processes of a pool must be able to import what this one
    runs. Raises ``CaseError`` or ``UsageError`` before anything is started, ``Interrupted`` on Ctrl-C.
    """
    check_address(request.executor)
    tasks = _plan(request) if tasks is None else tasks
    oracles = {
        task.document.id: dataclasses.replace(task, solver=registry.resolve(ORACLE), tool="none", memory=POOL, layout=RECORDED)
        for task in tasks
    }
    folder = _open_run(request, tasks)
    inquiry = environment.Inquiry()
    with _own_disk(folder), alive(folder), closing(inquiry):
        todo = [(task, OUTCOMES) for task in tasks if not _has(folder, OUTCOMES, task)]
        asked = {task.key for task in tasks}
        for oracle in oracles.values():  # an oracle nobody asked for is run all the same, as the yardstick
            if oracle.key not in asked and not _has(folder, YARDSTICKS, oracle):
                todo.append((oracle, YARDSTICKS))
        todo.sort(key=lambda item: (-item[0].document.n_points, item[0].solver.name != ORACLE))
        started = tasks if request.sweep else [task for task, _ in todo]
        jobs = max(1, min(request.jobs or cores(), 1 << 30 if request.sweep else len(todo)))
        with open_crew(request.executor, jobs, partial(_launcher, folder, started, jobs), executor) as crew:
            total = _run_all(request, folder, crew, todo, len(tasks), progress)
            workers = crew.workers()
            judge_all(folder, tasks, oracles)
            if request.sweep:
                _sweep(request, folder, crew, tasks, oracles, total, progress)
        _finish(folder, inquiry.answer() | ({"workers": workers} if workers else {}))
    point_latest(request.out, folder)
    return read_run(folder)


@contextmanager
def _own_disk(folder: Path) -> Iterator[None]:
    """What our own disk refuses ends the run in one line. What a child does is an outcome, never an error."""
    try:
        yield
    except OSError as error:
        reason = f"{error.filename or folder}: {os_reason(error)}"
        raise HarnessError(f"{reason}; what is done is kept, the same command takes it up again") from error


def _plan(request: Request) -> list[Task]:
    documents: dict[str, tuple[Path, CaseDocument]] = {}
    for case_folder in find_cases(list(request.cases)):
        document = read_document(case_folder)
        if document.id in documents:
            raise UsageError(f"two cases are called {document.id}; the second is {case_folder}")
        documents[document.id] = (case_folder, document)
    # By the resolved name: two words may mean one revision.
    specs = {spec.name: spec for spec in map(registry.resolve, request.solvers)}.values()
    # What people know first: real frames, then scenes, then the degenerate ones.
    ordered = sorted(documents.values(), key=lambda found: ("real" not in found[1].tags, "synthetic" not in found[1].tags))
    for memory in request.memories:
        if memory not in MEMORY_MODES:
            raise UsageError(f"--memory {memory}: unknown (there are: {', '.join(MEMORY_MODES)})")
    if EXACT in request.memories and request.sweep:
        raise UsageError(
            "--layouts with --memory exact: an exact allocation lies where it ends, not where a layout wants it; use poison"
        )
    for _, document in ordered:
        for layout in request.layouts:
            variants(document.tensors, layout)
    return [
        Task(case_folder, document, spec, tool, memory, layout)
        for case_folder, document in ordered
        for spec in specs
        for tool in request.tools
        for memory in dict.fromkeys(request.memories or (POOL if request.sweep else default_memory(tool),))
        for layout in dict.fromkeys(request.layouts)
    ]


def _fingerprint(request: Request, tasks: Sequence[Task]) -> str:
    what = [[*task.key, task.document.model_dump_json(), task.solver.fingerprint()] for task in tasks]
    return hashlib.sha256(json.dumps([what, dataclasses.astuple(request.limits), request.sweep]).encode()).hexdigest()


def _open_run(request: Request, tasks: Sequence[Task]) -> Path:
    """The folder of an unfinished run of the very same plan, or a new one."""
    fingerprint = _fingerprint(request, tasks)
    if request.resume:
        for file in sorted(request.out.glob(f"*/{RUN_FILE}"), reverse=True):
            if file.parent.is_symlink():  # latest: the run is there under its own name, too
                continue
            with suppress(ResultError):
                run = read_header(file.parent)
                if run.finished is None and run.plan.get("fingerprint") == fingerprint and not is_alive(file.parent):
                    return file.parent
    now = datetime.datetime.now().astimezone()
    folder = request.out / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    try:
        for name in (OUTCOMES, YARDSTICKS, JOBS):
            (folder / name).mkdir(parents=True)
        write_json(
            folder / RUN_FILE,
            {
                "run": folder.name, "started": now.isoformat(timespec="seconds"), "finished": None, "command": request.command,
                "environment": environment.basics(),
                "plan": {
                    "tasks": [task.key for task in tasks], "solvers": {task.solver.name: task.solver.summary for task in tasks},
                    "timeout_s": request.limits.timeout_s, "tolerances": TOLERANCES,
                    "limits": dataclasses.asdict(request.limits), "fingerprint": fingerprint,
                },
                "cases": {task.document.id: case_summary(task) for task in tasks},
            },
        )  # fmt: skip
    except OSError as error:
        raise HarnessError(f"{folder}: cannot write a run there: {os_reason(error)}") from error
    return folder


def case_summary(task: Task) -> dict[str, Any]:
    """What the report says of a case, so that it needs no other file."""
    document = task.document
    expect = document.expect
    statuses = f" ({' or '.join(status.value for status in expect.statuses)})" if expect.statuses else ""
    return {
        "path": str(task.case_folder), "title": document.title, "kind": document.kind, "n_points": document.n_points,
        "tags": list(document.tags), "because": expect.because, "expect": " or ".join(expect.outcomes) + statuses,
        "source": document.provenance.source, "licence": document.provenance.licence,
        "attribution": document.provenance.attribution, "sha256": document.tensors_sha256,
        "device": next((spec.device for spec in document.tensors.values()), "cpu"),
    }  # fmt: skip


def _has(folder: Path, kind: str, task: Task) -> bool:
    file = folder / kind / f"{task.name}.json"
    if not file.exists():
        return False
    try:
        read_outcome(file)
    except ResultError:
        file.unlink()  # damaged by something outside: run it again
        return False
    return True


def _launcher(folder: Path, tasks: Sequence[Task], jobs: int) -> Launcher:
    """What starts children, for the whole run: importing torch is paid once."""
    preload = PRELOAD + (PRELOAD_TORCH if any(task.solver.uses_torch for task in tasks) else ())
    return open_launcher(folder / JOBS / "supervisor.log", preload=preload, threads=max(1, cores() // jobs))


def _run_all(
    request: Request, folder: Path, crew: Crew, todo: list[tuple[Task, str]], asked: int, progress: Progress | None
) -> int:
    """Run what is to do, and return how many outcomes there are then. ``asked`` counts those that are there already, too."""
    total = asked + sum(kind == YARDSTICKS for _, kind in todo)
    done = total - len(todo)
    told: SimpleQueue[Outcome | BaseException] = SimpleQueue()
    try:
        for tasks, kind in deal(todo, request.batch, crew.width):
            jobs = folder / JOBS if kind == OUTCOMES else folder / JOBS / kind
            limits = request.limits.of_yardstick() if kind == YARDSTICKS else request.limits
            crew.submit(tasks, limits, jobs, partial(_keep, folder, kind), told.put)
        while done < total:
            with suppress(Empty):
                outcome = told.get(timeout=0.2)
                if isinstance(outcome, BaseException):
                    raise outcome
                done += 1
                if progress is not None:
                    progress(outcome, done, total)
    except (OSError, HarnessError) as error:  # what a child does is an outcome; this is our own disk, or a cluster
        reason = f"{error.filename or folder}: {os_reason(error)}" if isinstance(error, OSError) else str(error)
        raise HarnessError(f"{reason}; {done} of {total} done and kept, the same command takes it up again") from error
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: {done} of {total} done; the same command takes it up again") from None
    finally:
        if done < total:
            crew.stop()
    return total


def _keep(folder: Path, kind: str, task: Task, outcome: Outcome, job: Path) -> Outcome:
    """An outcome with what its job folder says more, on disk."""
    outcome = with_memory(outcome, job)
    if task.layout != RECORDED:
        outcome = dataclasses.replace(outcome, repeat=f"{outcome.repeat} --layout {command_line([once(task.layout)])}")
    if not (outcome.kind is Kind.INCONCLUSIVE and outcome.reason == INTERRUPTED):
        write_outcome(folder, task.name, outcome, kind)
    return outcome


def _sweep(
    request: Request, folder: Path, crew: Crew, tasks: Sequence[Task], oracles: dict[str, Task], total: int,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Every task again in many layouts. The outcomes are the sweep's own, beside those of the run."""
    (folder / SWEPT).mkdir(parents=True, exist_ok=True)
    targets = [task for task in tasks if task.layout == RECORDED]

    def run(more: list[Task]) -> list[Outcome]:
        nonlocal total
        todo = [(task, SWEPT) for task in more if not _has(folder, SWEPT, task)]
        total = _run_all(request, folder, crew, todo, total + len(more), progress)
        judge_all(folder, more, oracles, SWEPT)
        return [read_outcome(folder / SWEPT / f"{task.name}.json") for task in more]

    sweep(folder, [(task, read_outcome(folder / OUTCOMES / f"{task.name}.json")) for task in targets], run)


def _finish(folder: Path, environment_now: dict[str, Any]) -> None:
    document = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    document["environment"] = environment_now
    document["finished"] = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    write_json(folder / RUN_FILE, document)


def default_command() -> str:
    """The command line of this process, as a user would type it."""
    return command_line(["python", "-m", "harness", *sys.argv[1:]])
