"""``harness compare`` and ``harness history``: what differs between two runs, and how it went from run to run."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import console
from harness.cli.jsonout import Json
from harness.errors import UsageError
from harness.jsonfile import dumps
from harness.run import RUN_FILE, Run, read_run
from harness.rundiff import CHANGED, FIXED, NEW, NOT_COMPARABLE, SAME, Comparison, diff
from harness.runfolder import resolved

COMPARE_EXAMPLES = (
    "Examples: harness compare reports/before reports/after | harness compare reports/before reports/latest --all --json"
)
HISTORY_EXAMPLES = "Examples: harness history | harness history reports --solver cuda --last 20 | harness history --rebuild"
_ALL = "List what is the same and what is not comparable, too."


def compare(
    a: Annotated[Path, typer.Argument(help="The folder of one run.", callback=resolved)],
    b: Annotated[Path, typer.Argument(help="The folder of another.", callback=resolved)],
    every: Annotated[bool, typer.Option("--all", help=_ALL)] = False,
    json: Json = False,
) -> None:
    """Say what is new, fixed, changed, the same or not comparable between two runs, bug by bug and case by case.

    Exit code 1 when something fails in B that did not, or did not so, in A.
    """
    found = diff(_run(a), _run(b))
    if json:
        sys.stdout.write(dumps({"a": str(a), "b": str(b)} | found.to_json()) + "\n")
    else:
        _print(found, every)
    raise typer.Exit(1 if found.worse else 0)


def _run(folder: Path) -> Run:
    if not (folder / RUN_FILE).exists():
        raise UsageError(f"{folder}: no run is there: it has no {RUN_FILE}")
    return read_run(folder)


def _print(found: Comparison, every: bool) -> None:
    out, escape = console.out, console.escape
    colours = {NEW: "red", CHANGED: "yellow", FIXED: "green"}
    for bug in found.bugs:
        seen = f"{bug.a} -> {bug.b} outcomes, {len(bug.cases)} cases, {', '.join(bug.solvers)}"
        colour = colours.get(bug.what, "dim")
        out.print(f"[{colour}]{'still there' if bug.what == SAME else bug.what}[/]: {escape(bug.signature)} ({escape(seen)})")
    rows = [
        [escape(it.case), escape(it.solver), escape(it.how), it.what, escape(it.a), escape(it.b), _number(it.d_sigma_a),
         _number(it.d_sigma_b), _number(it.parity), _number(it.speed), escape(it.why)]
        for it in found.changes
        if every or it.what in colours
    ]  # fmt: skip
    if rows:
        out.print(console.table(["case", "solver", "tool", "what", "A", "B", "d A", "d B", "d B/A", "time B/A", "why"], rows))
    if found.machines:
        out.print(escape(f"times are not compared: the runs are of two machines ({found.machines})"))
    for speed in found.speeds:
        interval = f", {speed.low:.3g} to {speed.high:.3g} with 95 %" if speed.pairs >= 6 else ""
        name = speed.solver if speed.how == "none" else f"{speed.solver} ({speed.how})"
        said = f"{name}: time B/A {speed.ratio:.3g} (median of {speed.pairs} cases{interval}): {speed.words}"
        out.print(escape(said))
    reasons = Counter(it.why.partition(":")[0] for it in found.changes if it.what == NOT_COMPARABLE)
    counts = Counter(it.what for it in found.changes)
    words = [f"{counts[what]} {what}" for what in (NEW, CHANGED, FIXED, SAME, NOT_COMPARABLE) if counts[what]]
    why = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
    out.print(escape(", ".join(words) + (f" ({why})" if why else "")) or "nothing to compare")


def remember(run: Run) -> None:
    """Put a finished run into its folder's history; what is wrong with that is no reason to lose the run's report."""
    from harness.history import record  # Arrow takes a moment that --help should not

    if said := record(run):
        console.err.print(f"[yellow]history:[/] {console.escape(said)}")


def history(
    reports: Annotated[Path, typer.Argument(help="The folder that runs are written into.")] = Path("reports"),
    solver: Annotated[list[str] | None, typer.Option(help="Only this solver; may be repeated.")] = None,
    last: Annotated[int, typer.Option(min=1, help="So many runs, the newest.")] = 30,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the history anew from the runs that are there.")] = False,
    json: Json = False,
) -> None:
    """List the runs of a folder as its history.parquet has them: outcomes, bugs, times and worst distance by solver.

    Every finished run adds itself. Exit code 1 when a solver has a bug in the newest run that it had not when it was last run the
    same way on the same cases.
    """
    from harness import history as runs

    if not reports.is_dir():
        raise UsageError(f"{reports}: no such folder")
    if rebuild:
        count, problems = runs.rebuild(reports)
        for problem in problems:
            console.err.print(f"[yellow]left out:[/] {console.escape(problem)}")
        console.err.print(f"{count} runs are in {console.escape(str(reports / runs.FILE))}")
    found = [entry for entry in runs.read(reports) if not solver or entry.solver in solver]
    names = list(dict.fromkeys(entry.run for entry in found))[-last:]
    shown = [entry for entry in found if entry.run in names]
    changes = runs.changes(found, names[-1]) if names else ()
    new = list(dict.fromkeys(bug for change in changes for bug in change.new))
    if json:
        sys.stdout.write(dumps({"runs": [dataclasses.asdict(entry) for entry in shown], "new_bugs": new}) + "\n")
    else:
        _list([[entry.run, entry.started[:16].replace("T", " "), entry.git[:10], entry.solver, entry.how, str(entry.ok),
                str(entry.failed), str(entry.not_run), str(len(entry.bugs)), _time(entry.median_solve_s),
                _number(entry.worst_d_sigma)] for entry in shown], new)  # fmt: skip
    raise typer.Exit(1 if new else 0)


def _list(rows: Sequence[Sequence[str]], new: Sequence[str]) -> None:
    columns = ["run", "started", "git", "solver", "tool", "as expected", "failed", "not run", "bugs", "median solve", "worst d"]
    if not rows:
        console.out.print("no run is in the history; --rebuild reads the run folders")
        return
    console.out.print(console.table(columns, [[console.escape(cell) for cell in row] for row in rows]))
    for bug in new:
        console.out.print(f"[red]new in the newest run:[/] {console.escape(bug)}")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"


def _time(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{seconds * 1e3:.3g} ms"
