"""``harness export``, ``harness bundle``, ``harness view``: a run for other programs, for somebody else, for the eye."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.casefile import read_case
from harness.cli import console
from harness.cli.jsonout import Json
from harness.diagnosis.ofrun import read_diagnosed
from harness.errors import HarnessError, UsageError
from harness.forms.readme import needs, taken_out_words
from harness.jsonfile import dumps, write_bytes
from harness.run import read_run
from harness.runfolder import resolved

BUNDLE_EXAMPLES = (
    "Examples: harness bundle reports/latest -o crash.zip | harness bundle reports/latest/outcomes/NAME.json -o crash.zip --case "
    "minimal-case | harness bundle reports/latest -o crash.zip --solver-file"
)
EXPORT_EXAMPLES = (
    "Examples: harness export reports/latest --junit junit.xml --sarif harness.sarif | harness export reports/latest --markdown - "
    '>> "$GITHUB_STEP_SUMMARY"'
)
VIEW_EXAMPLES = (
    "Examples: harness view cases/real-fr1-desk-0-8-ray | harness view cases/real-fr1-desk-0-8-ray --run reports/latest --save "
    "desk.rrd"
)
_JUNIT = "Write JUnit XML, for Jenkins, GitLab and others."
_SARIF = "Write SARIF 2.1.0: findings at lines of source, for code scanning."
_MARKDOWN = "Write a summary for an issue or a CI step, scrubbed of names, paths and secrets."
_SOURCE = "The folder of one run, whose first failure is sent, or the file of one outcome in it."
_CASE = "Send this case in place of the recorded one: what harness minimize made of it."
_SOLVER_FILE = "Send the solver's FILE.py too. It is scrubbed like everything else; look at it first."


def export_command(
    folder: Annotated[Path, typer.Argument(help="The folder of one run.", callback=resolved)],
    junit: Annotated[Path | None, typer.Option(help=_JUNIT)] = None,
    sarif: Annotated[Path | None, typer.Option(help=_SARIF)] = None,
    markdown: Annotated[Path | None, typer.Option(help=_MARKDOWN)] = None,
) -> None:
    """Write a run in forms that other programs read. A file called - is stdout."""
    if junit is None and sarif is None and markdown is None:
        raise UsageError("export: say what to write: --junit FILE, --sarif FILE, --markdown FILE")
    from harness.forms import junit as junit_form
    from harness.forms import markdown as markdown_form
    from harness.forms import sarif as sarif_form
    from harness.forms.scrub import Scrubber

    found = read_diagnosed(folder)
    if junit is not None:
        _put(junit, junit_form.junit(found))
    if sarif is not None:
        _put(sarif, (dumps(sarif_form.sarif(found)) + "\n").encode("utf-8", "backslashreplace"))
    if markdown is not None:
        scrubber = Scrubber.of_this_process()
        scrubber.learn_document(found.run.to_json())
        _put(markdown, markdown_form.markdown(found, scrubber.text).encode("utf-8", "replace"))


def _put(file: Path, data: bytes) -> None:
    if str(file) == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        write_bytes(file, data)
    except OSError as error:
        raise HarnessError(f"{file}: cannot be written: {error.strerror or error}") from error
    console.err.print(f"wrote {console.escape(str(file))} ({len(data)} bytes)")


def bundle_command(
    source: Annotated[Path, typer.Argument(help=_SOURCE, callback=resolved)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The zip to write. It must not exist.")] = Path("crash.zip"),
    case: Annotated[Path | None, typer.Option(help=_CASE)] = None,
    solver_file: Annotated[bool, typer.Option("--solver-file", help=_SOLVER_FILE)] = False,
    doctor: Annotated[bool, typer.Option(help="Examine this machine and add what was found.")] = True,
    json: Json = False,
) -> None:
    """Make one zip of a failure to send: case, report, environment, doctor, and the command that repeats it.

    Paths, names of users and hosts, addresses and secrets are taken out, and what the zip holds is printed. Nothing is sent.
    """
    from harness.forms.bundle import bundle  # pandas, for the report

    with console.err.status("making the bundle (the doctor takes some seconds)" if doctor else "making the bundle"):
        made = bundle(source, out, case=case, solver_file=solver_file, doctor=doctor)
    if json:
        sys.stdout.write(dumps(made.to_json()) + "\n")
        return
    shown = console.escape
    console.out.print(f"[bold]{shown(str(made.archive))}[/]  {made.archive.stat().st_size} bytes, not sent to anybody. It holds:")
    console.out.print(
        console.table(["file", "bytes", "what"], [[shown(it.name), str(it.bytes), shown(it.what)] for it in made.contents])
    )
    console.out.print(f"taken out: {taken_out_words(made.taken_out)}")
    console.out.print(f"shows: {made.outcome.kind.value} {shown(made.outcome.signature)}")
    console.out.print(f"again, where it is unpacked: {shown(made.repeat.posix)}")
    for need in needs(made.repeat, has_solver=solver_file):
        console.out.print(f"[yellow]{shown(need)}[/]")
    if made.other_failures:
        console.out.print(
            f"[yellow]{made.other_failures} more distinct failures in this run: bundle the file of an outcome for each[/]"
        )


def view_command(
    case: Annotated[Path, typer.Argument(help="One case folder.")],
    run: Annotated[Path | None, typer.Option(help="A run of this case: its solvers' poses are shown as well.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write an .rrd file in place of opening the viewer.")] = None,
) -> None:
    """Look at a case in Rerun: Xk, and Xf at the initial pose and at every solver's, coloured by residual, with the cameras.

    Needs rerun-sdk (python -m pip install rerun-sdk).
    """
    from harness.forms.view import view

    entities = view(read_case(case), read_run(resolved(run)).outcomes if run is not None else (), save)
    console.err.print(
        f"{len(entities)} entities" + (f" in {console.escape(str(save))}" if save is not None else " sent to the viewer")
    )
