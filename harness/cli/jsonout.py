"""The JSON document of a verb: on stdout with ``--json``, and with ``--out`` in a file, whose encoding no shell can change."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import UsageError
from harness.jsonfile import dumps, write_json

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write the JSON document into this file, in UTF-8 whatever the shell.")]


def ready(out: Path | None) -> None:
    """Before the work: a file that cannot be written must not be found out after minutes. Raises ``UsageError``."""
    if out is None:
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror or error}") from None
    if out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name a file in it")


def give(document: Any, *, json: bool, out: Path | None) -> None:
    """Where it is wanted. Raises ``UsageError`` for a file that cannot be written."""
    if out is not None:
        try:
            write_json(out, document)
        except OSError as error:
            raise UsageError(f"--out {out}: cannot be written: {error.strerror or error}") from None
    if json:  # in ASCII, whatever encoding this stdout has and whatever a shell takes it for
        sys.stdout.write(dumps(document, ascii=True) + "\n")
