"""What the tasks of one piece of work need in whatever process runs them: a folder for scratch, and what starts their children.

A process keeps both from one task to the next, until somebody calls ``close`` with the name of that work.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness import dask_worker
from harness.cargo import ORIGIN
from harness.process import Launcher, cores, open_launcher

_IDLE_S = 600.0


@dataclass(frozen=True)
class Site:
    """A piece of work. Its scratch lies in ``folder`` in the process called ``origin``, in a temporary folder in any other.

    ``threads`` is what each child may use there; on a worker the tasks it runs at once share the cores.
    """

    work: str
    origin: str = ""
    folder: str = ""
    threads: int = 1


def site(folder: Path, threads: int = 1) -> Site:
    """A new piece of work of this process, with its scratch in ``folder``."""
    return Site(secrets.token_hex(8), ORIGIN, str(folder.resolve()), threads)


class Bench:
    """One work's, in this process."""

    def __init__(self, it: Site) -> None:
        here = it.origin == ORIGIN
        self.folder = Path(it.folder) if here else Path(tempfile.mkdtemp(prefix="harness-", dir=_scratch()))
        self.used, self.running = time.monotonic(), 0
        self._temporary, self._threads = not here, it.threads if here else max(1, cores() // _at_once())
        self._lock = threading.Lock()
        self._launchers: dict[tuple[str, ...], Launcher] = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        with self._lock:
            self.running += 1
        try:
            yield
        finally:
            with self._lock:
                self.running -= 1
                self.used = time.monotonic()

    def launcher(self, preload: tuple[str, ...]) -> Launcher:
        """One that has imported these modules: who needs no torch waits for none."""
        with self._lock:
            if preload not in self._launchers:
                log = self.folder / "supervisor.log"
                self._launchers[preload] = open_launcher(log, preload=preload, threads=self._threads)
            return self._launchers[preload]

    def close(self) -> None:
        with self._lock:
            launchers = list(self._launchers.values())
        for launcher in launchers:
            with suppress(OSError):
                launcher.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


_benches: dict[tuple[int, str], Bench] = {}
_lock = threading.Lock()


def bench(it: Site) -> Bench:
    """Those of works whose process died without a word are closed on the way."""
    with _lock:
        for key, other in list(_benches.items()):
            if key[1] != it.work and not other.running and time.monotonic() - other.used > _IDLE_S:
                _benches.pop(key).close()
        key = (os.getpid(), it.work)  # a forked process must not use its parent's
        if key not in _benches:
            _benches[key] = Bench(it)
        return _benches[key]


def close(work: str) -> None:
    """End all children of a work in this process, and what starts them. Tasks of it that come later start anew."""
    with _lock:
        closed = _benches.pop((os.getpid(), work), None)
    if closed is not None:
        closed.close()


@atexit.register
def _close_all() -> None:
    for pid, work in list(_benches):
        if pid == os.getpid():
            close(work)


def _scratch() -> str | None:
    """A Dask worker has a folder that is cleared even after it was killed."""
    worker = dask_worker.current()
    return None if worker is None else str(worker.local_directory)


def _at_once() -> int:
    """How many tasks this process runs at once, as far as it can be known."""
    worker = dask_worker.current()
    return cores() if worker is None else int(worker.state.nthreads)
