"""Which modules an import would find, from the files alone, and whether one can be imported at all."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from harness.adapters.which_lietorch import which_lietorch


def modules(*names: str) -> dict[str, Any]:
    """For each name: where an import would take it from, every other place that has it, and files for other Pythons.

    Looks in the current folder first, as ``python main.py`` there would. Imports none of them.
    """
    sys.path.insert(0, str(Path.cwd()))
    found = which_lietorch()
    lietorch: dict[str, Any] = {"kind": found.kind, "folder": str(found.folder or ""), "evidence": found.evidence, "fix": found.fix}
    lietorch |= {"usable": found.usable, "version": _version("lietorch")}
    return {"lietorch": lietorch, "modules": {name: _module(name) for name in names}}


def _module(name: str) -> dict[str, Any] | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError) as error:  # what finders of editable installs raise when damaged
        return {"broken": f"{type(error).__name__}: {error}"}
    others = sorted({str(file) for folder in dict.fromkeys(sys.path) for file in _files_named(Path(folder), name)})
    if spec is None:
        return {"file": None, "others": others} if others else None
    file = spec.origin if spec.has_location else None
    return {"file": file, "others": [other for other in others if other != file]}


def _files_named(folder: Path, name: str) -> list[Path]:
    """What in a folder of the import path bears the name: a package, or a module for this or any other Python."""
    try:
        found = [entry for entry in folder.iterdir() if entry.name.partition(".")[0] == name]
    except OSError:
        return []
    return [
        entry / "__init__.py" if (entry / "__init__.py").is_file() else entry
        for entry in found
        if (entry.is_dir() and entry.suffix == "") or entry.suffix in (".py", ".so", ".pyd", ".dll")
    ]


def _version(name: str) -> str | None:
    """The installed version, and the commit where pip took it from a repository."""
    try:
        distribution = importlib.metadata.distribution(name)
        direct = json.loads(distribution.read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    commit = direct.get("vcs_info", {}).get("commit_id") if isinstance(direct, dict) else None
    return str(distribution.version) + (f", commit {str(commit)[:12]}" if commit else "")


def import_one(name: str, file: str) -> dict[str, Any]:
    """Import torch, whose libraries extensions need, and then the module. ``file`` is where it lies."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        import torch  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return {"torch": f"{type(error).__name__}: {error}"}
    importlib.import_module(name)
    return {"imported": file}


def audit_one(capabilities: str, file: str) -> dict[str, Any]:
    """The verdicts of ``harness audit`` on a compiled module, for GPUs as in "90,120" or for none in particular."""
    from harness.audit.audit import Request, audit

    if Path(file).suffix == ".py":
        return {"verdicts": [], "architectures": []}
    wanted: list[int | None] = [int(gpu) for gpu in capabilities.split(",") if gpu]
    documents = [audit(Request((file,), gpu)) for gpu in wanted or [None]]
    verdicts = {(v["state"], v["what"]): v for document in documents for v in document["verdicts"]}
    return {"verdicts": list(verdicts.values()), "architectures": sorted({a["arch"] for a in documents[0]["architectures"]})}
