"""Many tasks of one solver and tool in one process, one after the other: what a process costs to start is paid once.

Isolation stays: what is accepted from a batch is only what a process of its own would have given. The journal of each job tells
which one was in flight when the process died; that one is run again alone, and so is one that raised. The others go on in a new
process. Under a tool a batch is believed when all of it is clean; one that is not is halved, down to a task alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import loading
from harness.isolation import Limits, Task, not_run, outcome_of, run_isolated, start, watch_for, write_job
from harness.jsonfile import write_json
from harness.outcome import Kind, Outcome
from harness.process import Ended, Launcher
from harness.sanitizer import watch
from harness.sanitizer.state import CLEAN, FINDINGS
from harness.worker_files import BATCH, JOB, JOURNAL, RESULT
from sim3solve import held

_GOOD = (Kind.OK, Kind.SOLVER_STATUS, Kind.UNAVAILABLE)


_UNDER_A_TOOL = 16
"""Tasks in a process where nobody says: a tool takes seconds to start, and a fault found costs its batch anew."""


def deal(todo: Sequence[tuple[Task, str]], size: int, jobs: int) -> list[tuple[list[Task], str]]:
    """What shares a process: tasks of one solver, tool, memory mode and kind, at most ``size`` of them, 0 for what suits.

    Fewer where there are processes to fill. Dealt out like cards: the large cases, which come first, are not all in one.
    """
    together: dict[tuple[Any, ...], list[Task]] = {}
    for task, kind in todo:
        alone = () if size > 1 or (size == 0 and task.tool != "none") else (task.name,)
        together.setdefault((kind, task.solver, task.tool, task.memory, *alone), []).append(task)
    dealt = []
    for (kind, *_), tasks in together.items():
        count = min(len(tasks), max(-(-len(tasks) // (size or _UNDER_A_TOOL)), jobs // len(together)))
        dealt += [(tasks[first::count], kind) for first in range(count)]
    return dealt


@dataclass(frozen=True)
class _Seen:
    """What one process did: tasks with a good end; the one to run alone; those it did not come to."""

    good: list[tuple[Task, Outcome]]
    culprit: Task | None
    rest: list[Task]


def run_batch(tasks: Sequence[Task], limits: Limits, folder: Path, launcher: Launcher) -> Iterator[tuple[Task, Outcome]]:
    """Run tasks that differ in case, memory mode or layout only; each outcome as ``run_isolated`` would give it.

    Each job's files are in ``folder / task.name``. In the order in which they are known. Never raises for anything a child does.
    """
    if len({(task.solver, task.tool) for task in tasks}) > 1:
        raise ValueError("a batch is of one solver and one tool")
    todo = [list(tasks)]
    while todo:
        batch = todo.pop(0)
        watched = watch_for(batch[0], limits) if len(batch) > 1 else None
        if len(batch) <= 1 or isinstance(watched, Outcome):
            yield from ((task, run_isolated(task, limits, folder / task.name, launcher)) for task in batch)
            continue
        with loading.of(launcher).turn(batch[0].solver, batch[0].tool) as turn:
            seen = None if turn.problem else _run(batch, limits, folder, launcher, watched, turn)
        if seen is None or turn.problem:
            yield from ((task, not_run(task, limits, turn.problem)) for task in batch)
            continue
        believed = [(task, outcome) for task, outcome in seen.good if _is_believed(outcome)]
        yield from believed
        doubted = [task for task, outcome in seen.good if not _is_believed(outcome)]
        found = any(outcome.tool_state == FINDINGS for _, outcome in seen.good)
        if seen.culprit is not None:
            # Whatever the tool missed because the process died, it gets to see again.
            todo = [[seen.culprit], doubted, seen.rest, *todo]
        elif found:
            middle = len(doubted) // 2
            todo = [doubted[:middle], doubted[middle:], *todo]
        else:
            todo = [*([task] for task in doubted), *todo]


def _is_believed(outcome: Outcome) -> bool:
    return outcome.kind in _GOOD and (outcome.tool == "none" or outcome.tool_state in (CLEAN, None))


def _run(
    batch: list[Task], limits: Limits, folder: Path, launcher: Launcher, watched: watch.Watch | None, turn: loading.Turn
) -> _Seen:
    shared = folder / f"batch-{batch[0].name}"
    held.new_folder(shared)
    for task in batch:
        write_job(task, limits, folder / task.name)
    write_json(shared / JOB, {BATCH: [str((folder / task.name).resolve()) for task in batch]})
    limit_s = limits.timeout_s * (len(batch) + 1)  # each job has its own, which the child sees to
    first = folder / batch[0].name
    clock = loading.Clock(first / JOURNAL, limits.load_limit_s, limit_s, turn)
    ended = start(batch[0], limits, shared, launcher, watched, name=shared.name, limit=clock)
    turn.ended(outcome_of(batch[0], limits, first, ended), timed_out=ended.timed_out)
    reached = [task for task in batch if (folder / task.name / RESULT).exists()]
    own = {task.name: _own(task, limits, folder / task.name) for task in reached}
    culprit = next((task for task in reached if own[task.name].kind not in _GOOD), None)
    if culprit is None and len(reached) < len(batch):
        culprit = next(task for task in batch if task.name not in own)
    good = [task for task in reached if task is not culprit]
    rest = [task for task in batch if task is not culprit and task.name not in own]
    if watched is None:
        return _Seen([(task, own[task.name]) for task in good], culprit, rest)
    judged = [watch.judged(own[t.name], watched, folder / t.name, ended, limits.timeout_s, shared) for t in good]
    return _Seen(list(zip(good, judged, strict=True)), culprit, rest)


def _own(task: Task, limits: Limits, folder: Path) -> Outcome:
    """What a job that came to its end says of itself, whatever became of the process afterwards: that is the culprit's."""
    outcome = outcome_of(task, limits, folder, Ended(0, 0.0))
    return dataclasses.replace(outcome, seconds=outcome.stages[-1][1] if outcome.stages else 0.0)
