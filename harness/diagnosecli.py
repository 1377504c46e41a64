"""``harness diagnose``: one verdict per distinct bug of a finished run, or of recorded cases."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import console
from harness.casefile import find_cases
from harness.diagnosis.bugs import Bug
from harness.diagnosis.documents import Documents, read_audit, read_doctor, read_probe
from harness.diagnosis.ofrun import bugs_of_recordings, bugs_with_recordings, documents_of
from harness.jsonfile import dumps
from harness.record.ending import read_recording
from harness.run import RUN_FILE, read_run

EXAMPLES = (
    "Examples: harness diagnose reports/latest | harness diagnose reports/latest --audit audit.json --probe probe.json | "
    "harness diagnose recorded/crash-0001 --json"
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Probe = Annotated[Path | None, typer.Option(help="What harness probe --json printed.")]
Audit = Annotated[list[Path] | None, typer.Option(help="What harness audit --json printed. Repeatable.")]
Doctor = Annotated[Path | None, typer.Option(help="What harness doctor --json printed.")]
_SHOWN_PLACES = 3


def command(
    folder: Annotated[Path, typer.Argument(help="The folder of one run, a recorded case, or a folder of recorded cases.")],
    probe: Probe = None,
    audit: Audit = None,
    doctor: Doctor = None,
    json: Json = False,
) -> None:
    """Name the cause of every distinct bug: how sure that is, the facts it rests on, what would refute it, and the fix.

    A run's own audit.json, probe.json, doctor.json and layout sweeps are read as well. Exit code 1 when there is a failure.
    """
    if (folder / RUN_FILE).exists():
        run = read_run(folder)
        own, problems = documents_of(run)
        bugs = bugs_with_recordings(run, _with(own, probe, audit, doctor))
        name = run.id
    else:
        cases = [read_recording(case) for case in find_cases([folder])]  # raises where there is none
        bugs, problems, name = bugs_of_recordings(cases, _with(Documents(), probe, audit, doctor)), (), str(folder)
    if json:
        sys.stdout.write(dumps({"run": name, "bugs": [bug.to_json() for bug in bugs], "unreadable": list(problems)}) + "\n")
    else:
        for problem in problems:
            console.err.print(f"[yellow]left out:[/] {_shown(problem)}")
        _print(bugs)
    raise typer.Exit(1 if any(bug.failure for bug in bugs) else 0)


def _with(own: Documents, probe: Path | None, audit: list[Path] | None, doctor: Path | None) -> Documents:
    """What was given on the command line takes the place of what the run's folder holds."""
    given: dict[str, Any] = {}
    if probe is not None:
        given["probe"] = read_probe(probe)
    if audit:
        given["audits"] = tuple(read_audit(file) for file in audit)
    if doctor is not None:
        given["doctor"] = read_doctor(doctor)
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
    failures = sum(bug.failure for bug in bugs)
    out.print(f"{_count(len(bugs), 'distinct bug')}, {_count(failures, 'failure')} among them" if bugs else "nothing is wrong here")


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
