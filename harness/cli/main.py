"""The command line: ``harness VERB``. Words are turned into calls here, and every error a user can mend is caught here, once."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from harness import registry
from harness.bisect import exitcode
from harness.cli import audit, bisect, case, compare, console, diagnose, doctor, forms, fuzz, importing, minimize, probe, record
from harness.cli.jsonout import Json
from harness.cli.output import OutputError, checked
from harness.cli.repro import repro, show_specimens
from harness.diagnosis.ofrun import swept_faults, unreproduced_of
from harness.errors import HarnessError
from harness.executors import EXECUTOR
from harness.isolation import TOOLS, Limits, check_device
from harness.jsonfile import dumps
from harness.outcome import MEMORY_MODES, RECORDED
from harness.replay import Interrupted, Request, default_command, replay
from harness.run import Run
from harness.runfolder import resolved
from harness.sanitizer import launches
from harness.specimens import Found
from harness.sweep.files import has_fault, read_sweeps

EXIT_AS_EXPECTED, EXIT_FAILURE, EXIT_WRONG_USE, EXIT_INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="harness", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="Find out why a SLAM tracker's pose solver died or gave a wrong pose: replay recorded inputs through every solver, each "
    "in a process of its own, and report what broke. Exit code: 0 as expected, 1 a failure was found, 2 wrong use.",
)  # fmt: skip


def _version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(importlib.metadata.version("sim3solve"))
        except importlib.metadata.PackageNotFoundError:
            typer.echo("not installed: run from its sources")
        raise typer.Exit


@app.callback()
def _of_all(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    pass


app.add_typer(case.app, name="case")
app.add_typer(importing.app, name="import")
app.command("audit", epilog=audit.EXAMPLES)(audit.command)
app.command("bisect", epilog=bisect.EXAMPLES)(bisect.command)
app.command("compare", epilog=compare.COMPARE_EXAMPLES)(compare.compare)
app.command("diagnose", epilog=diagnose.EXAMPLES)(diagnose.command)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.command)
app.command("fuzz", epilog=fuzz.EXAMPLES)(fuzz.command)
app.command("history", epilog=compare.HISTORY_EXAMPLES)(compare.history)
app.command("minimize", epilog=minimize.EXAMPLES)(minimize.command)
app.command("export", epilog=forms.EXPORT_EXAMPLES)(forms.export_command)
app.command("bundle", epilog=forms.BUNDLE_EXAMPLES)(forms.bundle_command)
app.command("view", epilog=forms.VIEW_EXAMPLES)(forms.view_command)
app.command("probe", epilog=probe.EXAMPLES)(probe.command)
app.command("record", epilog=record.EXAMPLES, context_settings={"allow_interspersed_args": False})(record.command)

_SOLVER = f"Solver name ({', '.join(registry.BUILTIN)}), NAME@REVISION or FILE.py:FACTORY. Repeatable; default: all built-in ones."
_TOOL = (
    f"Tool to run the child under: {', '.join(TOOLS)}. The first four after none are compute-sanitizer's and watch a GPU; asan "
    "and ubsan watch native and libraries of your own on the CPU. Repeatable."
)
_MEMORY = (
    f"Where tensors lie: {', '.join(MEMORY_MODES)}. pool: as in the application. exact: each window an allocation of exactly its "
    "size, against a page that faults. poison: surrounded by NaN, which must be neither read nor written. Repeatable."
)
_SWEEP = "Run each case again with the same values in other layouts, and say exactly in which of them a solver faults."
_LAYOUT = "One such layout, as a sweep names it: shift-4, strided, aligned-512,T_WCk=shift-4. Repeatable."
_BATCH = (
    "Tasks that share a process, one after the other; whatever goes wrong in one is run again alone. 1: each alone; 0: up to 16 "
    "under a tool, which takes seconds to start, and each alone without one."
)
_BISECT_EXIT = (
    "For git bisect run: exit code 0 good, 1 bad, 125 for what cannot be told (not built, not run, wrong use, failed otherwise)."
)
_SIGNATURE = "With --bisect-exit: bad is this failure only, as diagnose names it; any other failure cannot be told."
_FRESH_INTERPRETER = "Start each child as a new Python instead of forking preloaded imports."
Out = Annotated[Path, typer.Option(help="Folder that runs are written into.")]
Where = Annotated[str | None, typer.Option("--executor", help=EXECUTOR)]
Jobs = Annotated[int, typer.Option(min=0, help="Children at once; 0 for one per core.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds each child may take.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for solvers that can use a GPU.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start anew, even when the same run was cut off and could be taken up.")]


@app.command("repro", epilog="Example: harness repro --out reports")
def repro_command(out: Out = Path("reports"), jobs: Jobs = 0, fresh: Fresh = False, json: Json = False) -> None:
    """Replay every shipped case through every solver this machine has, then the specimens, and write the report."""
    with console.progress(json) as show:
        run = repro(out, jobs=jobs, resume=not fresh, progress=show)
    with console.progress(json, planted=True) as show:
        found, page = show_specimens(run, jobs=jobs, progress=show)
    _end(run, page, json, rows=False, found=found)


@app.command(
    "replay",
    epilog="Examples: harness replay cases/real-fr1-desk-0-8-ray --solver torch | harness replay my-crash --solver solver.py:make "
    "--timeout 20 | harness replay cases --solver torch --json | harness replay cases --solver native --memory exact --memory "
    "poison | harness replay my-crash --solver solver.py:make --layouts | harness replay cases --executor dask://head:8786",
)
def replay_command(
    cases: Annotated[list[Path], typer.Argument(help="Case folders, or folders of cases.")],
    solver: Annotated[list[str] | None, typer.Option(help=_SOLVER)] = None,
    tool: Annotated[list[str] | None, typer.Option(help=_TOOL)] = None,
    timeout: Timeout = Limits.timeout_s,
    jobs: Jobs = 0,
    device: Device = "auto",
    memory: Annotated[list[str] | None, typer.Option(help=_MEMORY)] = None,
    layouts: Annotated[bool, typer.Option("--layouts", help=_SWEEP)] = False,
    layout: Annotated[list[str] | None, typer.Option(help=_LAYOUT)] = None,
    kernels: Annotated[str | None, typer.Option(help=launches.HELP)] = None,
    memory_limit: Annotated[int | None, typer.Option(min=1 << 20, help="Bytes of private memory a child may take.")] = None,
    fresh_interpreter: Annotated[bool, typer.Option("--fresh-interpreter", help=_FRESH_INTERPRETER)] = False,
    batch: Annotated[int, typer.Option(min=0, help=_BATCH)] = 0,
    bisect_exit: Annotated[bool, typer.Option(exitcode.OPTION, help=_BISECT_EXIT)] = False,
    signature: Annotated[str | None, typer.Option(help=_SIGNATURE)] = None,
    out: Out = Path("reports"),
    fresh: Fresh = False,
    executor: Where = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Replay cases through solvers, each in a process of its own, and compare with the float64 oracle."""
    for name in tool or ():
        if name not in TOOLS:
            _wrong_use(f"--tool {name}: unknown (there are: {', '.join(TOOLS)})")
    check_device(device)
    if signature is not None and not bisect_exit:
        _wrong_use(f"--signature is for {exitcode.OPTION}")
    limits = Limits(timeout, memory_limit, device, fresh_interpreter, launches.chosen(kernels, tool or ()))
    solvers = tuple(solver or registry.BUILTIN)
    request = Request(
        tuple(cases), solvers, tuple(tool or ("none",)), limits, jobs, out, default_command(), not fresh,
        tuple(memory or ()), tuple(layout or (RECORDED,)), layouts, batch, executor,
    )  # fmt: skip
    with console.progress(json) as show:
        run = replay(request, show)
    from harness.report.write import write_report  # pandas takes a second that --help should not

    compare.remember(run)
    verdict = None
    if bisect_exit:
        verdict = exitcode.code_of((*run.outcomes, *swept_faults(run)), signature)
    _end(run, write_report(run.folder), json, rows=True, verdict=verdict)


@app.command("report", epilog="Example: harness report reports/latest --one-file")
def report_command(
    folder: Annotated[Path, typer.Argument(help="The folder of one run.", callback=resolved)],
    pictures: Annotated[bool, typer.Option(help="Draw each case: residuals, points, convergence.")] = True,
    one_file: Annotated[
        bool, typer.Option("--one-file", help="Everything in index.html, however large: to attach it alone to an issue.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the HTML report and the result tables of a run again, from its files."""
    from harness.report.write import write_report

    page = write_report(folder, pictures=pictures, one_file=one_file)
    if json:
        console.out.print_json(dumps({"report": str(page)}))
    else:
        console.out.print(f"report: {page}")


def _end(run: Run, page: Path, json: bool, *, rows: bool, found: Found | None = None, verdict: int | None = None) -> NoReturn:
    sweeps = read_sweeps(run.folder)
    if json:
        more = {} if found is None else {"specimens": [row.to_json() for row in found.rows]}
        lost = [{"case": it.case, "said": said, "diagnosis": it.to_json()["diagnosis"]} for it, said in unreproduced_of(run)]
        sys.stdout.write(dumps(run.to_json() | {"sweeps": sweeps, "not_reproduced": lost} | more) + "\n")
    else:
        console.summary(run, rows=rows)
        for sweep in sweeps:
            console.out.print(console.escape(f"layouts: {sweep['solver']} on {sweep['case']} ({sweep['tool']}) {sweep['rule']}"))
        if found is not None:
            console.specimens(found)
        console.out.print(f"report: {page}")
    if verdict is not None:
        raise exitcode.Verdict(verdict)
    failed = any(outcome.expected is False for outcome in run.outcomes) or (found is not None and found.failed)
    failed = failed or any(has_fault(sweep) for sweep in sweeps)
    raise typer.Exit(EXIT_FAILURE if failed else EXIT_AS_EXPECTED)


def _wrong_use(message: str) -> NoReturn:
    console.err.print(f"[red]error:[/] {message}")
    raise typer.Exit(EXIT_WRONG_USE)


def main() -> None:
    """Entry point."""
    if exitcode.OPTION in sys.argv:
        sys.exit(exitcode.guarded(_main))
    _main()


def _main() -> None:
    """Errors a user can mend end in one line and exit code 2."""
    try:
        with checked():
            app()
    except OutputError as error:
        if not error.reader_gone:
            console.err.print(f"[red]error:[/] {console.escape(str(error))}")
        sys.exit(EXIT_WRONG_USE)
    except Interrupted as interrupted:
        console.err.print(str(interrupted))
        sys.exit(EXIT_INTERRUPTED)
    except HarnessError as error:
        console.err.print(f"[red]error:[/] {console.escape(str(error))}")
        sys.exit(EXIT_WRONG_USE)
