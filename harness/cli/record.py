"""``harness record``: run a SLAM program as it is; keep what its pose solver was given and what it did; say how it all ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.casefile import read_case
from harness.cli import console
from harness.commandline import command_line, found_on_path
from harness.diagnosis.bugs import Bug
from harness.diagnosis.documents import Documents
from harness.diagnosis.ofrun import bugs_of_recordings
from harness.diagnosis.rule import NOT_KNOWN
from harness.errors import CaseError, UsageError
from harness.exitcode import decode
from harness.jsonfile import dumps
from harness.outcome import Exit
from harness.record.ending import write_run
from harness.record.limits import short_of_space
from harness.record.minidumps import Left, left_by
from harness.record.settings import TRACKER, Settings
from harness.record.summary import Recorded, RecordedCall, read_recorded
from harness.registry import of_tracker

HOOK = "sim3solve-record.pth"
_WORDS = {
    "returned": "came back with two poses", "not_a_pose": "came back without two finite poses", "raised": "raised",
    "interrupted": "interrupted", "never_returned": "never came back", "still_running": "still running",
}  # fmt: skip
_SHOWN = 10

_EVERY = "Record every k-th call of each process."
_LAST = "Of the calls that came back well keep the last K of each process. Failed ones are kept as well."
_ON_FAILURE = "Keep a call only if it raised, gave no finite pose, or the process died in it."
_MAX_BYTES = "Bytes that the run's cases may take. Then the oldest calls that came back well make room."
_LIVE = "No wait for the disk, and only failures kept: for live runs. Survives the death of the process, not of the machine."
_TRACKER = "The class whose opt_pose_* methods are recorded, MODULE:CLASS."


EXAMPLES = (
    "Examples: harness record --out recorded -- python main.py --dataset datasets/tum/desk | "
    "harness record --out recorded --live -- python main.py --dataset realsense"
)


def command(
    program: Annotated[list[str], typer.Argument(help="The program, as it is always started.")],
    out: Annotated[Path, typer.Option(help="Folder that gets the cases.")] = Path("recorded"),
    every: Annotated[int, typer.Option(min=1, help=_EVERY)] = Settings.every,
    last: Annotated[int | None, typer.Option(min=1, help=_LAST)] = None,
    on_failure_only: Annotated[bool, typer.Option("--on-failure-only", help=_ON_FAILURE)] = False,
    max_bytes: Annotated[int, typer.Option(min=1 << 20, help=_MAX_BYTES)] = Settings.max_bytes,
    live: Annotated[bool, typer.Option("--live", help=_LIVE)] = False,
    tracker: Annotated[str, typer.Option(help=_TRACKER)] = TRACKER,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout; the program's own output goes to stderr.")
    ] = False,
) -> None:
    """Run a SLAM program unchanged and record its pose solver: every input on disk before the call, what happened after it.

    Exit code 1 when a call failed, the program did, or what should have been recorded was not; 130 when it was interrupted and
    nothing else happened.
    """
    settings = Settings(out, every, last, on_failure_only, max_bytes, live, tracker)
    start = time.time()
    if short := short_of_space(settings.out, max_bytes):
        console.err.print(f"[yellow]recording:[/] {console.escape(short)}")
    exit, pid, interrupted = _run(program, settings, sys.stderr if json else None)
    recorded = read_recorded(settings)
    bugs = _bugs(recorded)
    died = exit.crashed or any(call.state == "never_returned" for call in recorded.calls)
    left = left_by([*recorded.processes, pid], start, program[0]) if died else None
    if json:
        document = _document(recorded, program, exit, time.time() - start, interrupted)
        document |= {"bugs": [bug.to_json() for bug in bugs], "minidumps": left.to_json() if left else None}
        sys.stdout.write(dumps(document) + "\n")
    else:
        _show(recorded, exit, left, bugs)
    failed = recorded.failed or recorded.incomplete or (not interrupted and (exit.code or recorded.missed))
    raise typer.Exit(1 if failed else 130 if interrupted else 0)


def _run(command: list[str], settings: Settings, stdout: Any) -> tuple[Exit, int, bool]:
    """Run the program to its end, which is kept beside the cases. Returns it, the process id, and whether Ctrl-C was pressed.

    Raises ``UsageError``.
    """
    pressed: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def on_interrupt(number: int, _frame: object) -> None:
        pressed.append(number)  # the program got it too, and decides; this process stays for what it leaves

    def pass_on(number: int, _frame: object) -> None:
        if process is not None:
            process.send_signal(number)

    # Handlers, not SIG_IGN, which the program would inherit; but what is ignored already, as by nohup, stays so.
    wanted = {signal.SIGINT: on_interrupt, signal.SIGTERM: pass_on} | ({signal.SIGHUP: pass_on} if os.name == "posix" else {})
    handlers = {
        number: signal.signal(number, handler) for number, handler in wanted.items() if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(found_on_path(command), env=_environment(settings), stdout=stdout)
        write_run(settings, command, process.pid)
        exit = decode(process.wait())
        write_run(settings, command, process.pid, exit)
        return exit, process.pid, bool(pressed)
    except OSError as error:
        raise UsageError(f"{error.filename or command[0]}: {error.strerror or error}") from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _bugs(recorded: Recorded) -> tuple[Bug, ...]:
    """What the calls that failed say of their cause, of the first ones."""
    cases = []
    for call in recorded.failed[:_SHOWN]:
        with suppress(CaseError):  # damaged since it was written: the summary says so
            cases.append(read_case(call.folder))
    return bugs_of_recordings(cases, Documents())


def _environment(settings: Settings) -> dict[str, str]:
    environment = dict(os.environ) | settings.to_environment()
    if not Path(sysconfig.get_path("purelib"), HOOK).is_file():
        # Not installed, a checkout on PYTHONPATH: Python finds our sitecustomize first, and that finds the next one.
        root = Path(__file__).resolve().parents[2]
        paths = [str(root / "harness" / "record" / "startup"), str(root), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def _show(recorded: Recorded, exit: Exit, left: Left | None, bugs: Sequence[Bug]) -> None:
    escape, out = console.escape, console.out
    counts = Counter(call.state for call in recorded.calls)
    if recorded.calls:
        words = ", ".join(f"{counts[state]} {_WORDS[state]}" for state in _WORDS if counts[state])
        n = len(recorded.calls)
        out.print(f"recorded {n} call{'s' * (n != 1)} ({recorded.n_bytes / 1e6:.1f} MB) in {escape(str(recorded.out))}: {words}")
    else:
        out.print(f"[yellow]nothing recorded:[/] {escape(recorded.why_empty)}")
        if recorded.remedy:
            out.print(f"  {escape(recorded.remedy)}")
    strange = [call for call in recorded.calls if call.state != "returned"]
    for call in strange[:_SHOWN]:
        out.print(_line(call))
    if len(strange) > _SHOWN:
        out.print(f"and {len(strange) - _SHOWN} more; --json lists all")
    for problem in recorded.problems:
        out.print(f"[yellow]recording:[/] {escape(problem['reason'])}")
    colour = "red" if exit.crashed else "yellow" if exit.code else "green"
    out.print(f"[{colour}]the program: {escape(exit.name)}[/], {escape(exit.meaning)}")
    if left is not None:
        out.print(escape(left.words))
    for bug in (bug for bug in bugs if bug.diagnosis.confidence != NOT_KNOWN):
        out.print(f"[bold red]{escape(bug.diagnosis.sentence)}[/] {escape(bug.diagnosis.cause)} ({bug.diagnosis.confidence})")
    if recorded.failed:
        out.print(f"diagnose: {escape(command_line(['python', '-m', 'harness', 'diagnose', str(recorded.out)]))}")
    if recorded.calls:
        out.print(f"replay: {escape(_replay(recorded))}")


def _line(call: RecordedCall) -> str:
    took = f" after {call.seconds:.2f} s" if call.seconds is not None else ""
    words = f": {call.words}" if call.words else ""
    exit = call.document.recorded.exit
    words += f": {exit.name}, {exit.meaning}" if exit else ""
    text = f"[red]{_WORDS[call.state]}[/]{took}: {console.escape(f'{call.folder}, {call.document.title}{words}')}"
    stack = [line.strip() for line in call.document.recorded.stack.splitlines() if line.strip()]
    return "\n".join([text, *(console.escape(f"  {line}") for line in stack[:8])])


def _replay(recorded: Recorded) -> str:
    """The command that replays what failed, through its own tracker and through one that is not it; everything when nothing did."""
    failed = recorded.failed[-3:]
    words = ["python", "-m", "harness", "replay", *([str(call.folder) for call in failed] or [str(recorded.out)])]
    own = sorted({solver for call in failed if (solver := of_tracker(call.document.recorded.tracker))})
    for solver in [*own, "torch"] if own else ():
        words += ["--solver", solver]
    return command_line(words)


def _document(recorded: Recorded, command: list[str], exit: Exit, seconds: float, interrupted: bool) -> dict[str, Any]:
    processes = []
    for pid, journal in recorded.processes.items():
        said = {line["event"]: line for line in journal}
        closed = said.get("closed", {})
        processes.append(
            {"pid": pid, "argv": said.get("loaded", {}).get("argv"), "tracker": "tracker" in said, "calls": closed.get("calls"),
             "recorded": closed.get("recorded"), "median_ms": closed.get("median_ms")}
        )  # fmt: skip
    counts = Counter(call.state for call in recorded.calls)
    problems = [{"pid": p.get("pid"), "reason": p["reason"], "gpu_dead": p.get("gpu_dead", False)} for p in recorded.problems]
    return {
        "out": str(recorded.out), "command": command, "seconds": seconds, "interrupted": interrupted, "bytes": recorded.n_bytes,
        "exit": vars(exit), "counts": {state: counts[state] for state in _WORDS}, "problems": problems,
        "calls": [call.to_json() for call in recorded.calls], "why_empty": recorded.why_empty or None,
        "remedy": recorded.remedy or None, "processes": processes, "replay": _replay(recorded) if recorded.calls else None,
    }  # fmt: skip
