"""Where tasks run: on threads of this process, each driving isolated children, or on the workers of a Dask cluster.

Either is a ``concurrent.futures.Executor``. What is submitted must be a function of a module, with arguments that can be pickled:
then it runs on any.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

from harness import bench
from harness.cargo import ORIGIN
from harness.dask_executor import DaskExecutor
from harness.errors import UsageError
from harness.process import cores

LOCAL = "local"
DASK = "dask://"
EXECUTOR = "Where tasks run: local, or dask://HOST:PORT for a Dask cluster."


@contextmanager
def open_executor(address: str | None, jobs: int) -> Iterator[Executor]:
    """None or ``local``: ``jobs`` threads here (0: one per core). ``dask://HOST:PORT``: the cluster of that scheduler.

    When the block ends, what has not started is cancelled, and the children of what still runs are ended, here or there. Raises
    ``UsageError`` for an address of no known kind, and ``HarnessError`` where no scheduler or worker can be reached.
    """
    if address in (None, LOCAL):
        pool = ThreadPoolExecutor(jobs or cores(), thread_name_prefix="task")
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            bench.close(ORIGIN)
            pool.shutdown(wait=True)
        return
    check_address(address)
    cluster = DaskExecutor(address)
    try:
        yield cluster
    finally:
        cluster.shutdown(wait=False, cancel_futures=True)


def lent_or_open(lent: Executor | None, address: str | None, jobs: int) -> AbstractContextManager[Executor]:
    """``lent``, which its owner shuts down, or else one of our own: see ``open_executor``."""
    return open_executor(address, jobs) if lent is None else nullcontext(lent)


def check_address(address: str | None) -> None:
    """Raises ``UsageError``."""
    if address in (None, LOCAL):
        return
    host, _, port = address.removeprefix(DASK).rpartition(":")
    if not address.startswith(DASK) or not host or "/" in host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"--executor {address}: must be {LOCAL} or {DASK}HOST:PORT")


def width(executor: Executor, jobs: int) -> int:
    """How many tasks to have under way at once: ``jobs``, or where that is 0 what the executor is wide."""
    return jobs or (executor.width() if isinstance(executor, DaskExecutor) else cores())


def end(executor: Executor, work: str) -> None:
    """End the children of a piece of work (``harness.bench.Site``) wherever the executor runs them."""
    if isinstance(executor, DaskExecutor):
        executor.end(work)
    else:
        bench.close(work)
