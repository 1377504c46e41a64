"""What compute-sanitizer really wrote, unpacked for the tests: see recordings/record.py, which made it."""

from __future__ import annotations

import atexit
import json
import lzma
import re
import shutil
import tarfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from harness.sanitizer import records, state, text
from harness.sanitizer.records import Records
from harness.sanitizer.state import State
from harness.sanitizer.text import Log

HERE = Path(__file__).with_name("recordings")
VERSIONS = ("2025.3.1.0", "2026.4.0.0")
_FATAL = re.compile(r"^Fatal Python error: (.*)$", re.MULTILINE)


@cache
def folder(version: str) -> Path:
    """All recordings of a version, a folder each."""
    place = Path(mkdtemp(prefix=f"recordings-{version}-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    with lzma.open(HERE / f"{version}.tar.xz") as unpacked, tarfile.open(fileobj=unpacked) as archive:
        archive.extractall(place, filter="data")
    return place


def names(version: str) -> list[str]:
    with lzma.open(HERE / f"{version}.tar.xz") as unpacked, tarfile.open(fileobj=unpacked) as archive:
        return sorted({name.partition("/")[0] for name in archive.getnames() if "/" in name})


def about(version: str) -> dict[str, Any]:
    return json.loads((folder(version) / "about.json").read_text())


def ended(version: str, name: str) -> dict[str, Any]:
    return json.loads((folder(version) / name / "ended.json").read_text())


@cache
def read(version: str, name: str) -> tuple[Records, Log]:
    place, end = folder(version) / name, ended(version, name)
    log = text.read(place / "sanitizer.txt", end["tool"], place / "stderr")
    return records.read(place / "sanitizer.xml", end["tool"], nearest=log.nearest), log


def child(version: str, name: str, launched: tuple[str, ...] | None = None) -> state.Child:
    """What the recorded child left; ``launched`` is what it would have said, had it been asked."""
    place = folder(version) / name
    result, trace = place / "result.json", place / "faulthandler"
    said = json.loads(result.read_text()).get("launched") if result.exists() else None
    fatal = _FATAL.search(trace.read_text()) if trace.exists() else None
    known = launched if said is None else tuple(said)
    return state.Child(trace.exists(), result.exists(), known, fatal[1] if fatal else None)


def decide(version: str, name: str, launched: tuple[str, ...] | None = None) -> State:
    """The state of a recorded run."""
    end = ended(version, name)
    found, log = read(version, name)
    ending = state.Ending(end["code"], end["timed_out"], end["limit_s"])
    return state.decide(end["tool"], found, log, child(version, name, launched), ending, kernels=end["kernels"])
