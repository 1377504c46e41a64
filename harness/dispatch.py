"""The tasks of a run given to an executor, and what they leave brought into the run's folder: once each, wherever they ran."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.batch import run_batch
from harness.cargo import ORIGIN
from harness.dask_executor import DaskExecutor, WorkersLost
from harness.errors import HarnessError
from harness.executors import end, lent_or_open
from harness.isolation import Limits, Task
from harness.outcome import Kind, Outcome
from harness.process import INTERRUPTED, Launcher
from harness.remote import Ran, parcel, run_tasks

Keep = Callable[[Task, Outcome, Path], Outcome]
"""What is done with an outcome and its job folder when both are here; in a thread."""
Tell = Callable[[Outcome | BaseException], None]
"""Hears of each outcome once it is kept, and of what ends the run. From any thread."""

_TRIES = 3
_WRITERS = 4


class Crew:
    """With a launcher, tasks run on threads here, their children started by it. ``width`` is how many can run at once.

    An executor that is ``lent`` is its owner's to shut down.
    """

    def __init__(self, executor: Executor, launcher: Launcher | None, width: int, *, lent: bool = False) -> None:
        self._executor, self._launcher, self.width, self._lent = executor, launcher, width, lent
        self._sent: set[Future[Ran]] = set()
        self._writers = None if launcher else ThreadPoolExecutor(_WRITERS, thread_name_prefix="arrival")

    def submit(self, tasks: Sequence[Task], limits: Limits, jobs: Path, keep: Keep, tell: Tell) -> None:
        """Run tasks that may share a process, with their files in ``jobs``: a folder for each, by its name.

        ``tell`` hears an ``OSError`` for this disk, and ``HarnessError``. Raises ``HarnessError``.
        """
        if self._launcher is not None:
            self._executor.submit(_here, tasks, limits, jobs, self._launcher, keep, tell)
        else:
            self._send(tasks, limits, jobs, keep, tell, 1)

    def workers(self) -> dict[str, str]:
        """What machines the workers are on; empty where tasks run here."""
        return self._executor.workers() if isinstance(self._executor, DaskExecutor) else {}

    def stop(self) -> None:
        """End what runs; what has not started never will."""
        if self._lent:
            for future in list(self._sent):
                future.cancel()
            end(self._executor, ORIGIN)
        else:
            self._executor.shutdown(wait=False, cancel_futures=True)
        if self._launcher is not None:
            self._launcher.close()
        if self._writers is not None:
            self._writers.shutdown(wait=True, cancel_futures=True)

    def _send(self, tasks: Sequence[Task], limits: Limits, jobs: Path, keep: Keep, tell: Tell, tries: int) -> None:
        assert self._writers is not None
        writers = self._writers

        def arrived(sent: Future[Ran]) -> None:
            self._sent.discard(sent)
            if sent.cancelled():
                return
            with suppress(RuntimeError):  # the crew was stopped
                writers.submit(take, sent)

        def take(sent: Future[Ran]) -> None:
            try:
                for task, outcome in zip(tasks, self._taken(sent, tasks, limits, jobs), strict=True):
                    # Interrupted: its worker is ending. None: of several that no worker outlived, each is tried alone.
                    if outcome is None or (outcome.reason == INTERRUPTED and tries < _TRIES):
                        self._send([task], limits, jobs, keep, tell, tries + 1)
                    else:
                        tell(keep(task, outcome, jobs / task.name))
            except BaseException as error:  # noqa: BLE001  # whoever waits hears of it
                tell(error)

        try:
            sent = self._executor.submit(run_tasks, parcel(tasks, limits))
        except BrokenExecutor as broken:
            raise _broken(broken) from broken
        self._sent.add(sent)
        sent.add_done_callback(arrived)

    def _taken(self, sent: Future[Ran], tasks: Sequence[Task], limits: Limits, jobs: Path) -> Sequence[Outcome | None]:
        """The outcomes, with their files in the job folders here."""
        try:
            outcomes = sent.result().unpack(jobs)
        except WorkersLost as lost:
            return [None] * len(tasks) if len(tasks) > 1 else [_lost(tasks[0], limits, str(lost))]
        except BrokenExecutor as broken:  # and takes no more
            raise _broken(broken) from broken
        # As they are done again here.
        return [dataclasses.replace(o, repeat=task.repeat(limits)) for task, o in zip(tasks, outcomes, strict=True)]


@contextmanager
def open_crew(address: str | None, jobs: int, launcher: Callable[[], Launcher], lent: Executor | None = None) -> Iterator[Crew]:
    """``launcher`` opens what starts children here, where that is where they run. See ``open_executor``.

    ``lent`` takes the place of the one at ``address``; whatever it is, tasks travel to it.
    """
    with lent_or_open(lent, address, jobs) as executor:
        here = lent is None and isinstance(executor, ThreadPoolExecutor)
        wide = executor.width() if isinstance(executor, DaskExecutor) else jobs
        crew = Crew(executor, launcher() if here else None, wide, lent=lent is not None)
        try:
            yield crew
        finally:
            crew.stop()


def _here(tasks: Sequence[Task], limits: Limits, jobs: Path, launcher: Launcher, keep: Keep, tell: Tell) -> None:
    try:
        for task, outcome in run_batch(tasks, limits, jobs, launcher):
            tell(keep(task, outcome, jobs / task.name))
    except BaseException as error:  # noqa: BLE001  # whoever waits hears of it
        tell(error)


def _broken(error: BrokenExecutor) -> HarnessError:
    return HarnessError(f"the executor lost a process of its own, and takes no more: {error}")


def _lost(task: Task, limits: Limits, reason: str) -> Outcome:
    return Outcome(*task.key[:2], task.tool, Kind.INCONCLUSIVE, "none", 0.0, task.repeat(limits), reason=reason,
                   memory=task.memory, layout=task.layout)  # fmt: skip
