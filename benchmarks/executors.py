"""What it costs to hand out a task: ``python benchmarks/executors.py [--tasks 10000] [--replays 1000] [--workers 2]``.

Two measurements for threads of this process and for a Dask cluster, which is started here on this machine, one process and one
thread to a worker. First tasks that do nothing, but take and give back what a real one does: all of their time is scheduling.
Then isolated replays, of which each is a child that reads a case, solves it and writes its result, brought into a run folder.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from queue import SimpleQueue

from harness.casefile import read_document
from harness.dispatch import Crew
from harness.environment import basics
from harness.executors import open_executor
from harness.isolation import Limits, Task
from harness.outcome import Kind, Outcome
from harness.process import PRELOAD, open_launcher
from harness.registry import resolve
from harness.remote import Ran, parcel, run_tasks

CASE = Path(__file__).parent.parent / "cases" / "degenerate-n-33"
TASK = Task(CASE, read_document(CASE), resolve("skip"))


def nothing(executor: Executor, ran: Ran, tasks: int) -> float:
    """Seconds a task, of tasks that give back the files of a job."""
    start = time.perf_counter()
    for future in [executor.submit(copy.copy, ran) for _ in range(tasks)]:
        future.result()
    return (time.perf_counter() - start) / tasks


def replays(executor: Executor, folder: Path, count: int, *, here: bool) -> tuple[float, float]:
    """(seconds a task, median seconds of a child) of isolated replays with their job folders in ``folder``."""
    launcher = open_launcher(folder / "supervisor.log", preload=PRELOAD, threads=1) if here else None
    crew = Crew(executor, launcher, 1)
    seconds: list[float] = []

    def run(n: int) -> None:
        told: SimpleQueue[Outcome | BaseException] = SimpleQueue()
        for i in range(n):
            crew.submit([numbered(i)], Limits(), folder, lambda task, outcome, job: outcome, told.put)
        for _ in range(n):
            outcome = told.get()
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome.kind is not Kind.OK:
                raise RuntimeError(str(outcome))
            seconds.append(outcome.seconds)

    run(4)  # what starts children, and the case's way to the workers, are not what is measured
    seconds.clear()
    start = time.perf_counter()
    run(count)
    taken = time.perf_counter() - start
    if launcher is not None:
        launcher.close()
    return taken / count, statistics.median(seconds)


def numbered(n: int) -> Task:
    """The same task many times, each under a name of its own."""
    return dataclasses.replace(TASK, document=TASK.document.model_copy(update={"id": f"{TASK.document.id}-{n}"}))


@contextlib.contextmanager
def cluster(workers: int, folder: str) -> Iterator[str]:
    """The address of a cluster of this machine's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    dask = [sys.executable, "-m", "dask"]
    argvs = [[*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show"]]
    worker = [*dask, "worker", f"tcp://127.0.0.1:{port}", "--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    argvs += [[*worker, "--local-directory", folder]] * workers
    processes = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for argv in argvs]
    try:
        from distributed import Client

        with Client(f"tcp://127.0.0.1:{port}", timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield f"dask://127.0.0.1:{port}"
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks that do nothing")
    parser.add_argument("--replays", type=int, default=1000, help="isolated replays")
    parser.add_argument("--workers", type=int, default=2, help="threads here, workers there")
    words = parser.parse_args()
    about = basics()
    ran = run_tasks(parcel([TASK], Limits()))
    size = sum(map(len, ran.files.values()))
    print(f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, load {os.getloadavg()[0]:.1f}, {size} bytes of files")
    columns = f"{'executor':8} {'tasks that do nothing':>22} {'ms a task':>10}  {'replays':>8} {'ms a task':>10} {'child, ms':>10}"
    print(columns, flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, cluster(words.workers, folder) as address:
        for name, where in (("local", None), ("dask", address)):
            with open_executor(where, words.workers) as executor:
                nothing(executor, ran, 20)
                each = nothing(executor, ran, words.tasks)
                there = Path(folder) / name
                there.mkdir()
                real, child = replays(executor, there, words.replays, here=where is None)
            print(
                f"{name:8} {words.tasks:22} {1e3 * each:10.3f}  {words.replays:8} {1e3 * real:10.2f} {1e3 * child:10.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
