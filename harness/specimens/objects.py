"""Objects of specimens: built by a script of theirs and audited, so that a fault is named which no run can show the cause of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.audit.isolated import audit_files
from harness.commandline import command_line
from harness.errors import AuditError
from harness.process import child_environment
from harness.specimens.table import FILE, Audit, Specimen

_BUILD_LIMIT_S = 300.0
_SUFFIXES = (".o", ".obj")
_SAYS = {"collisions": ("launch stub collides", "launch stubs collide"), "long": ("kernel takes a long", "kernels take a long")}


@dataclass(frozen=True)
class Audited:
    """What an audit of a specimen's objects came to. ``document`` is ``harness audit --json``; None where they could not be built.

    ``is_found`` is None then, and ``seen`` says why.
    """

    seen: str
    is_found: bool | None
    verdict: str
    repeat: str
    document: Mapping[str, Any] | None = None


def audit_all(specimens: Iterable[Specimen], folder: Path) -> dict[str, Audited]:
    """By name, of those that have objects, which are left in a folder each."""
    return {each.name: _audit(each.audit, folder / each.name) for each in specimens if each.audit is not None}


def must(audit: Audit) -> str:
    """What the audit must see, in a few words."""
    return f"audit: {audit.check}: {', '.join(audit.symbols)}"


def _audit(audit: Audit, folder: Path) -> Audited:
    script, *words = audit.build
    argv = [sys.executable, str(FILE.parent / script), *words, str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    problem = _build(argv)
    objects = [file for file in sorted(folder.iterdir()) if file.suffix in _SUFFIXES]
    if problem or not objects:
        why = problem or "it left no objects"
        return Audited(f"its objects could not be built: {why}", None, why, command_line(argv))
    repeat = command_line(["python", "-m", "harness", "audit", *map(str, objects)])
    try:
        document = audit_files(objects)
    except AuditError as error:
        return Audited(f"audit: {error}", False, str(error), repeat)
    found = {check: list(_named(document, check)) for check in _SAYS}
    verdict = next((str(it["what"]) for it in document["verdicts"] if it["check"] == audit.check), "")
    return Audited(_seen(found), _is(audit, found), verdict, repeat, document)


def _build(argv: list[str]) -> str:
    """Why the objects could not be built; empty when they are there."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=child_environment(None),
            timeout=_BUILD_LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"still running after {_BUILD_LIMIT_S:g} s"
    said = done.stderr.strip() or f"exit {done.returncode}"
    return "" if done.returncode == 0 else said.splitlines()[-1]


def _named(document: Mapping[str, Any], check: str) -> Iterator[str]:
    """The readable names that a check found."""
    return (str(entry["demangled"]) for entry in document["collisions" if check == "collisions" else "long_parameters"])


def _is(audit: Audit, found: Mapping[str, list[str]]) -> bool:
    """Whether every symbol was found by its check, and nothing else by any."""
    own = found[audit.check]
    named = all(any(symbol in name for name in own) for symbol in audit.symbols)
    return named and all(any(symbol in name for symbol in audit.symbols) for name in own) and sum(map(bool, found.values())) == 1


def _seen(found: Mapping[str, list[str]]) -> str:
    parts = []
    for check, (one, several) in _SAYS.items():
        names = list(dict.fromkeys(found[check]))
        if names:
            parts.append(f"{len(names)} {one if len(names) == 1 else several}: {', '.join(names)}")
    return f"audit: {'; '.join(parts) or 'nothing'}"
