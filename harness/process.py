"""Run a job in a process of its own, within limits, and say how it ended. The parent's side of isolation.

On POSIX jobs are started by a supervisor process (``harness.supervisor``); on Windows directly, each in a Job Object. Either way
a job's whole tree ends with it, at its time limit, or when this process ends, however that happens.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from harness import minidump
from harness.worker_files import START_VARIABLE, STDERR, STDOUT

MAX_OUTPUT_BYTES = 256 << 20
INTERRUPTED = "the run was interrupted"
_TICK_S = 0.05
_START_LIMIT_S = 120.0
Clock = Callable[[], float]
"""Seconds that a job has left; asked again and again from its start."""
_END_WAIT_S = 30.0
"""What a process that was ended may take to go. One inside a display driver goes only when Windows resets the GPU: after TdrDelay,
for which docs/windows.md says 10."""


@dataclass(frozen=True)
class Ended:
    """How a job's process ended. ``code`` is None when nobody could tell; then ``lost`` says why."""

    code: int | None
    seconds: float
    timed_out: bool = False
    output_bytes: int | None = None  # set when the job was ended for writing more than the limit
    lost: str | None = None


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Launcher(Protocol):
    """Starts jobs. ``run`` blocks until the job has ended and may be called from many threads; ``close`` ends all jobs.

    ``environment`` is set in the job besides what all jobs have. A limit is seconds from the job's start, or a clock.
    """

    preloaded: bool

    def run(
        self, name: str, folder: Path, argv: list[str] | None, limit: float | Clock, memory_limit_bytes: int | None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended: ...  # fmt: skip

    def close(self) -> None: ...


def worker_argv(folder: Path) -> list[str]:
    """The command that does the job in ``folder`` in a fresh interpreter."""
    return [sys.executable, "-P", "-m", "harness.worker", str(folder)]


PRELOAD = ("numpy", "harness.worker", "sim3solve.reference", "sim3solve.native")
PRELOAD_TORCH = ("torch", "sim3solve.pytorch", "harness.torch_layout")


def open_launcher(log: Path, *, preload: tuple[str, ...] = PRELOAD + PRELOAD_TORCH, threads: int | None = None) -> Launcher:
    """A launcher for this operating system. ``threads`` bounds the arithmetic threads of each job.

    Where jobs can be forked they find the modules of ``preload`` imported; an empty one makes each a fresh interpreter.
    """
    environment = child_environment(threads)
    if os.name == "nt":
        return WindowsLauncher(environment)
    return SupervisedLauncher(log, environment, preload=preload if sys.platform == "linux" else ())


def child_environment(threads: int | None) -> dict[str, str]:
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    if threads is not None:
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "SIM3SOLVE_THREADS")
        environment |= dict.fromkeys(variables, str(threads))
    return environment


def wait_within(ended: threading.Event, folder: Path, limit: float | Clock, start: float) -> tuple[bool, int | None]:
    """Wait for an end, the time limit or too much output. Returns (timed out, bytes written when that was too much)."""

    def left() -> float:
        return limit() if callable(limit) else start + limit - time.monotonic()

    while not ended.wait(min(_TICK_S, max(0.0, left()))):
        if left() <= 0:
            return True, None
        written = sum(file.stat().st_size for file in (folder / STDOUT, folder / STDERR) if file.exists())
        if written > MAX_OUTPUT_BYTES:
            return False, written
    return False, None


class _Pending:
    """A job asked for: whether it has started, and how it ended."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()
        self.code: int | None = None
        self.lost: str | None = None

    def end(self, code: int | None, lost: str | None) -> None:
        self.code, self.lost = code, lost
        self.started.set()
        self.ended.set()


class SupervisedLauncher:
    """Asks a supervisor process; starts it when first needed and again should it die, which costs only the jobs in flight."""

    def __init__(self, log: Path, environment: dict[str, str], *, preload: tuple[str, ...]) -> None:
        self.preloaded = bool(preload)
        self._preload = preload
        self._log, self._environment = log, environment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pending: dict[str, _Pending] = {}
        self._closed = False
        self._numbers = itertools.count()
        self._ready = False  # it has answered at least once
        self._alive = False  # its replies can still come; false a little before the system says that it is dead

    def run(
        self, name: str, folder: Path, argv: list[str] | None, limit: float | Clock, memory_limit_bytes: int | None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:  # fmt: skip
        more = dict(environment or {})
        name = f"{name}#{next(self._numbers)}"  # tasks of several runs may have one name
        pending = self._ask(name, folder, argv, more)
        if pending.lost is not None and not self._ready and not self._closed:
            # It died of a module it was to import first. The next one imports none, so that only who needs that module dies.
            pending = self._ask(name, folder, argv, more)
        if not pending.started.is_set():
            return Ended(None, _START_LIMIT_S, lost=f"the supervisor started nothing in {_START_LIMIT_S:.0f} s; see {self._log}")
        start = time.monotonic()
        timed_out, output_bytes = wait_within(pending.ended, folder, limit, start)
        if timed_out or output_bytes:
            self._send({"kill": name})
            if not pending.ended.wait(_END_WAIT_S):
                pending.lost = f"the process could not be ended in {_END_WAIT_S:.0f} s"
        seconds = time.monotonic() - start
        # It may have ended by itself between the limit and the kill; then that end is the truth.
        killed_by_us = pending.code == -9 or pending.code is None
        return Ended(pending.code, seconds, timed_out and killed_by_us, output_bytes if killed_by_us else None, pending.lost)

    def _ask(self, name: str, folder: Path, argv: list[str] | None, environment: dict[str, str]) -> _Pending:
        """Ask for a job and wait until it has started, or never will: preloading does not count against the job."""
        pending = _Pending()
        self._send({"start": name, "folder": str(folder), "argv": argv, "environment": environment}, name, pending)
        pending.started.wait(_START_LIMIT_S)
        return pending

    def close(self) -> None:
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def _send(self, command: dict[str, Any], name: str | None = None, pending: _Pending | None = None) -> None:
        line = json.dumps(command).encode() + b"\n"
        with self._lock:
            if self._closed:
                if pending is not None:
                    pending.end(None, INTERRUPTED)
                return
            if self._process is None:
                self._start()
            elif not self._alive or self._process.poll() is not None:
                if not self._ready:
                    self._preload = ()
                self._start()
            if pending is not None and name is not None:
                self._pending[name] = pending
            assert self._process is not None and self._process.stdin is not None
            with contextlib.suppress(OSError):  # it died: the reader tells all who wait
                self._process.stdin.write(line)
                self._process.stdin.flush()

    def _start(self) -> None:
        argv = [sys.executable, "-P", "-m", "harness.supervisor", *self._preload]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=self._environment, bufsize=0
            )
        assert self._process.stdout is not None
        self._pending = {}
        self._alive = True
        threading.Thread(target=self._read, args=(self._process, self._process.stdout, self._pending), daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes], replies: IO[bytes], pending: dict[str, _Pending]) -> None:
        for line in replies:
            reply = json.loads(line)
            self._ready = self._ready or "ready" in reply
            waiter = pending.get(reply.get("id", ""))
            if waiter is None:
                continue
            if "pid" in reply:
                waiter.started.set()
                continue
            del pending[reply["id"]]
            waiter.end(reply.get("code"), reply.get("error"))
        with self._lock:  # from here on nobody is added to those who wait for this one
            if self._process is process:
                self._alive = False
        for waiter in list(pending.values()):
            waiter.end(None, INTERRUPTED if self._closed else f"the supervisor died; see {self._log}")


def _wait_for(process: subprocess.Popen[bytes], ended: threading.Event) -> None:
    process.wait()
    ended.set()


class WindowsLauncher:
    """Starts each job as a new interpreter inside a Job Object that ends with its handle, so with this process too."""

    preloaded = False

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        dumps = minidump.local_dumps(Path(sys.executable).name)
        self._dumps = dumps is not None and dumps.quiet
        self._jobs: set[Any] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def run(
        self, name: str, folder: Path, argv: list[str] | None, limit: float | Clock, memory_limit_bytes: int | None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:  # fmt: skip
        from harness.windows_job import JobObject

        if self._closing.is_set():
            return Ended(None, 0.0, lost=INTERRUPTED)
        start = time.monotonic()
        with open(folder / STDOUT, "wb") as out, open(folder / STDERR, "wb") as err:
            job = JobObject(memory_limit_bytes, dumps=self._dumps)
            with self._lock:
                self._jobs.add(job)
            try:
                variables = self._environment | {START_VARIABLE: str(time.time())} | dict(environment or {})
                process = job.start(argv or worker_argv(folder), out, err, variables)
                if self._closing.is_set():  # it came into the job after ``close`` had ended all that was in it
                    job.terminate()
                ended = threading.Event()
                threading.Thread(target=_wait_for, args=(process, ended), daemon=True).start()
                timed_out, output_bytes = wait_within(ended, folder, limit, start)
                job.terminate()
                gone = ended.wait(_END_WAIT_S)
            finally:
                with self._lock:
                    self._jobs.discard(job)
                job.close()
        seconds = time.monotonic() - start
        if not gone:
            return Ended(None, seconds, timed_out, output_bytes, f"process {process.pid} could not be ended in {_END_WAIT_S:.0f} s")
        code = process.returncode & 0xFFFFFFFF
        if code != JobObject.EXIT_CODE:
            return Ended(code, seconds)
        if self._closing.is_set() and not timed_out and output_bytes is None:
            return Ended(None, seconds, lost=INTERRUPTED)
        return Ended(code, seconds, timed_out, output_bytes)

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            for job in self._jobs:
                job.terminate()
