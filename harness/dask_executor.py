"""An executor on a Dask cluster: losses of workers are Dask's to mend, losses of the scheduler are errors that say so."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from typing import Any, TypeVar

from harness import cargo, environment, remote
from harness.bench import close
from harness.cargo import ORIGIN, CargoError
from harness.dask_worker import receive, topic
from harness.errors import HarnessError, UsageError

T = TypeVar("T")
CONNECT_S = 10.0
NO_WORKERS_S = 120.0
"""So long a cluster may be without any worker before what waits for one is given up."""

_TICK_S = 1.0


class SchedulerLost(HarnessError):
    """The scheduler is gone, and all it knew of with it."""


class NoWorkers(HarnessError):
    """There is nobody to run anything."""


class WorkersLost(HarnessError):
    """One task outlived several workers; Dask gives it to no more."""


class DaskExecutor(Executor):
    """Runs functions on the workers of the scheduler at ``dask://HOST:PORT``.

    Raises ``UsageError`` without dask.distributed, and ``HarnessError`` where no scheduler answers. A future raises what its
    function raised, ``WorkersLost``, ``NoWorkers`` or ``SchedulerLost``.
    """

    def __init__(self, address: str, *, connect_s: float = CONNECT_S, no_workers_s: float = NO_WORKERS_S) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise UsageError(f"--executor {address}: needs dask.distributed; install sim3solve[dask]") from None
        make: Any = Client  # half of it is typed
        for name in ("distributed", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed."))):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters becomes an exception here
        self.address, self._no_workers_s = address, no_workers_s
        try:
            url = "tcp://" + address.partition("://")[2]
            self._client: Any = make(url, timeout=connect_s, set_as_default=False, name="harness")
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise HarnessError(f"--executor {address}: no Dask scheduler answers there ({_one_line(error)})") from None
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = set()
        self._closed = False
        self._names = (f"harness-{secrets.token_hex(4)}-{n}" for n in itertools.count())
        self._client.subscribe_topic(topic(ORIGIN), self._hand_out)
        threading.Thread(target=self._watch, name="dask-watch", daemon=True).start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Raises ``RuntimeError`` after ``shutdown`` and ``SchedulerLost``, beside what ``Executor.submit`` does."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._client.status not in ("running", "connecting"):
                raise self._lost()
            there = self._client.submit(remote.call, remote.CODE, fn, args, kwargs, key=next(self._names), pure=False)
            self._pending.add(future)
        future.add_done_callback(functools.partial(self._ended, there))
        self._client.loop.add_callback(self._follow, there, future)
        return future

    def width(self) -> int:
        """How many tasks the workers that are there now run at once; one where there is none yet."""
        return max(1, int(sum(self._client.nthreads().values())))

    def workers(self) -> dict[str, str]:
        """Each worker's address, and what machine it is, in a line. Empty where nobody answers."""
        try:
            said = self._client.run(environment.basics, on_error="ignore")
        except Exception:  # noqa: BLE001  # whatever a cluster in trouble says: this is only for the record
            return {}
        return {str(worker): _in_words(about) for worker, about in said.items()}

    def end(self, work: str) -> None:
        """End what runs of a piece of work, on all workers."""
        with suppress(Exception):  # a cluster in trouble has nothing to end
            self._client.run(close, work, on_error="ignore")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """With ``wait``, or without ``cancel_futures``, what was submitted is finished first. Children left running are ended."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pending = list(self._pending)
        if cancel_futures:
            for future in pending:
                future.cancel()
        else:
            _wait(pending)
        if self._client.status == "running":
            self.end(ORIGIN)
        with suppress(Exception):  # there is nothing left to lose, and nobody to tell
            self._client.close(timeout=CONNECT_S)

    def _ended(self, there: Any, future: Future[Any]) -> None:
        with self._lock:
            self._pending.discard(future)
        if future.cancelled() and self._client.status == "running":
            there.cancel(force=True)

    async def _follow(self, there: Any, future: Future[Any]) -> None:
        """In the client's loop: what becomes of a task, told to whoever waits for it."""
        from distributed import CancelledError, KilledWorker

        result: Any = None
        error: BaseException | None = None
        try:
            result = await there._result()
        except KilledWorker as killed:
            died = getattr(killed, "allowed_failures", 0) + 1
            error = WorkersLost(
                f"{died} workers died while they ran it, the last one {getattr(killed.last_worker, 'address', '?')}"
            )
        except (CancelledError, asyncio.CancelledError):
            error = self._lost()
        except ModuleNotFoundError as missing:
            error = remote.WorkerDiffers(f"a worker of {self.address} cannot run this: {missing}")
        except BaseException as raised:  # noqa: BLE001  # it is the caller's, wherever it was raised
            error = raised
        self._settle(future, result, error)

    def _settle(self, future: Future[Any], result: Any, error: BaseException | None) -> None:
        """Once: what was given up may still come to an end."""
        with self._lock:
            if future not in self._pending:
                return
            self._pending.discard(future)
        if not future.set_running_or_notify_cancel():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    async def _hand_out(self, event: tuple[float, Any]) -> None:
        """A worker wants a bundle."""
        key, worker = event[1]["key"], event[1]["worker"]
        files: Mapping[str, bytes] | None = None
        problem = ""
        try:
            files = await asyncio.to_thread(cargo.hand_out, key)
        except CargoError as error:
            problem = str(error)
        with suppress(Exception):  # the worker has died: its tasks go to others, which ask for themselves
            await self._client.run(receive, key, files, problem, workers=[worker])

    def _watch(self) -> None:
        """Gives up what waits where there is no worker, or no scheduler, to wait for."""
        seen = time.monotonic()
        while not self._closed:
            time.sleep(_TICK_S)
            if self._client.status in ("closing", "closed"):
                self._give_up(self._lost())
                return
            if not self._pending or self._client.scheduler_info().get("workers"):
                seen = time.monotonic()
            elif time.monotonic() - seen > self._no_workers_s:
                start = f"start one with: dask worker {self.address.partition('://')[2]}"
                self._give_up(
                    NoWorkers(f"the Dask scheduler at {self.address} has had no worker for {self._no_workers_s:g} s; {start}")
                )
                return

    def _give_up(self, error: HarnessError) -> None:
        with self._lock:
            pending = list(self._pending)
        for future in pending:
            self._settle(future, None, error)

    def _lost(self) -> SchedulerLost:
        return SchedulerLost(f"the Dask scheduler at {self.address} was lost")


_wait = wait


def _in_words(about: Mapping[str, Any]) -> str:
    torch = about["packages"].get("torch", "none")
    return f"{about['os']}, {about['cpu']}, {about['cores']} cores, Python {about['python']}, torch {torch}"


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
