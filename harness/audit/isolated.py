"""The parent's side of an audit: a child reads the files, and whatever becomes of it becomes a document or an ``AuditError``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import exitcode
from harness.errors import AuditError
from harness.process import child_environment

_NEVER: Callable[[str], None] = lambda file: None  # noqa: E731


@dataclass
class _Heard:
    """What a child has said so far."""

    reading: str
    answer: dict[str, Any] | None = None


def audit_files(
    files: list[Path], *, gpu: int | None = None, torch: Path | None = None, timeout_s: float = 600.0,
    started: Callable[[str], None] = _NEVER,
) -> dict[str, Any]:  # fmt: skip
    """The audit's document. ``started`` is called with each file as it is begun. Raises ``AuditError``."""
    request = {"files": [str(file) for file in files], "gpu": gpu, "torch": None if torch is None else str(torch)}
    heard = _Heard(str(files[0]) if files else "")
    with tempfile.TemporaryFile() as complaints:
        argv = [sys.executable, "-P", "-m", "harness.audit.child"]
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=child_environment(None)
        )
        timer = threading.Timer(timeout_s, child.kill)
        timer.start()
        try:
            _listen(child, json.dumps(request), heard, started)
            code = child.wait()
        finally:
            timed_out = not timer.is_alive()
            timer.cancel()
            if child.poll() is None:
                child.kill()
                child.wait()
        if heard.answer is None:
            complaints.seek(0)
            raise _death(heard.reading, code, timed_out, timeout_s, complaints.read()[-500:].decode(errors="replace"))
    if "error" in heard.answer:
        error = heard.answer["error"]
        raise AuditError(error["file"], error["field"], error["reason"])
    document: dict[str, Any] = heard.answer["document"]
    return document


def _listen(child: subprocess.Popen[bytes], request: str, heard: _Heard, started: Callable[[str], None]) -> None:
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(request.encode())
        child.stdin.close()
    except OSError:  # it died at its imports; its end says how
        return
    for line in child.stdout:
        said = json.loads(line)
        if "reading" in said:
            heard.reading = said["reading"]
            started(heard.reading)
        else:
            heard.answer = said


def _death(file: str, code: int, timed_out: bool, timeout_s: float, complaints: str) -> AuditError:
    if timed_out:
        return AuditError(file, "content", f"reading it took over {timeout_s:g} s")
    end = exitcode.decode(code)
    said = f"the process that read it ended with {end.name} ({end.meaning}) {complaints.strip()}"
    return AuditError(file, "content", said.strip())
