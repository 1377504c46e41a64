"""``harness fuzz``: mutated cases through one solver by the thousand."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.cli import console
from harness.cli.jsonout import Json
from harness.errors import UsageError
from harness.executors import EXECUTOR, open_executor
from harness.fuzz.campaign import Campaign, as_they_are, fuzz
from harness.fuzz.folder import State
from harness.isolation import TOOLS, Limits, check_device
from harness.jsonfile import dumps
from harness.sanitizer import launches

EXAMPLES = (
    "Examples: harness fuzz cases --solver native | harness fuzz cases --solver native --tool ubsan --executions 20000 | "
    "harness fuzz cases --solver cuda --for 8h --out reports/night | harness fuzz my-crash --solver my_solver.py:make --seed 7 | "
    "harness fuzz cases --solver cuda --for 8h --executor dask://head:8786"
)
_BITS = "Whether the same values in another layout must give the same bits. Default: for native and cuda."
_AS_IT_IS = "Do not mutate: look at each case once as it is, in C order, and beside the oracle."
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def command(
    cases: Annotated[list[Path], typer.Argument(help="Case folders, or folders of cases, to mutate.")],
    solver: Annotated[str, typer.Option(help="Solver name or FILE.py:FACTORY.")] = "native",
    tool: Annotated[str, typer.Option(help=f"Tool to run it under: {', '.join(TOOLS)}.")] = "none",
    memory: Annotated[str, typer.Option(help="Where tensors lie: pool, exact or poison; default: what suits the tool.")] = "",
    kernels: Annotated[str | None, typer.Option(help=launches.HELP)] = None,
    executions: Annotated[int, typer.Option(min=1, help="Runs of the solver in all.")] = 2000,
    time: Annotated[str, typer.Option("--for", help="Stop after this long, as in 30s, 10m or 8h; the same command goes on.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other mutants.")] = 0,
    jobs: Annotated[int, typer.Option(min=0, help="Processes at once; 0 for one per core.")] = 0,
    executor: Annotated[str | None, typer.Option(help=EXECUTOR)] = None,
    as_it_is: Annotated[bool, typer.Option("--as-it-is", help=_AS_IT_IS)] = False,
    same_bits: Annotated[bool | None, typer.Option("--same-bits/--any-bits", help=_BITS)] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds one run may take.")] = Campaign.TIMEOUT_S,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the campaign.")] = Path("reports/fuzz"),
    json: Json = False,
) -> None:
    """Mutate layouts, degeneracies, values and options of cases, and keep each distinct fault of a solver once, as a case.

    A campaign that was cut off, by Ctrl-C or kill -9, is taken up by the same command. Exit code 1 when something was found.
    """
    if tool not in TOOLS:
        raise UsageError(f"--tool {tool}: unknown (there are: {', '.join(TOOLS)})")
    if memory not in ("", "pool", "exact", "poison"):
        raise UsageError(f"--memory {memory}: unknown (there are: pool, exact, poison)")
    check_device(device)
    limits = Limits(timeout_s=timeout, device=device, kernels=launches.chosen(kernels, (tool,)))
    campaign = Campaign(tuple(cases), solver, out, tool, memory, executions, _seconds(time), seed, jobs, same_bits, limits)
    if as_it_is:
        raise typer.Exit(_look(campaign, executor, json))
    shown = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with (
        open_executor(executor, jobs) as pool,
        Progress(TextColumn("fuzzing"), *shown, console=console.err, transient=True, disable=json) as bar,
    ):
        row = bar.add_task("0 finds", total=executions)

        def show(state: State) -> None:
            bar.update(row, completed=state.executions, description=f"{len(state.finds)} finds")

        state = fuzz(campaign, show, pool)
    if json:
        sys.stdout.write(dumps({"campaign": str(out), **dataclasses.asdict(state)}) + "\n")
    else:
        for find in state.finds:
            console.out.print(f"[red]found:[/] {console.escape(find.signature)} ({find.count} mutants, {find.rate:.0%} again)")
            console.out.print(f"  {console.escape(find.what)}\n  again: {console.escape(find.repeat)}")
            if find.minimized:
                console.out.print(f"  minimized: {console.escape(find.minimized)}")
        console.out.print(f"{state.executions} executions, {len(state.finds)} finds; {out}")
    raise typer.Exit(1 if state.finds else 0)


def _look(campaign: Campaign, executor: str | None, json: bool) -> int:
    """The exit code."""
    with open_executor(executor, campaign.jobs) as pool:
        seen = as_they_are(campaign, pool)
    if json:
        told = [{"case": case.id, "signature": it and it[0], "what": it and it[1]} for case, it in seen]
        sys.stdout.write(dumps({"cases": told}) + "\n")
    for case, it in () if json else seen:
        what = f"[red]found:[/] {console.escape(it[0])}\n  {console.escape(it[1])}" if it else "nothing found"
        console.out.print(f"{case.id}: {what}")
    return 1 if any(it for _, it in seen) else 0


def _seconds(text: str) -> float:
    if not text:
        return float("inf")
    told = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if told is None:
        raise UsageError(f"--for {text}: must be a number with s, m or h, as in 30s, 10m or 8h")
    return float(told[1]) * _UNITS[told[2]]
