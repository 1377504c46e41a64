"""``harness diagnose``: one verdict per distinct bug of a finished run, or of recorded cases."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.casefile import find_cases
from harness.cli import console
from harness.cli.jsonout import Json
from harness.diagnosis.blocking import VARIABLE, read_blocking
from harness.diagnosis.bugs import Bug
from harness.diagnosis.documents import Documents, read_audit, read_doctor, read_probe
from harness.diagnosis.ofrun import bugs_of_recordings, diagnosed_run, documents_of
from harness.jsonfile import dumps
from harness.outcome import Kind, Outcome
from harness.record.ending import read_recording
from harness.run import RUN_FILE, read_run
from harness.runfolder import resolved

EXAMPLES = (
    "Examples: harness diagnose reports/latest | harness diagnose reports/latest --audit audit.json --probe probe.json | "
    "harness diagnose recorded/crash-0001 --json"
)
Probe = Annotated[Path | None, typer.Option(help="What harness probe --out wrote, or --json printed.")]
Audit = Annotated[list[Path] | None, typer.Option(help="What harness audit --out wrote, or --json printed. Repeatable.")]
Doctor = Annotated[Path | None, typer.Option(help="What harness doctor --out wrote, or --json printed.")]
Blocking = Annotated[
    Path | None, typer.Option(help=f"What harness replay --json printed of the same with {VARIABLE}=1 in its environment.")
]
_FOLDER = "The folder of one run, a recorded case, or a folder of recorded cases."
_SHOWN_PLACES = 3


def command(
    folder: Annotated[Path, typer.Argument(help=_FOLDER, callback=resolved)],
    probe: Probe = None,
    audit: Audit = None,
    doctor: Doctor = None,
    blocking: Blocking = None,
    json: Json = False,
) -> None:
    """Name the cause of every distinct bug: how sure that is, the facts it rests on, what would refute it, and the fix.

    A run's own audit.json, audits/*.json, probe.json, doctor.json, blocking.json and layout sweeps are read as well. Exit code 1
    when there is a failure.
    """
    if (folder / RUN_FILE).exists():
        run = read_run(folder)
        own, problems = documents_of(run)
        bugs = diagnosed_run(run, _with(own, probe, audit, doctor, blocking)).bugs
        name, planted, outcomes = run.id, own.planted, run.outcomes
    else:
        cases = [read_recording(case) for case in find_cases([folder])]  # raises where there is none
        bugs, problems = bugs_of_recordings(cases, _with(Documents(), probe, audit, doctor, blocking)), ()
        name, planted, outcomes = str(folder), False, ()
    untried = _not_tried(outcomes)
    if json:
        rows = [{"solver": solver, "reason": reason, "outcomes": n} for (solver, reason), n in untried.items()]
        found = {"bugs": [bug.to_json() for bug in bugs], "not_tried": rows, "unreadable": list(problems)}
        document = {"run": name, "planted": planted, **found}
        sys.stdout.write(dumps(document) + "\n")
    else:
        for problem in problems:
            console.err.print(f"[yellow]left out:[/] {_shown(problem)}")
        if planted:
            console.out.print("[bold]Specimens, planted on purpose: each bug below was put there to be found and named.[/]\n")
        _print(bugs)
        _conclude(bugs, len(outcomes), untried)
    raise typer.Exit(1 if any(bug.failure for bug in bugs) else 0)


def _with(
    own: Documents, probe: Path | None, audit: list[Path] | None, doctor: Path | None, blocking: Path | None
) -> Documents:  # fmt: skip
    """What was given on the command line takes the place of what the run's folder holds."""
    given: dict[str, Any] = {}
    if probe is not None:
        given["probe"] = read_probe(probe)
    if audit:
        given["audits"] = tuple(read_audit(file) for file in audit)
    if doctor is not None:
        given["doctor"] = read_doctor(doctor)
    if blocking is not None:
        given["blocking"] = read_blocking(blocking)
    return dataclasses.replace(own, **given)


def _print(bugs: tuple[Bug, ...]) -> None:
    out = console.out
    for i, bug in enumerate(bugs, 1):
        d = bug.diagnosis
        mark = "red" if bug.failure else "yellow"
        out.print(f"[bold {mark}]{i}. {_shown(d.sentence)}[/]")
        out.print(f"   cause       {_shown(d.cause)} ({d.confidence})")
        out.print(f"   signature   {_shown(bug.signature)}")
        out.print(f"   shown by    {_places(bug)}")
        for fact in d.facts:
            out.print(f"   fact        {_shown(fact.quote)}  [dim]({_shown(fact.where)})[/]")
        out.print(f"   refuted by  {_shown(d.refute)}")
        out.print(f"   test        {_shown(d.test)}")
        out.print(f"   fix         {_shown(d.fix)}\n")


def _conclude(bugs: tuple[Bug, ...], outcomes: int, untried: Counter[tuple[str, str]]) -> None:
    """The count. What could not be tried is said with it: nothing wrong in nothing is no good news."""
    if bugs:
        failures = sum(bug.failure for bug in bugs)
        console.out.print(f"{_count(len(bugs), 'distinct bug')}, {_count(failures, 'failure')} among them")
    elif not untried:
        console.out.print("nothing is wrong here")
    elif untried.total() < outcomes:
        console.out.print("nothing is wrong in what was tried")
    else:
        console.out.print("[yellow]nothing was tried, so nothing is known[/]")
    if untried:
        console.out.print(f"[yellow]{untried.total()} of {_count(outcomes, 'outcome')} could not be tried:[/]")
    for (solver, reason), n in untried.items():
        console.out.print(f"   {_shown(solver)} ({n}): {_shown(reason)}")


def _not_tried(outcomes: Sequence[Outcome]) -> Counter[tuple[str, str]]:
    """By solver and reason."""
    return Counter((it.solver, it.reason or "no reason is given") for it in outcomes if it.kind is Kind.UNAVAILABLE)


def _places(bug: Bug) -> str:
    cases, solvers = bug.cases, bug.solvers
    more = f" and {len(cases) - _SHOWN_PLACES} more" if len(cases) > _SHOWN_PLACES else ""
    return _shown(f"{', '.join(solvers)} on {', '.join(cases[:_SHOWN_PLACES])}{more} ({_count(len(bug.outcomes), 'outcome')})")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _shown(text: str) -> str:
    """Text of a program or a stranger's file, as one line that no terminal obeys and no markup changes."""
    flat = " ".join(text.split())
    return console.escape("".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in flat))
