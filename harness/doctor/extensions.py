"""Compiled modules that trackers load, and which of the two packages called lietorch this is: from the files, before any import."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import PurePath
from typing import Any

from harness.adapters.which_lietorch import INSTALL, MISSING, UNKNOWN
from harness.doctor.ask import Problem, Told
from harness.doctor.check import Check, fail, ok, skip, warn, worst

_TAG = re.compile(r"\.(?:cpython-|cp)(\d)(\d{1,2})")


def lietorch(told: Told) -> Check:
    """Princeton's, or the PDE-G-CNN package that PyPI has under the name, or a folder that merely bears it."""
    name = "lietorch"
    if isinstance(told, Problem):
        return skip(name, f"not known: {told.message}")
    found = told["lietorch"]
    if found["kind"] == MISSING:
        return skip(name, "not installed; sim3solve needs none", f"if the tracker does: {INSTALL}")
    said = found["evidence"] + (f", version {found['version']}" if found["version"] else "")
    if found["kind"] == UNKNOWN:
        return warn(name, said, found["fix"])
    if not found["usable"]:
        return fail(name, said, found["fix"])
    others = [other for other in (told["modules"]["lietorch"] or {}).get("others", []) if PurePath(other).name == "__init__.py"]
    if others:
        return warn(name, f"{said}; another one lies at {', '.join(others)}", "uninstall the one that is not meant")
    return ok(name, said)


def modules(
    told: Told,
    imports: dict[str, Told],
    audits: dict[str, Told],
    names: tuple[str, ...],
    python: tuple[int, int] = sys.version_info[:2],
) -> list[Check]:
    """A line for each compiled module that is there: for which Python and GPUs, and whether this torch can load it."""
    if isinstance(told, Problem):
        return [skip("extension modules", f"not known: {told.message}")]
    found = {name: told["modules"][name] for name in names if told["modules"].get(name)}
    lines = [_module(name, about, imports.get(name), audits.get(name), python) for name, about in found.items()]
    return lines or [skip("extension modules", f"none of {', '.join(names)} is installed")]


def _module(name: str, found: dict[str, Any], imported: Told | None, audited: Told | None, python: tuple[int, int]) -> Check:
    line = f"extension {name}"
    if "broken" in found:
        return fail(line, f"its installation is damaged: {found['broken']}", "build and install it anew")
    if found["file"] is None:
        return _not_for_this_python(line, found["others"], python)
    tag = _TAG.search(PurePath(found["file"]).name)
    said = found["file"] + (f", for Python {tag[1]}.{tag[2]}" if tag else "")
    loads = _imported(line, said, imported)
    return worst(line, [loads, *_audited(line, audited)], f"{loads.detail}{_architectures(audited)}", loads.state)


def _not_for_this_python(line: str, others: list[str], python: tuple[int, int]) -> Check:
    tags = [f"{tag[1]}.{tag[2]}" for other in others if (tag := _TAG.search(PurePath(other).name))]
    if not tags:
        return warn(line, f"nothing that can be imported: {others[0]}", "build and install it anew")
    said = f"built for Python {', '.join(tags)}; this is {python[0]}.{python[1]} on {platform.machine()}: {others[0]}"
    return fail(line, said, f"build it with the Python that runs the tracker, or run the tracker with Python {tags[0]}")


def _imported(line: str, said: str, imported: Told | None) -> Check:
    if imported is None:
        return skip(line, f"{said}; not tried")
    if not isinstance(imported, Problem):
        if "torch" in imported:
            return skip(line, f"{said}; not tried, because torch cannot be imported")
        return ok(line, f"{said}; can be imported")
    message = f"{said}: cannot be imported: {imported.message}"
    if "undefined symbol" in message or "procedure could not be found" in message:
        return fail(line, message, "it was built against another torch: build it anew with this one (--no-build-isolation)")
    if "cannot open shared object file" in message or "DLL load failed" in message:
        return fail(line, message, "a library it needs is missing: most often the CUDA runtime of the toolkit it was built with")
    return fail(line, message, "build it anew with this torch, toolkit and Python (--no-build-isolation)")


def _audited(line: str, audited: Told | None) -> list[Check]:
    """What ``harness audit`` has against the file. Its own failure is no fault of the module's."""
    if audited is None or isinstance(audited, Problem):
        return []
    # A linked file that cannot show a collision is no fault of anybody's.
    told = [verdict for verdict in audited["verdicts"] if (verdict["check"], verdict["state"]) != ("linked", "warn")]
    found = [verdict for verdict in told if verdict["state"] in ("warn", "fail")]
    return [Check(line, verdict["state"], verdict["what"], verdict["fix"] or "see harness audit") for verdict in found]


def _architectures(audited: Told | None) -> str:
    if audited is None:
        return ""
    if isinstance(audited, Problem):
        return f"; its device code was not looked into: {audited.message}"
    return f"; device code for {', '.join(audited['architectures'])}" if audited["architectures"] else "; no device code in it"
