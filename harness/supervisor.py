"""The process that starts, watches and ends jobs on POSIX: forks them from preloaded imports, or executes a command.

It speaks JSON lines. On stdin: ``{"start": id, "folder": ..., "argv": null | [...], "environment": {...}}`` and ``{"kill": id}``;
on stdout: ``{"id", "pid"}`` and ``{"id", "code"}`` with ``code`` as ``subprocess`` has it (-N for signal N).

Only this process is the parent of jobs, so it alone knows whether a process id is still theirs: nothing is killed by a stale
number. Each job leads a session of its own; when it ends, by itself or not, all that is left of its tree is killed. When stdin
closes, because the harness ended or was killed, every job is killed and this process ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from harness.worker_files import JOB_VARIABLE, START_VARIABLE, STDERR, STDOUT

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Serve until stdin closes. The arguments are modules to import first, for forked jobs to find ready."""
    commands, replies = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # a preloaded module that prints must not speak on the reply channel
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for module in sys.argv[1:]:
        # A broken torch (OSError: a DLL is missing) must still let the others run; the children that need it report it.
        with contextlib.suppress(ImportError, OSError, RuntimeError):
            importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the harness's to handle; it then closes our stdin
    Supervisor(commands, replies).serve()


class Supervisor:
    def __init__(self, commands: int, replies: int) -> None:
        self.commands, self.replies = commands, replies
        self.jobs: dict[int, str] = {}  # pid -> id
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_write, False)
        os.set_blocking(self.wake_read, False)

    def serve(self) -> None:
        signal.set_wakeup_fd(self.wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(self.commands, selectors.EVENT_READ)
        selector.register(self.wake_read, selectors.EVENT_READ)
        buffer = b""
        self.reply({"ready": os.getpid()})
        while True:
            for key, _ in selector.select():
                if key.fd == self.wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake_read, 4096)
                    self.reap()
                    continue
                data = os.read(self.commands, 1 << 16)
                if not data:
                    self.end()
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self.obey(json.loads(line))

    def obey(self, command: dict[str, Any]) -> None:
        if "kill" in command:
            for pid, job in self.jobs.items():
                if job == command["kill"]:
                    kill_tree(pid)
            return
        try:
            pid = os.fork()
        except OSError as error:
            self.reply({"id": command["start"], "error": f"fork: {error.strerror}"})
            return
        if pid == 0:
            self.become_job(command)
        self.jobs[pid] = command["start"]
        self.reply({"id": command["start"], "pid": pid})

    def become_job(self, command: dict[str, Any]) -> NoReturn:
        code = 70
        try:
            os.setsid()
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            folder = Path(command["folder"])
            for name, descriptor in ((STDOUT, 1), (STDERR, 2)):
                file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
                os.dup2(file, descriptor)
            os.closerange(3, max(self.commands, self.replies, self.wake_read, self.wake_write, 64) + 1)
            os.environ.update({JOB_VARIABLE: command["start"], START_VARIABLE: str(time.time())} | command["environment"])
            if command["argv"] is not None:
                os.execvpe(command["argv"][0], command["argv"], os.environ)
            from harness.worker import run_job

            code = run_job(folder)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:  # noqa: BLE001  nothing may climb out of a forked child into the supervisor's loop
            import traceback

            with contextlib.suppress(BaseException):
                traceback.print_exc()
                sys.stderr.flush()
        finally:
            os._exit(code)

    def reap(self) -> None:
        """Report every job that ended. Its tree is killed while the zombie still holds the process id, so the id is still ours."""
        while (pid := _next_zombie()) is not None:
            job = self.jobs.pop(pid, None)
            if job is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if job is not None:  # else an orphan that came to us
                self.kill_orphans_of(job)
                self.reply({"id": job, "code": os.waitstatus_to_exitcode(status)})

    def kill_orphans_of(self, job: str) -> None:
        """Kill what escaped the ended job's session and so became our child: told by the job's name in its environment.

        One that never executed a program shows the environment of this process, without a name, and is killed as well.
        """
        for pid in _children(os.getpid()):
            if pid not in self.jobs and _job_of(pid) in (job, None):
                kill_tree(pid)

    def end(self) -> NoReturn:
        for pid in list(self.jobs):
            kill_tree(pid)
        for pid in _children(os.getpid()):
            kill_tree(pid)
        os._exit(0)

    def reply(self, document: dict[str, Any]) -> None:
        try:
            os.write(self.replies, json.dumps(document).encode() + b"\n")
        except BrokenPipeError:
            self.end()


def _next_zombie() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def kill_tree(pid: int) -> None:
    """SIGKILL a process, its group and all its descendants, wherever their sessions are."""
    below = _descendants(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for each in [pid, *below]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    todo = [pid]
    while todo:
        for child in _children(todo.pop()):
            found.append(child)
            todo.append(child)
    return found


def _children(pid: int) -> list[int]:
    """Direct children; empty where the system has no /proc (there the process group is all that is ended)."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (thread / "children").read_text().split()]
    return found


def _job_of(pid: int) -> str | None:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == JOB_VARIABLE.encode():
                return value.decode(errors="replace")
    return None


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
