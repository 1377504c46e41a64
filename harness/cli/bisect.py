"""``harness bisect``: the commit that broke a case, with its diff, and a replay of the solver before and after it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.bisect import document as documents
from harness.bisect.document import Bisected
from harness.bisect.drive import Request, bisect, keeping
from harness.bisect.hunt import Rules
from harness.bisect.target import Target, parse_when
from harness.cli import console
from harness.cli.jsonout import Json
from harness.errors import UsageError
from harness.isolation import TOOLS, Limits, check_device
from harness.jsonfile import dumps
from harness.outcome import MEMORY_MODES
from harness.replay import Interrupted, default_command, replay
from harness.replay import Request as ReplayRequest
from harness.revision import MODULES, NoSuchSolver
from harness.run import Run
from harness.sanitizer import launches

EXAMPLES = (
    "Examples: harness bisect my-crash --good v1.0 --bad HEAD | harness bisect my-crash --good v1.0 --bad HEAD --tool ubsan | "
    "harness bisect cases/real-fr1-desk-0-8-ray --good v1.0 --bad HEAD --when 'd > 0.05 sigma' | harness bisect "
    "cases/real-fr1-desk-0-8-ray --good v1.0 --bad HEAD --when 'time > 1.2' | harness bisect CASE --good v1.0 --bad HEAD --json"
)
EXIT_DECIDED, EXIT_RANGE, EXIT_INTERRUPTED = 0, 1, 125
_WHEN = (
    "What got worse, in place of a failure: d (from the oracle's pose), iterations, or time (that of GOOD, run beside it, is 1); "
    "with a limit as in 'd > 0.05 sigma', 'iterations > 12', 'time > 1.2', or without: then the middle between GOOD's and BAD's."
)
_SIGNATURE = "The failure to look for, as diagnose names it. Default: the one that BAD shows. All others are skipped."
_REPEATS = "Most runs of any commit. A failure that shows in one run of ten needs more than the default."


def command(
    case: Annotated[Path, typer.Argument(help="A case folder.")],
    good: Annotated[str, typer.Option(help="A revision that has not what is looked for.")],
    bad: Annotated[str, typer.Option(help="A later one that has it.")],
    solver: Annotated[str, typer.Option(help=f"One of {', '.join(MODULES)}.")] = "native",
    tool: Annotated[str, typer.Option(help=f"Tool to run under: {', '.join(TOOLS)}.")] = "none",
    memory: Annotated[str | None, typer.Option(help=f"Where tensors lie: {', '.join(MEMORY_MODES)}.")] = None,
    kernels: Annotated[str | None, typer.Option(help=launches.HELP)] = None,
    when: Annotated[str | None, typer.Option(help=_WHEN)] = None,
    signature: Annotated[str | None, typer.Option(help=_SIGNATURE)] = None,
    repeats: Annotated[int, typer.Option(min=5, max=10_000, help=_REPEATS)] = Rules.repeats,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="What an answer must reach; a range otherwise.")] = 0.95,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds each child may take.")] = Limits.timeout_s,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder that the bisect and its replay are written into.")] = Path("reports"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew, even when the same bisect was cut off.")] = False,
    json: Json = False,
) -> None:
    """Find the first commit on which a case fails as it does on BAD. Run it in the repository; nothing there is checked out.

    Exit code 0: one commit, 1: a range of commits, for want of evidence, 2: wrong use, 125: interrupted.
    """
    if tool not in TOOLS:
        raise UsageError(f"--tool {tool}: unknown (there are: {', '.join(TOOLS)})")
    if memory is not None and memory not in MEMORY_MODES:
        raise UsageError(f"--memory {memory}: unknown (there are: {', '.join(MEMORY_MODES)})")
    if when is not None and signature is not None:
        raise UsageError("--when and --signature: look for a number or for a failure")
    check_device(device)
    target = parse_when(when) if when is not None else Target("failure", signature)
    limits = Limits(timeout, device=device, kernels=launches.chosen(kernels, (tool,)))
    rules = Rules(repeats, confidence)
    request = Request(case, good, bad, solver, tool, memory, target, limits, rules, out, default_command(), not fresh)
    try:
        with _telling(json) as tell:
            folder, found = bisect(request, tell)
        with keeping(folder):
            found, run, page = _side_by_side(request, folder, found, json)
    except (KeyboardInterrupt, Interrupted):
        # git takes codes from 128 on for the end of everything; this is only the end of this try.
        console.err.print("interrupted: what was run is kept; the same command takes it up again")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        sys.stdout.write(
            dumps(found.model_dump(mode="json") | {"folder": str(folder), "run": str(run.folder), "report": str(page)}) + "\n"
        )
    else:
        _print(found)
        console.out.print(f"report: {console.escape(str(page))}")
    raise typer.Exit(EXIT_DECIDED if found.decided else EXIT_RANGE)


@contextlib.contextmanager
def _telling(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Each verdict as a line, and a sign of life while commits are built and run."""
    if quiet:
        yield lambda line: None
        return
    with console.err.status("bisecting") as status:

        def tell(line: str) -> None:
            status.console.print(_shown(line))
            status.update(f"bisecting: after {_shown(line)[:80]}")

        yield tell


def _side_by_side(request: Request, folder: Path, found: Bisected, quiet: bool) -> tuple[Bisected, Run, Path]:
    """An ordinary run of GOOD, what was before the first bad commit, that commit, and BAD; with what was found in its folder."""
    from harness.report.write import write_report  # pandas takes a second that --help should not

    shas = [
        found.good.sha,
        *([found.before.sha] if found.before else []),
        found.suspects[0].sha,
        found.suspects[-1].sha,
        found.bad.sha,
    ]
    names = [name for name in dict.fromkeys(f"{request.solver}@{sha}" for sha in shas) if _is_there(name)]
    jobs = 1 if found.what == "time" else 0
    replayed = ReplayRequest(
        (request.case,), tuple(names), (request.tool,), request.limits, jobs, request.out, request.command, request.resume,
        (found.memory,),
    )  # fmt: skip
    with console.progress(quiet) as show:
        run = replay(replayed, show)
    found = found.model_copy(update={"run": run.id})
    documents.write(run.folder, found)
    page = write_report(run.folder)
    documents.write(folder, found)
    return found, run, page


def _is_there(name: str) -> bool:
    try:
        registry.resolve(name)
    except NoSuchSolver:
        return False
    return True


def _print(found: Bisected) -> None:
    out = console.out
    rows = [
        [row.sha[:12], row.verdict, f"{row.shown}/{row.shown + row.absent}", "" if row.median is None else f"{row.median:.4g}",
         f"{row.odds_log10:+.1f}", _shown(row.subject)[:100]]
        for row in found.tested
    ]  # fmt: skip
    out.print(console.table(["commit", "verdict", "shown", found.what, "log10 odds", "subject"], rows))
    out.print(_shown(f"{found.target}: {found.commits} commits change the solver, {found.runs} runs told"))
    for sha in found.against:
        out.print(f"[yellow]does not fit:[/] {sha[:12]} is good after a bad one; what came later is found with --good {sha[:12]}")
    if found.first_bad is None:
        sure = sum(one.probability for one in found.suspects)
        out.print(f"[bold yellow]not decided:[/] one of these {len(found.suspects)} is the first bad commit ({sure:.1%})")
        for one in found.suspects:
            out.print(f"  {one.sha[:12]} {one.probability:6.1%} {_shown(one.subject)}")
        return
    first = found.first_bad
    out.print(f"[bold red]first bad commit:[/] {first.sha} ({_percent(first.probability)})")
    out.print(_shown(f"{first.author}, {first.date}: {first.subject}"))
    for line in found.diff.splitlines():
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        shown = console.escape(_printable(line))
        out.print(f"[{colour}]{shown}[/]" if colour else shown)


def _percent(probability: float) -> str:
    return "over 99.99 % sure" if probability > 0.9999 else f"{probability:.2%} sure"


def _shown(text: str) -> str:
    """Text of a repository or a program, as one line that no terminal obeys and no markup changes."""
    return console.escape(_printable(" ".join(text.split())))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
