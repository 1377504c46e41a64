"""``harness doctor``: what of this machine keeps a solver from running, and what to do about it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from harness.cli import console
from harness.cli.jsonout import Json, Out, give, ready
from harness.doctor import Asker, Check, Machine, examine

EXAMPLES = "Examples: harness doctor | harness doctor --out doctor.json | harness doctor --timeout 120 (a slow disk or scanner)"
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
_INTERRUPTED = 130


def command(
    timeout: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds each inquiry may take.")] = 30.0,
    reports: Annotated[Path, typer.Option(help="Folder that runs are written into: is there room?")] = Path("reports"),
    out: Out = None,
    json: Json = False,
) -> None:
    """Examine this machine: driver, GPUs, torch, toolkit, lietorch and other extensions, sanitizers, compiler, and each solver on a
    tiny problem. Every line is ok, warn, fail or skip, with what to do. Exit code 1 when one is fail."""
    ready(out)
    asker = Asker(timeout)
    try:
        with _progress(json) as show:
            checks = examine(Machine(reports=reports), asker, show)
    except KeyboardInterrupt:
        console.err.print("interrupted")
        raise typer.Exit(_INTERRUPTED) from None
    give({"checks": [check.to_json() for check in checks]}, json=json, out=out)
    if not json:
        _show(checks)
    raise typer.Exit(1 if any(check.state == "fail" for check in checks) else 0)


def _show(checks: list[Check]) -> None:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a path may hold what this terminal has no character for
    rows = [[f"[{_COLOURS[check.state]}]{check.state}[/]", console.escape(check.name), _words(check)] for check in checks]
    console.out.print(console.table(["", "check", "what was found"], rows))
    counts = Counter(check.state for check in checks)
    colour = "red" if counts["fail"] else "yellow" if counts["warn"] else "green"
    console.out.print(f"[{colour}]{', '.join(f'{counts[state]} {state}' for state in _COLOURS)}[/]")


def _words(check: Check) -> str:
    fix = f"\n[bold]fix:[/] {console.escape(check.fix)}" if check.fix else ""
    return console.escape(check.detail) + fix


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on stderr that names what is examined."""
    if quiet:
        yield None
        return
    columns = (TextColumn("examining"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console.err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda name, done, total: bar.update(task, completed=done, total=total, description=console.escape(name))
