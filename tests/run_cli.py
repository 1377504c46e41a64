"""``harness VERB`` in this process: a new interpreter imports for seconds, on wine for many, before the verb begins."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from harness.cli import main as cli

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Done:
    """As ``subprocess.CompletedProcess`` has it."""

    returncode: int
    stdout: str
    stderr: str


def harness(*words: str, cwd: Path = ROOT) -> Done:
    """What ``python -m harness`` with these words gives. An exception that nobody catches is a traceback and code 1, as there."""
    with tempfile.TemporaryFile() as out_file, tempfile.TemporaryFile() as err_file:  # files: a program may be given one as its own
        out, err = (io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace") for file in (out_file, err_file))
        code = _code(words, cwd, out, err)
        texts = []
        for stream, file in ((out, out_file), (err, err_file)):
            stream.flush()
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace").replace("\r\n", "\n"))
            stream.detach()
    return Done(code, *texts)


def _code(words: tuple[str, ...], cwd: Path, out: TextIO, err: TextIO) -> int:
    argv, sys.argv = sys.argv, ["harness", *words]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as end:
                if isinstance(end.code, str):
                    print(end.code, file=sys.stderr)
                return end.code if isinstance(end.code, int) else int(end.code is not None)
            except Exception:  # noqa: BLE001  # as the interpreter does at its top
                traceback.print_exc()
                return 1
    finally:
        sys.argv = argv
    return 0
