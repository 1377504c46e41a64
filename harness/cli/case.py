"""``harness case``: look at cases, check them, and carry them from one machine to another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.casefile import find_cases, read_case, read_document
from harness.casepack import pack_case, unpack_case
from harness.cli import console
from harness.cli.jsonout import Json
from harness.errors import CaseError
from harness.jsonfile import dumps

app = typer.Typer(no_args_is_help=True, help="List, show, check, pack and unpack cases.")
Folders = Annotated[list[Path], typer.Argument(help="Case folders, or folders of cases.")]


@app.command("list", epilog="Example: harness case list cases")
def list_command(folders: Folders, json: Json = False) -> None:
    """One line per case. A case that cannot be read is listed with what is wrong, and makes the exit code 1."""
    rows: list[list[str]] = []
    documents: list[dict[str, Any]] = []
    broken = 0
    for folder in find_cases(folders):
        try:
            d = read_document(folder)
        except CaseError as error:
            broken += 1
            rows.append([str(folder), "[red]broken[/]", "", "", console.escape(f"{error.field}: {error.reason}")])
            documents.append({"path": str(folder), "error": {"file": error.file, "field": error.field, "reason": error.reason}})
            continue
        expect = " ".join([*d.expect.outcomes, *(status.value for status in d.expect.statuses)])
        rows.append([d.id, d.kind, str(d.n_points or ""), expect, console.escape(d.title)])
        about = {"id": d.id, "kind": d.kind, "n_points": d.n_points, "expect": expect, "title": d.title, "tags": list(d.tags)}
        documents.append({"path": str(folder), **about})
    if json:
        sys.stdout.write(dumps({"cases": documents}) + "\n")
    else:
        console.out.print(console.table(["case", "kind", "points", "must happen", "title"], rows))
    raise typer.Exit(1 if broken else 0)


@app.command("show", epilog="Example: harness case show cases/degenerate-nan-valid")
def show_command(folder: Annotated[Path, typer.Argument(help="One case folder.")], json: Json = False) -> None:
    """Everything a case says, with the memory layout of its tensors."""
    document = read_case(folder).document
    if json:
        sys.stdout.write(dumps(document.model_dump(mode="json", by_alias=True)) + "\n")
        return
    console.out.print(f"[bold]{document.id}[/]  {document.kind}, {document.n_points} points\n{console.escape(document.title)}")
    expect = " ".join([*document.expect.outcomes, *(status.value for status in document.expect.statuses)])
    console.out.print(f"must happen: {expect}. {console.escape(document.expect.because)}")
    rows = [
        [name, s.dtype, str(s.shape), str(s.stride), str(s.storage_offset), str(s.data_ptr_mod_512), s.device, s.alias_group or ""]
        for name, s in document.tensors.items()
    ]
    console.out.print(console.table(["tensor", "dtype", "shape", "stride", "offset", "address mod 512", "device", "shares"], rows))
    options = {name: value for name, value in dict(document.options).items() if name in document.options.model_fields_set}
    console.out.print(f"options that are not the default: {console.escape(str(options)) if options else 'none'}")
    ended = f", {document.recorded.exit.name}" if document.recorded.exit else ""
    console.out.print(f"recorded run: {document.recorded.event}{console.escape(ended)}")
    console.out.print(
        f"source: {console.escape(document.provenance.source)}\nlicence: {console.escape(document.provenance.licence)}"
    )
    if document.provenance.attribution:
        console.out.print(f"attribution: {console.escape(document.provenance.attribution)}")


@app.command("verify", epilog="Example: harness case verify cases")
def verify_command(folders: Folders, json: Json = False) -> None:
    """Check sizes, dtypes, layout and hashes of cases. Exit code 1 when one is not what it says."""
    problems, count = [], 0
    for folder in find_cases(folders):
        count += 1
        try:
            read_case(folder)
        except CaseError as error:
            problems.append({"file": error.file, "field": error.field, "reason": error.reason})
    escape = console.escape
    if json:
        sys.stdout.write(dumps({"checked": count, "problems": problems}) + "\n")
    else:
        for problem in problems:
            console.out.print(f"[red]{escape(problem['file'])}[/]: {escape(problem['field'])}: {escape(problem['reason'])}")
        console.out.print(f"{count - len(problems)} of {count} are as they say")
    raise typer.Exit(1 if problems else 0)


@app.command("pack", epilog="Example: harness case pack cases/real-fr1-desk-0-8-ray crash.zip")
def pack_command(
    folder: Annotated[Path, typer.Argument(help="One case folder.")],
    archive: Annotated[Path | None, typer.Argument(help="The zip to write; default: ID.zip here.")] = None,
) -> None:
    """Make one portable zip of a case."""
    written = pack_case(folder, archive or Path(f"{read_document(folder).id}.zip"))
    console.out.print(f"{written} ({written.stat().st_size} bytes)")


@app.command("unpack", epilog="Example: harness case unpack crash.zip --into my-cases")
def unpack_command(
    archive: Annotated[Path, typer.Argument(help="A zip made by pack.")],
    into: Annotated[Path, typer.Option(help="Folder that gets the case.")] = Path(),
) -> None:
    """Unpack a case. Safe with a stranger's file: it is checked before it gets its name."""
    console.out.print(str(unpack_case(archive, into)))
