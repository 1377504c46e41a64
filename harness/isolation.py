"""One (case, solver, tool) in a process of its own: the job folder is written, the child run, its end classified."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from harness import loading, minidump
from harness.case import CaseDocument
from harness.classify import classify
from harness.commandline import command_line
from harness.errors import UsageError
from harness.jsonfile import write_json
from harness.outcome import POOL, RECORDED, Kind, Outcome, how
from harness.process import Clock, Ended, Launcher, worker_argv
from harness.registry import SolverSpec
from harness.sanitizer import watch
from harness.sanitizer.tools import CUDA_TOOLS, HOST_TOOLS, NONE, TOOLS
from harness.sanitizer.watch import default_memory
from harness.worker_files import JOB, JOURNAL, STDERR, STDOUT
from sim3solve import held

__all__ = ["TOOLS", "Limits", "Task", "default_memory", "run_isolated"]
KEPT_OUTPUT_BYTES = 1 << 20
YARDSTICK_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Limits:
    """What a child may take. ``device`` is ``auto``, ``cpu`` or ``cuda[:i]``.

    ``timeout_s`` begins when its solver is loaded, which may take ``load_limit_s``: a first use compiles. ``kernels`` is a regular
    expression for those that a CUDA tool is to watch; None for what suits the solver.
    """

    timeout_s: float = 60.0
    memory_limit_bytes: int | None = None
    device: str = "auto"
    fresh_interpreter: bool = False
    kernels: str | None = None
    load_limit_s: float = loading.LOAD_LIMIT_S

    def of_yardstick(self) -> Limits:
        """For an oracle that nobody asked for: a limit meant for solvers must not leave them without a judge."""
        return dataclasses.replace(self, timeout_s=max(self.timeout_s, YARDSTICK_TIMEOUT_S))


@dataclass(frozen=True)
class Task:
    """One thing to run. Solved ``solves`` times in one process, its time is the shortest of them."""

    case_folder: Path
    document: CaseDocument
    solver: SolverSpec
    tool: str = "none"
    memory: str = POOL
    layout: str = RECORDED
    solves: int = 1

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.document.id, self.solver.name, self.how)

    @property
    def how(self) -> str:
        return how(self.tool, self.memory, self.layout)

    @property
    def name(self) -> str:
        """A file name of its own: readable, and never that of another task."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(self.solver.name).name)[:40]
        if slug != self.solver.name:
            slug += "-" + hashlib.sha256(self.solver.name.encode()).hexdigest()[:6]
        return f"{self.document.id}__{slug}__{self.how}"

    def repeat(self, limits: Limits) -> str:
        """The command that does it again."""
        folder = os.path.relpath(self.case_folder) if self.case_folder.is_relative_to(Path.cwd()) else str(self.case_folder)
        words = ["python", "-m", "harness", "replay", folder, "--solver", self.solver.name]
        for option, value, default in (
            ("--tool", self.tool, "none"),
            ("--memory", self.memory, default_memory(self.tool)),
            ("--device", limits.device, "auto"),
            ("--timeout", limits.timeout_s, Limits.timeout_s),
            ("--memory-limit", limits.memory_limit_bytes, None),
            ("--kernels", limits.kernels if self.tool in CUDA_TOOLS else None, None),
        ):
            if value != default:
                words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
        return command_line(words)


def check_device(device: str) -> None:
    """Of the command line. Raises ``UsageError``."""
    if device not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cuda:[0-9]{1,4}", device):
        raise UsageError(f"--device {device}: must be auto, cpu, cuda or cuda:N")


def run_isolated(task: Task, limits: Limits, folder: Path, launcher: Launcher) -> Outcome:
    """Run one task with its files in ``folder``, which is emptied first. Never raises for anything the child does."""
    watched = watch_for(task, limits)
    if isinstance(watched, Outcome):
        return watched
    outcome = _run(task, limits, folder, launcher, watched)
    again = watch.without_a_list(watched, outcome) if watched is not None else None
    return outcome if again is None else _run(task, limits, folder, launcher, again)


def _run(task: Task, limits: Limits, folder: Path, launcher: Launcher, watched: watch.Watch | None) -> Outcome:
    with loading.of(launcher).turn(task.solver, task.tool) as turn:
        if turn.problem:
            return not_run(task, limits, turn.problem)
        write_job(task, limits, folder)
        clock = loading.Clock(folder / JOURNAL, limits.load_limit_s, limits.timeout_s, turn)
        ended = start(task, limits, folder, launcher, watched, name=task.name, limit=clock)
        of_child = watch.child_end(watched, folder, ended) if watched is not None else ended
        outcome = outcome_of(task, limits, folder, of_child)
        turn.ended(outcome, timed_out=ended.timed_out)
    if watched is not None:
        outcome = watch.judged(outcome, watched, folder, ended, limits.timeout_s)
    outcome = with_dump(outcome, folder, minidump.local_dumps())
    for name, text in ((STDOUT, outcome.stdout), (STDERR, outcome.stderr)):
        if (folder / name).exists() and (folder / name).stat().st_size > KEPT_OUTPUT_BYTES:
            (folder / name).write_text(text, encoding="utf-8")
    return outcome


def with_dump(outcome: Outcome, folder: Path, dumps: minidump.LocalDumps | None) -> Outcome:
    """The outcome of a process that died, with the minidump that Windows left of it, which is moved to ``folder``."""
    if outcome.kind is not Kind.CRASHED or dumps is None:
        return outcome
    dump = minidump.of_child(folder / JOURNAL, dumps, folder)
    if dump is None:
        return outcome
    where = "in the job's folder" if dump.moved else f"left in Windows' folder for dumps ({dump.why})"
    size = f"{dump.size_bytes / (1 << 20):.1f} MiB"
    note = f"minidump {dump.file.name}, {size}, {where}; it holds the process's memory and is in no bundle"
    found = {"file": dump.file.name, "bytes": dump.size_bytes, "moved": dump.moved}
    return dataclasses.replace(outcome, notes=(*outcome.notes, note), values=outcome.values | {"minidump": found})


def start(
    task: Task, limits: Limits, folder: Path, launcher: Launcher, watched: watch.Watch | None, *, name: str, limit: Clock
) -> Ended:
    """Do what ``folder`` says in a child of its own, under a tool where ``watched`` is given, and wait for its end."""
    if watched is not None:
        argv: list[str] | None = watched.argv(folder, worker_argv(folder.resolve()))
    else:
        argv = None if launcher.preloaded and not limits.fresh_interpreter else worker_argv(folder)
    environment = watched.environment(folder) if watched is not None else None
    return launcher.run(name, folder, argv, limit, _memory_limit(task, limits), environment)


def watch_for(task: Task, limits: Limits) -> watch.Watch | Outcome | None:
    """What to start its child under, None for nothing; or why it cannot be run."""
    try:
        return watch.prepare(task.tool, task.solver, limits.device, task.memory, limits.kernels) if task.tool != NONE else None
    except watch.ToolUnavailable as unavailable:
        return not_run(task, limits, str(unavailable))


def write_job(task: Task, limits: Limits, folder: Path) -> None:
    """What the child is to do, in a folder that is emptied first."""
    held.new_folder(folder)
    job = {
        "case": str(task.case_folder.resolve()), "tensors_sha256": task.document.tensors_sha256,
        "solver": dataclasses.asdict(task.solver), "device": limits.device, "limit_s": limits.timeout_s,
        "load_limit_s": limits.load_limit_s, "memory_limit_bytes": _memory_limit(task, limits), "memory": task.memory,
        "layout": task.layout, "tool": task.tool,
        "solves": task.solves,
    }  # fmt: skip
    write_json(folder / JOB, job)


def _memory_limit(task: Task, limits: Limits) -> int | None:
    """The runtime of ASan maps more than any limit allows."""
    return limits.memory_limit_bytes if task.tool not in HOST_TOOLS else None


def outcome_of(task: Task, limits: Limits, folder: Path, ended: Ended) -> Outcome:
    """What the child left in ``folder`` makes of how it ended."""
    case, solver, _ = task.key
    outcome = classify(folder, ended, limits.timeout_s, case=case, solver=solver, tool=task.tool, repeat=task.repeat(limits))
    if outcome.kind is Kind.TIMEOUT and not outcome.loaded:
        why = loading.reason(limits.load_limit_s, outcome.stages)
        outcome = dataclasses.replace(outcome, kind=Kind.UNAVAILABLE, limit_s=None, reason=why)
    return dataclasses.replace(outcome, memory=task.memory, layout=task.layout)


def not_run(task: Task, limits: Limits, reason: str) -> Outcome:
    case, solver, _ = task.key
    return Outcome(
        case,
        solver,
        task.tool,
        Kind.UNAVAILABLE,
        "none",
        0.0,
        task.repeat(limits),
        reason=reason,
        memory=task.memory,
        layout=task.layout,
    )
