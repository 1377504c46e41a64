"""What the command line shows while it works, and its tables. Progress goes to stderr, so that stdout can be one document."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape as escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from harness import loading
from harness.commandline import command_line
from harness.diagnosis.ofrun import unreproduced_of
from harness.outcome import Kind, Outcome
from harness.report.words import counted, judgement
from harness.run import Run
from harness.specimens import Found

for _stream in (sys.stdout, sys.stderr):
    # Windows writes into a pipe or a file in a code page of 256 characters: --json is UTF-8 everywhere, and no name of a folder
    # is a reason to die. (Windows' streams begin as surrogateescape, others as strict.)
    if isinstance(_stream, io.TextIOWrapper) and _stream.errors in ("strict", "surrogateescape"):
        _as_utf8 = sys.platform == "win32" and not _stream.isatty() and "PYTHONIOENCODING" not in os.environ
        _stream.reconfigure(encoding="utf-8" if _as_utf8 else None, errors="backslashreplace")

_WIDE = None if sys.stdout.isatty() else 180  # into a file or a pipe a table need not be squeezed
out = Console(highlight=False, soft_wrap=True, width=_WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_SHOWN = 3
_LINE_EVERY_S = 10.0
_COLOURS = {Kind.OK: "green", Kind.SOLVER_STATUS: "cyan", Kind.UNAVAILABLE: "dim", Kind.INCONCLUSIVE: "yellow"}


class _Said(logging.Handler):
    """What takes long and is no part of what was asked, on stderr: whoever waits must know what for."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(f"[dim]{escape(record.getMessage())}[/]")


loading.log.addHandler(_Said())
loading.log.setLevel(logging.INFO)


@contextmanager
def progress(quiet: bool, *, planted: bool = False) -> Iterator[Callable[[Outcome, int, int], None] | None]:
    """A bar on stderr, or a line now and then where that is no terminal.

    Anything that is no plain pose or status is written out as it happens, unless it was ``planted``.
    """
    if quiet:
        yield None
        return
    told = time.monotonic()
    what = TextColumn("specimens, planted on purpose" if planted else "replaying")
    columns = (what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(outcome: Outcome, done: int, total: int) -> None:
            nonlocal told
            if not err.is_terminal and time.monotonic() - told >= _LINE_EVERY_S:
                told = time.monotonic()
                err.print(f"{what.text_format}: {done} of {total}")
            bar.update(task, completed=done, total=total, description=escape(f"{outcome.case} x {outcome.solver}"))
            if outcome.kind not in _COLOURS and not planted:
                bar.console.print(f"[red]{outcome.kind.value}[/] {escape(outcome.case)} x {escape(outcome.solver)}")

        yield show


def summary(run: Run, *, rows: bool) -> None:
    """A table of outcomes (``rows``), the verdict of each that was not as expected, and the count."""
    if rows:
        out.print(
            table(
                ["case", "solver", "tool", "outcome", "status", "iterations", "d (sigma)", "solve", "as expected"],
                [_row(o) for o in run.outcomes],
            )
        )
    for outcome in run.outcomes:
        if outcome.expected is False:
            out.print(f"[red]not expected:[/] {escape(outcome.verdict)}\n  again: {escape(outcome.repeat)}")
    reasons = Counter(f"{o.solver}: {o.reason}" for o in run.outcomes if o.kind is Kind.UNAVAILABLE)
    for reason, count in reasons.items():
        out.print(f"[yellow]not run ({count}):[/] {escape(reason)}")
    unjudged = [o for o in run.outcomes if o.expected is None and o.kind is not Kind.UNAVAILABLE]
    for outcome in unjudged:
        out.print(f"[yellow]not judged:[/] {escape(outcome.verdict)}\n  again: {escape(outcome.repeat)}")
    lost = unreproduced_of(run)
    for _, said in lost[:_SHOWN]:
        out.print(f"[yellow]recording:[/] {escape(said)}")
    if lost:
        more = f"the same holds for {len(lost) - _SHOWN} more; " if len(lost) > _SHOWN else ""
        out.print(f"  {more}their causes: {escape(command_line(['python', '-m', 'harness', 'diagnose', str(run.folder)]))}")
    n = counted(run.outcomes)
    text = f"{n.judged - n.failed} of {n.judged} as expected, {n.failed} not"
    text += f", {len(unjudged)} not judged" if unjudged else ""
    text += f", {n.baseline} of a baseline that is not judged" if n.baseline else ""
    text += f", {n.not_run} not run"
    out.print(f"[{'red' if n.failed else 'green'}]{text}[/]")


def specimens(found: Found) -> None:
    """What was seen of each specimen, labelled as what it is: nothing of it is a failure of the run."""
    out.print("\n[bold]Specimens, planted on purpose: what a fault looks like when it is found. Not part of the run above.[/]")
    rows = []
    for row in found.rows:
        word = {True: "[green]ok[/]", False: "[red]NOT FOUND[/]", None: "[yellow]not run[/]"}[row.state]
        rows.append([escape(row.name), escape(row.what), row.how, escape(row.must), escape(row.seen[:120]), word])
    out.print(table(["specimen", "planted fault", "run under", "must be seen as", "was seen as", ""], rows))
    for row in found.rows:
        if row.state is False:
            out.print(f"[red]specimen not found:[/] {escape(row.name)}: {escape(row.verdict)}\n  again: {escape(row.repeat)}")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def _row(o: Outcome) -> list[str]:
    against = (o.parity or {}).get("oracle") or {}
    d_sigma = f"{float(against['d_sigma']):.2g}" if "d_sigma" in against else ""
    colour = _COLOURS.get(o.kind, "red")
    word = {True: "yes", False: "[red]no[/]", None: ""}[judgement(o)]
    detail = o.status or (o.exit.name if o.exit and o.exit.crashed else o.exception.type if o.exception else "")
    seconds = "" if o.solve_seconds is None else f"{1000 * o.solve_seconds:.1f} ms"
    ended = [f"[{colour}]{o.kind.value}[/]", escape(detail), str(o.iterations or ""), d_sigma, seconds, word]
    return [escape(o.case), escape(o.solver), o.how, *ended]
