"""``harness VERB`` in this process: a new interpreter imports for seconds, on wine for many, before the verb begins."""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from harness import cli

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Done:
    """As ``subprocess.CompletedProcess`` has it."""

    returncode: int
    stdout: str
    stderr: str


def harness(*words: str, cwd: Path = ROOT) -> Done:
    """What ``python -m harness`` with these words gives. An exception that nobody catches is a traceback and code 1, as there."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2))
    argv, sys.argv = sys.argv, ["harness", *words]
    code: object = 0
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
            except Exception:  # noqa: BLE001  # as the interpreter does at its top
                traceback.print_exc()
                code = 1
    finally:
        sys.argv = argv
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8").replace("\r\n", "\n"))  # type: ignore[attr-defined]
    if isinstance(code, str):
        texts[1] += code
    return Done(code if isinstance(code, int) else 0 if code is None else 1, *texts)
