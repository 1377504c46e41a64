"""``harness minimize``: the smallest case that still fails as the given one does."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from harness import minimize as mini
from harness import registry
from harness.casefile import find_cases, read_document
from harness.cli import console
from harness.cli.jsonout import Json
from harness.commandline import command_line
from harness.errors import UsageError
from harness.executors import EXECUTOR, open_executor
from harness.isolation import TOOLS, Limits, Task, check_device, default_memory
from harness.jsonfile import dumps
from harness.minimize.failure import FORMS
from harness.minimize.result import MINIMIZED
from harness.outcome import MEMORY_MODES, RECORDED
from harness.sanitizer import launches

_TARGET = f"What must still be shown: {FORMS}. Default: the signature of what the whole case fails by."
_BUDGET = "Time for the search: 90s, 10m, 2h. The smallest case found by then is written."
_TRIES = "How often the whole case, and the smaller one at the end, are run: a failure that comes and goes is voted on."
_MEMORY = f"Where tensors lie: {', '.join(MEMORY_MODES)}. Default: what suits the tool."
_OUT = "Folder for the smaller case, minimize.json and every answer. Default: reports/minimized/CASE__SOLVER__TOOL."
_FRESH = "Forget the answers of earlier runs in that folder."
_FRESH_INTERPRETER = "Start each child as a new Python instead of forking preloaded imports."
EXAMPLES = (
    "Examples: harness minimize my-crash --solver lietorch | harness minimize my-crash --solver solver.py:make --tool asan | "
    "harness minimize wrong-pose --solver torch --target 'd>0.5' --budget 2m | harness minimize my-crash --solver solver.py:make "
    "--memory exact --json | harness minimize my-crash --solver cuda --executor dask://head:8786"
)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def command(
    case: Annotated[Path, typer.Argument(help="The folder of one case that fails.")],
    solver: Annotated[str, typer.Option(help="The solver that fails on it: a name or FILE.py:FACTORY.")],
    tool: Annotated[str, typer.Option(help=f"Tool to run children under: {', '.join(TOOLS)}.")] = "none",
    memory: Annotated[str | None, typer.Option(help=_MEMORY)] = None,
    kernels: Annotated[str | None, typer.Option(help=launches.HELP)] = None,
    layout: Annotated[str, typer.Option(help="Start from another layout, as a sweep names it: shift-4, strided.")] = RECORDED,
    target: Annotated[str | None, typer.Option(help=_TARGET)] = None,
    budget: Annotated[str, typer.Option(help=_BUDGET)] = "10m",
    max_runs: Annotated[int, typer.Option(min=1, help="Most children to run in the search.")] = mini.MinimizeLimits.max_runs,
    tries: Annotated[int, typer.Option(min=1, max=1000, help=_TRIES)] = mini.MinimizeLimits.tries,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds each child may take.")] = Limits.timeout_s,
    jobs: Annotated[int, typer.Option(min=0, help="Candidates at once; 0 for one per core.")] = 0,
    executor: Annotated[str | None, typer.Option(help=EXECUTOR)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for solvers that can use a GPU.")] = "auto",
    memory_limit: Annotated[int | None, typer.Option(min=1 << 20, help="Bytes of private memory a child may take.")] = None,
    fresh_interpreter: Annotated[bool, typer.Option("--fresh-interpreter", help=_FRESH_INTERPRETER)] = False,
    out: Annotated[Path | None, typer.Option(help=_OUT)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help=_FRESH)] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Remove points, iterations and values from a failing case for as long as it fails alike, and write what is left as a case.

    Exit code 1 when there is a failure nobody expects, 0 when the case does not fail or fails as it expects. The same command
    takes up what was interrupted.
    """
    if tool not in TOOLS:
        raise UsageError(f"--tool {tool}: unknown (there are: {', '.join(TOOLS)})")
    check_device(device)
    folders = list(find_cases([case]))
    if len(folders) > 1:
        raise UsageError(f"{case}: holds {len(folders)} cases; give one")
    failure = None if target is None else mini.Failure.parse(target)
    asked = mini.Target(solver, tool, memory, layout, failure)
    child = Limits(timeout, memory_limit, device, fresh_interpreter, launches.chosen(kernels, (tool,)))
    limits = mini.MinimizeLimits(_duration(budget), max_runs, tries, child)
    with open_executor(executor, jobs) as pool, _progress(json) as show:
        result = mini.minimize_case(
            folders[0], asked, limits, out or _default(folders[0], asked), executor=pool, jobs=jobs, progress=show, fresh=fresh
        )
    if json:
        sys.stdout.write(dumps(result.to_json()) + "\n")
    else:
        _print(result)
    raise typer.Exit(1 if result.failed else 0)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh]?)", text.strip())
    if not found or float(found[1]) == 0:
        raise UsageError(f"--budget {text}: must be a time such as 90s, 10m or 2h")
    return float(found[1]) * _SECONDS[found[2]]


def _default(case: Path, target: mini.Target) -> Path:
    memory = target.memory or default_memory(target.tool)
    spec = registry.resolve(target.solver)
    task = Task(case, read_document(case), spec, target.tool, memory, target.layout)
    return Path("reports") / "minimized" / re.sub(r"[^A-Za-z0-9._+@-]+", "-", task.name)


@contextmanager
def _progress(quiet: bool) -> Iterator[mini.Progress | None]:
    if quiet:
        yield None
        return
    columns = (TextColumn("minimizing"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console.err, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def show(now: mini.Now) -> None:
            size = f"{now.points} points, {now.iterations} iterations, {now.changes} made simple"
            bar.update(task, description=f"{now.phase}: {size}; {now.runs} runs, {_time(now.left_s)} left", completed=now.used)

        yield show


def _time(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _print(result: mini.Minimized) -> None:
    escape, out = console.escape, console.out
    if result.state != MINIMIZED or result.case is None or result.before is None or result.after is None:
        out.print(escape(f"{result.state}: {result.said}"))
        return
    before, after = result.before, result.after
    rows = [
        ["points", str(before.points), str(after.points)],
        ["iterations at most", str(before.iterations), str(after.iterations)],
        ["bytes of values", str(before.bytes), str(after.bytes)],
        ["fails, of runs", f"{result.rate:.0%} of {result.tries}", f"{result.rate_after:.0%} of {result.tries_after}, fresh"],
    ]  # fmt: skip
    out.print(console.table(["", "whole case", "smaller case"], rows))
    out.print(escape(f"keeps: {result.failure}"))
    if result.rows:
        more = " ..." if after.points > 12 else ""
        out.print(escape(f"points kept: {', '.join(map(str, result.rows[:12]))}{more}"))
    if result.changes:
        out.print(escape(f"set: {', '.join(result.changes)}"))
    if result.complete:
        out.print("no single point can be removed, no iteration, and no more values made simple")
    else:
        out.print(f"[yellow]not finished:[/] {escape(result.stopped)}; the same command goes on from here")
    if not result.verified:
        out.print(
            "[red]the smaller case did not fail when it was run afresh[/]: the failure comes and goes, or needs forked children"
        )
    elif result.rate == 1 and result.rate_after < 1:
        out.print("[yellow]it comes and goes[/]: more --tries vote on every step")
    if result.expected:
        out.print("the whole case expects this outcome")
    out.print(f"{result.runs} runs in {result.seconds:.1f} s, {result.kept} answers from earlier ones")
    out.print(escape(f"case: {command_line([str(result.case)])}\nagain: {result.repeat}"))
