"""Ask a program: within a time limit and a bound on what it may say, and with nothing of it left behind. Never raises for it.

``Asker.child`` asks one of our own children (``harness.doctor.inside``), in which alone torch, a driver or foreign code is loaded.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.exitcode import decode
from harness.process import child_environment

MAX_BYTES = 1 << 20
GRACE_S = 3.0
"""How much longer than its own limit a child of ours gets, to start and to say by itself where it hangs."""

_TICK_S = 0.02
_LOOKS_FIRST = hasattr(os, "waitid")
"""Whether an end can be seen without reaping the process (not on Windows, on macOS from Python 3.13)."""
_HUNG = "Timeout ("  # how faulthandler begins when the child's own limit is over
_DIED = "Fatal Python error:"
_FRAME = re.compile(r'File "([^"\n]{1,500})", line (\d{1,9}) in (\S{1,200})')


@dataclass(frozen=True)
class Answer:
    """What a program said. ``problem`` tells why it did not come to an end of its own; ``code`` is None then."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float
    problem: str | None = None

    @property
    def said(self) -> str:
        return (self.stdout + "\n" + self.stderr).strip()

    @property
    def ended(self) -> str:
        """How it ended, in words, for an answer that cannot be used."""
        if self.problem is not None:
            return self.problem
        assert self.code is not None
        how = decode(self.code)
        return f"{how.name} ({how.meaning})" if how.crashed else how.name


@dataclass(frozen=True)
class Problem:
    """Why a child of ours has no answer. ``kind``: hung, died (a crash), failed (it said an error), lost (anything else)."""

    kind: str
    message: str


Told = dict[str, Any] | Problem
"""What a child answered. Its fields are as its docstring says."""


class Asker:
    """Asks programs from any thread. ``close`` ends all that are still at it, and no other begins."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._asking = 0

    def program(self, argv: Sequence[str], *, limit_s: float | None = None, max_bytes: int = MAX_BYTES) -> Answer:
        """Run a command with no input and wait for its end."""
        return self._run(list(argv), None, self.limit_s if limit_s is None else limit_s, max_bytes)

    def child(self, question: str, *words: str) -> Told:
        """The answer of ``harness.doctor.inside`` to a question; its fields are the child's own and still to be judged."""
        argv = [sys.executable, "-P", "-m", "harness.doctor.inside", question, f"{self.limit_s:g}", *words]
        answer = self._run(argv, child_environment(None), self.limit_s + GRACE_S, MAX_BYTES)
        if answer.problem is None and answer.code == 0:
            return _document(answer)
        hung = _HUNG in answer.stderr or (answer.problem or "").startswith("took over")
        if hung:
            return Problem("hung", f"took over {self.limit_s:g} s{_where(answer.stderr)}")
        if answer.problem is not None:
            return Problem("lost", answer.problem)
        assert answer.code is not None
        crashed = decode(answer.code).crashed or _DIED in answer.stderr
        message = f"the process that tried it ended with {answer.ended}{_where(answer.stderr)}"
        return Problem("died" if crashed else "lost", message + ("" if crashed else f": {answer.stderr[-500:]}"))

    def close(self, wait_s: float = 3.0) -> None:
        self._closing.set()
        end = time.monotonic() + wait_s
        while self._asking and time.monotonic() < end:
            time.sleep(_TICK_S)

    def _run(self, argv: list[str], environ: dict[str, str] | None, limit_s: float, max_bytes: int) -> Answer:
        with self._lock:
            self._asking += 1
        try:
            return self._watch(argv, environ, limit_s, max_bytes)
        finally:
            with self._lock:
                self._asking -= 1

    def _watch(self, argv: list[str], environ: dict[str, str] | None, limit_s: float, max_bytes: int) -> Answer:
        start = time.monotonic()
        if self._closing.is_set():
            return Answer(None, "", "", 0.0, "was not asked: interrupted")
        try:
            running = _Running(argv, environ, max_bytes)
        except (OSError, ValueError) as error:  # ValueError: a NUL in a word or a variable
            return Answer(None, "", "", 0.0, f"cannot be started: {getattr(error, 'strerror', None) or error}")
        problem = None
        while not running.ended(_TICK_S):
            if running.too_much.is_set():
                problem = f"wrote over {max_bytes} bytes and was ended"
            elif time.monotonic() - start >= limit_s:
                problem = f"took over {limit_s:g} s and was ended"
            elif self._closing.is_set():
                problem = "was ended: interrupted"
            if problem is not None:
                break
        code = running.end(kill=problem is not None)
        out, err = running.text()
        return Answer(None if problem else code, out, err, time.monotonic() - start, problem)


class _Running:
    """A started program and what it has said so far."""

    def __init__(self, argv: list[str], environ: dict[str, str] | None, max_bytes: int) -> None:
        self.too_much = threading.Event()
        self._max_bytes = max_bytes
        self._job: Any = None
        pipe: Any = subprocess.PIPE
        if os.name == "nt":
            from harness.windows_job import JobObject

            self._job = JobObject(None)  # its whole tree ends with it, and no dialogue of a crash waits for a click
            self._process = self._job.start(argv, pipe, pipe, dict(os.environ) if environ is None else environ)
        else:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environ, start_new_session=True
            )
        self._said: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._readers = [
            threading.Thread(target=self._read, args=(stream, kept), daemon=True)
            for stream, kept in zip((self._process.stdout, self._process.stderr), self._said, strict=True)
        ]
        for reader in self._readers:
            reader.start()

    def ended(self, wait_s: float) -> bool:
        if _LOOKS_FIRST:  # looked at without reaping it, so that its number stays its own until ``end``
            time.sleep(wait_s)
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, *, kill: bool) -> int:
        """Make sure that it is over, and what it started with it. Returns the code it ended with."""
        if kill and self._job is not None:
            self._job.terminate()
        elif self._job is None and (kill or _LOOKS_FIRST):
            try:  # it is not reaped yet, so the number is still its own
                os.killpg(self._process.pid, signal.SIGKILL)
            except OSError:  # it became somebody else's, as a setuid program does, or has ended
                self._process.kill()
        try:
            code = int(self._process.wait(5))
        except subprocess.TimeoutExpired:  # in a system call of the driver that does not come back: nothing ends it
            code = -9
        for reader in self._readers:
            reader.join(0.5)  # what it left running may hold the pipe; then what came so far is the answer
        if self._job is not None:
            self._job.close()
        return code

    def text(self) -> tuple[str, str]:
        out, err = (bytes(kept).decode("utf-8", "replace") for kept in self._said)
        return out, err

    def _read(self, stream: IO[bytes], kept: bytearray) -> None:
        while piece := os.read(stream.fileno(), 1 << 16):
            kept += piece[: max(0, self._max_bytes - len(kept))]
            if len(kept) >= self._max_bytes:
                self.too_much.set()
                return  # the pipe stays open and fills up: closing it would give the program another end than ours
        stream.close()


def _document(answer: Answer) -> Told:
    try:
        document = json.loads(answer.stdout)
    except (ValueError, RecursionError):
        return Problem("lost", f"the process that tried it ended without an answer: {answer.said[-300:]}")
    if not isinstance(document, dict):
        return Problem("lost", "the answer is no object")
    if "error" in document:
        return Problem("failed", str(document["error"]))
    return document


def _where(stderr: str) -> str:
    """The innermost Python frame that faulthandler wrote, and the innermost that is not Python's own library's."""
    for begin in (_HUNG, _DIED):
        _, found, trace = stderr.rpartition(begin)
        frames = _FRAME.findall(trace) if found else []
        if frames:
            foreign = next((frame for frame in frames if not _is_pythons(frame[0])), frames[0])
            called = "" if foreign == frames[0] else f", called by {foreign[2]} ({foreign[0]}:{foreign[1]})"
            return f", in {frames[0][2]} ({frames[0][0]}:{frames[0][1]}){called}"
    return ""


def _is_pythons(file: str) -> bool:
    return file.startswith(("<frozen", str(Path(os.__file__).parent))) and "site-packages" not in file
