"""``harness probe``: climb the op ladder of a Lie-group library and say which rung breaks."""

from __future__ import annotations

import json as jsonlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness.cli import console
from harness.cli.jsonout import Json, Out, give, ready
from harness.cli.patterns import expanded
from harness.errors import SolverUnavailable, UsageError
from harness.probe import climb
from harness.probe.conclusion import conclusion, findings, first_failing
from harness.probe.rungs import ALL_OPS, CRASH, ERROR, OK, UNAVAILABLE, WRONG, Result
from harness.replay import Interrupted

TARGETS = ("lietorch", "pypose")
_TARGET = "lietorch, pypose, or a FILE.py with classes SO3, RxSO3, SE3, Sim3 like lietorch's."
_AUDIT = "Objects or libraries to audit too, should the CUDA path die. Repeatable."
FORKS = hasattr(os, "fork")
_AUDIT_LIMIT_S = 120
_FRESH = "Start a new Python after each death instead of forking one that has loaded the library."
EXAMPLES = "Examples: harness probe pypose | harness probe lietorch --device cuda | harness probe my_groups.py --json"


def command(
    target: Annotated[str, typer.Argument(help=_TARGET)] = "lietorch",
    device: Annotated[str, typer.Option(help="auto (CPU, and the GPU where there is one), cpu, cuda or cuda:N.")] = "auto",
    rung_timeout: Annotated[float, typer.Option(min=0.5, help="Seconds one call may take.")] = climb.RUNG_LIMIT_S,
    jobs: Annotated[int, typer.Option(min=0, help="Children at once; 0 for half the cores, 8 at most.")] = 0,
    fresh_interpreter: Annotated[bool, typer.Option("--fresh-interpreter", help=_FRESH)] = False,
    audit: Annotated[list[Path] | None, typer.Option(help=_AUDIT)] = None,
    out: Out = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Try every Lie-group operation in every dtype, device, batch, layout, stream and thread, where it may die, against float64."""
    devices = _devices(device)
    files = expanded(audit or [])
    ready(out)
    with _ended_by_term(), tempfile.TemporaryDirectory(prefix="harness-probe-") as folder, _progress(json) as show:
        climber = climb.Climb(_target(target), Path(folder), devices, rung_timeout, jobs, FORKS and not fresh_interpreter)
        try:
            probe = climber.run(show)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; the processes of the probe are ended, and nothing is kept") from None
    if probe.missing:
        raise SolverUnavailable(probe.broken)
    text = f"{target}: {probe.broken}." if probe.broken else conclusion(target, probe.results)
    text += _audited(probe, files)
    first = first_failing(probe.results)
    document = {
        "target": target, "environment": probe.environment, "rungs": [result.to_json() for result in probe.results],
        "first_failing": first.to_json() if first else None, "conclusion": text,
    }  # fmt: skip
    give(document, json=json, out=out)
    if not json:
        _print(probe, first, text)
    raise typer.Exit(1 if first is not None or probe.broken else 0)


def _target(target: str) -> str:
    if target in TARGETS:
        return target
    if not target.endswith(".py"):
        raise UsageError(f"probe {target}: must be {', '.join(TARGETS)} or a FILE.py")
    path = Path(target).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"probe {target}: no file {path}")
    return str(path)


def _devices(device: str) -> tuple[str, ...]:
    if device == "auto":
        return ()
    if device == "cpu" or (device.startswith("cuda:") and device[5:].isdigit()):
        return (device,)
    if device == "cuda":
        return ("cuda:0",)
    raise UsageError(f"--device {device}: must be auto, cpu, cuda or cuda:N")


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """SIGTERM is Ctrl-C to what is in here: processes are ended and the folder goes."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(quiet: bool) -> Iterator[climb.Progress | None]:
    if quiet:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("climbing"), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console.err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, deaths: bar.update(task, description=f"{done} rungs" + (f", [red]{deaths} deaths[/]" if deaths else ""))


def _audited(probe: climb.Probe, files: list[Path]) -> str:
    """The audit's word on a CUDA path that dies, by ``harness audit`` in a process of its own; empty when it is not asked."""
    if not any("collision" in finding.cause for finding in findings(probe.results)):
        return ""
    if "extension" in probe.environment:
        files = [Path(probe.environment["extension"]), *files]
    if not files:
        return ""
    argv = [sys.executable, "-P", "-m", "harness", "audit", *map(str, files), "--json"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_AUDIT_LIMIT_S, check=False)
        collisions = jsonlib.loads(done.stdout)["collisions"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return f" The audit could not be made; by hand: harness audit {' '.join(map(str, files))}."
    if not collisions:
        names = ", ".join(file.name for file in files)
        return (
            f" The audit of {names} finds no colliding symbol, which does not refute it: a linked file no longer shows what was "
            "folded. Give it the objects: --audit lietorch_cpu.o --audit lietorch_gpu.o."
        )
    name = collisions[0].get("demangled") or collisions[0].get("symbol")
    return f" The audit confirms it: {len(collisions)} symbols defined in both host and CUDA code, {name} for one."


def _print(probe: climb.Probe, first: Result | None, text: str) -> None:
    escape = console.escape
    for name, value in probe.environment.items():
        console.out.print(f"{name}: {escape(str(value))}", style="dim")
    if probe.results:
        columns = list(dict.fromkeys((r.rung.device, r.rung.group) for r in probe.results))
        rows = []
        for op in ALL_OPS:
            cells = [
                [r for r in probe.results if r.rung.op == op and (r.rung.device, r.rung.group) == column] for column in columns
            ]
            rows.append([op, *map(_cell, cells)])
        console.out.print(console.table(["op", *(f"{device} {group}" for device, group in columns)], rows))
        counts = {word: sum(r.result == word for r in probe.results) for word in (OK, WRONG, CRASH, ERROR, UNAVAILABLE)}
        console.out.print(", ".join(f"{n} {word}" for word, n in counts.items() if n))
    if first is not None:
        console.out.print(f"first failing rung: {escape(str(first.rung))}: {first.result}: {escape(first.detail)}")
    console.out.print(escape(text))


def _cell(results: Sequence[Result]) -> str:
    """One cell: ok, or the worst that happens and to how many of the rungs that were tried."""
    tried = [r for r in results if r.result != UNAVAILABLE or r.not_climbed]
    if not tried:
        return "[dim]-[/]"
    failed = [r for r in tried if r.result != OK]
    if not failed:
        return "[green]ok[/]"
    words = []
    for kind in (CRASH, ERROR, WRONG):
        some = [r for r in failed if r.result == kind]
        if some:
            extra = f" {some[0].exit['name']}" if some[0].exit else f" {some[0].detail.split()[0]}" if kind == CRASH else ""
            errors = [r.error for r in some if r.error is not None]
            extra += f" {max(errors):.1g}" if errors else ""
            words.append(f"[red]{kind}{console.escape(extra)}[/]")
    return f"{', '.join(words)} {len(failed)}/{len(tried)}"
