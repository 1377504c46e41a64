"""``harness audit``: what native binaries say about themselves. No GPU is needed and nothing in them is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.audit.architectures import parse_gpu
from harness.audit.isolated import audit_files
from harness.cli import console
from harness.cli.jsonout import Json, Out, give, ready
from harness.cli.patterns import expanded

EXAMPLES = (
    'Examples: harness audit "build/temp*/**/*.o" | harness audit lietorch_backends.so --gpu sm_120 | '
    'harness audit "build/temp*/**/*.obj" --out audit.json'
)
_FILES = "ELF or COFF objects, archives of them, .so, .pyd or .dll files; or patterns of names in quotes, ** for folders below."
_SHOWN, _SHOWN_KERNELS = 20, 5
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_GPU = "Compute capability to judge the device code for, such as sm_120 or 12.0."
_TORCH = "The torch that will load the files: its package or lib folder. Default: the one installed here. It is not imported."


def command(
    files: Annotated[list[Path], typer.Argument(help=_FILES)],
    gpu: Annotated[str | None, typer.Option(help=_GPU)] = None,
    torch: Annotated[Path | None, typer.Option(help=_TORCH)] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that reading may take.")] = 600.0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Find, without running anything: CPU functions and kernels that a linker may take for one, GPUs without code, symbols that
    torch does not have, and kernels that take a long. Exit code 1 when a check fails."""
    files = expanded(files)
    ready(out)
    wanted = None if gpu is None else parse_gpu(gpu)
    show = None if json else lambda file: console.err.print(f"[dim]reading {console.escape(file)}[/]")
    document = audit_files(files, gpu=wanted, torch=torch, timeout_s=timeout, **({} if show is None else {"started": show}))
    give(document, json=json, out=out)
    if not json:
        _print(document)
    raise typer.Exit(1 if any(verdict["state"] == "fail" for verdict in document["verdicts"]) else 0)


def _print(document: dict[str, Any]) -> None:
    escape = console.escape
    for file in document["files"]:
        what = f"CUDA: {', '.join(file['evidence'])}" if file["cuda"] else "host"
        kind = "linked" if file["linked"] else "object"
        console.out.print(f"[bold]{escape(file['path'])}[/]  {file['format']} {kind}, {escape(file['machine'])}; {escape(what)}")
    _rows(
        "functions that may be folded",
        ["symbol", "in host file", "in CUDA file", "binding"],
        [[c["demangled"], c["host_file"], c["cuda_file"], c["binding"]] for c in document["collisions"]],
    )
    _rows(
        "device code",
        ["file", "arch", "kind", "bytes", "kernels"],
        [[a["file"], a["arch"], a["kind"], str(a["size"]), _kernels(a)] for a in document["architectures"]],
    )
    _rows(
        "symbols that torch lacks",
        ["file", "symbol"],
        [[t["file"], t["demangled"]] for t in document["undefined_torch"] if t["exported_by"] == ""],
    )
    _rows(
        "kernels that take a long",
        ["file", "kernel", "parameters"],
        [[k["file"], k["demangled"], ", ".join(k["parameters"])] for k in document["long_parameters"]],
    )
    for verdict in document["verdicts"]:
        console.out.print(f"[{_COLOURS[verdict['state']]}]{verdict['state']:4}[/] {escape(verdict['what'])}")
        if verdict["fix"]:
            console.out.print(f"     fix: {escape(verdict['fix'])}")
    if not document["verdicts"]:
        console.out.print("nothing to judge: no CUDA code, no symbols of torch")


def _kernels(image: dict[str, Any]) -> str:
    """How many, and the names of the first without their parameters; or why they are not known."""
    names = image["kernel_names"]
    if names is None:
        return str(image["reason"])
    short = [name.partition("(")[0] if name[:1] != "(" else name for name in names[:_SHOWN_KERNELS]]
    more = f", and {len(names) - len(short)} more" if len(names) > len(short) else ""
    return f"{len(names)}: {', '.join(short)}{more}" if names else "0"


def _rows(title: str, columns: list[str], rows: list[list[str]]) -> None:
    if not rows:
        return
    console.out.print(f"\n{title}: {len(rows)}")
    console.out.print(console.table(columns, [[console.escape(cell) for cell in row] for row in rows[:_SHOWN]]))
    if len(rows) > _SHOWN:
        console.out.print(f"... and {len(rows) - _SHOWN} more; --json has all")
    console.out.print()
