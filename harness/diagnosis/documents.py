"""What other verbs found out, read from their ``--json`` documents: audit, probe, doctor, sweeps. Nobody vouches for the files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.diagnosis.sweeps import Sweep, SweptLayout
from harness.errors import ResultError
from harness.jsonfile import parse
from harness.run import SWEEPS

AUDIT, PROBE, DOCTOR = "audit.json", "probe.json", "doctor.json"
"""Where a run folder may hold them."""

_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Collision:
    """One symbol that host and CUDA code both define. ``where`` is its place in the document."""

    symbol: str
    demangled: str
    host_file: str
    cuda_file: str
    where: str


@dataclass(frozen=True)
class AuditVerdict:
    """What one check of an audit says. ``check`` is collisions, linked, architectures, torch or long; else empty."""

    check: str
    state: str
    what: str
    where: str


@dataclass(frozen=True)
class Audit:
    """``harness audit --json``. ``architectures`` are words like sm_90, compute_90."""

    source: str
    files: tuple[str, ...]
    collisions: tuple[Collision, ...]
    architectures: tuple[str, ...]
    undefined_torch: tuple[str, ...]
    verdicts: tuple[AuditVerdict, ...] = ()

    def about(self, check: str, state: str) -> tuple[AuditVerdict, ...]:
        return tuple(it for it in self.verdicts if (it.check, it.state) == (check, state))

    @property
    def clean_of_collisions(self) -> bool:
        """Whether host and CUDA objects were compared and share nothing. An empty list alone may mean that nothing was compared."""
        if self.collisions or any(it.check in ("collisions", "linked") and it.state == "fail" for it in self.verdicts):
            return False
        if any(it.check for it in self.verdicts):
            return bool(self.about("collisions", "ok"))
        return not any("collision" in it.what.lower() and it.state != "ok" for it in self.verdicts)


@dataclass(frozen=True)
class Rung:
    """One step of ``harness probe``. ``exit_name`` is that of a process that died."""

    op: str
    group: str
    dtype: str
    device: str
    batch: str
    layout: str
    stream: str
    thread: str
    result: str
    detail: str
    error: float | None
    exit_name: str
    where: str

    @property
    def words(self) -> str:
        """The rung as it is quoted."""
        names = (self.group, self.op, self.dtype, self.device, self.batch, self.layout, self.stream, self.thread)
        end = f"{self.result} {self.exit_name}".strip()
        return f"{' '.join(name for name in names if name)}: {end}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class Probe:
    source: str
    target: str
    rungs: tuple[Rung, ...]
    conclusion: str


@dataclass(frozen=True)
class Check:
    name: str
    state: str
    detail: str
    fix: str
    where: str


@dataclass(frozen=True)
class Doctor:
    source: str
    checks: tuple[Check, ...]

    def about(self, pattern: str) -> tuple[Check, ...]:
        """The checks whose name speaks of it."""
        return tuple(check for check in self.checks if re.search(pattern, check.name, re.IGNORECASE))


@dataclass(frozen=True)
class Documents:
    """Everything beside the outcomes that a diagnosis may rest on. ``environment`` is the run's."""

    audits: tuple[Audit, ...] = ()
    probe: Probe | None = None
    doctor: Doctor | None = None
    sweeps: tuple[Sweep, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)


def read_audit(file: Path) -> Audit:
    """Raises ``ResultError`` naming file and field, as do the others."""
    document = _read(file)
    collisions = []
    for i, entry in enumerate(_list(document, "collisions", file)):
        where = f"collisions[{i}]"
        symbol, demangled, host, cuda = _words(entry, file, where, "symbol", "demangled", "host_file", "cuda_file")
        collisions.append(Collision(symbol, demangled, host, cuda, f"{file.name}: {where}"))
    architectures = re.findall(r"\b(?:sm|compute)_\d+[a-z]?\b", str(document.get("architectures", "")))
    undefined = tuple(_name(entry, "symbol") for entry in _list(document, "undefined_torch", file))
    files = tuple(_name(entry, "path") for entry in _list(document, "files", file))
    verdicts = []
    for i, entry in enumerate(_list(document, "verdicts", file)):
        state, check, what = _words(entry, file, f"verdicts[{i}]", "state", "check", "what")
        verdicts.append(AuditVerdict(check, state, what, f"{file.name}: verdicts[{i}]"))
    return Audit(file.name, files, tuple(collisions), tuple(dict.fromkeys(architectures)), undefined, tuple(verdicts))


def read_probe(file: Path) -> Probe:
    document = _read(file)
    names = ("op", "group", "dtype", "device", "batch", "layout", "stream", "thread", "result", "detail")
    rungs = []
    for i, entry in enumerate(_list(document, "rungs", file)):
        words = dict(zip(names, _words(entry, file, f"rungs[{i}]", *names), strict=True))
        ended = entry.get("exit")
        name = str(ended.get("name", "")) if isinstance(ended, dict) else ""
        rungs.append(Rung(**words, error=_number(entry.get("error")), exit_name=name, where=f"{file.name}: rungs[{i}]"))
    return Probe(file.name, str(document.get("target", "")), tuple(rungs), str(document.get("conclusion", "")))


def read_doctor(file: Path) -> Doctor:
    document = _read(file)
    checks = []
    for i, entry in enumerate(_list(document, "checks", file)):
        name, state, detail, fix = _words(entry, file, f"checks[{i}]", "name", "state", "detail", "fix")
        checks.append(Check(name, state, detail, fix, f"{file.name}: checks[{i}]"))
    return Doctor(file.name, tuple(checks))


def read_sweep(file: Path) -> Sweep:
    document = _read(file)
    layouts = []
    for i, entry in enumerate(_list(document, "layouts", file)):
        layout, outcome, sort = _words(entry, file, f"layouts[{i}]", "layout", "outcome", "signature")
        tensors = entry.get("tensors", {})
        if not isinstance(tensors, dict):
            raise ResultError(file, f"layouts[{i}].tensors", "is not an object")
        places = {modulus: _offsets(tensors, modulus) for modulus in (16, 512)}
        layouts.append(SweptLayout(layout, places[16], places[512], outcome, _faulted(entry, outcome), sort))
    case, solver, tool, rule, state = (str(document.get(name, "")) for name in ("case", "solver", "tool", "rule", "state"))
    return Sweep(f"{SWEEPS}/{file.name}", case, solver, tool, tuple(layouts), rule, state)


def read_documents(folder: Path, environment: Mapping[str, Any]) -> tuple[Documents, tuple[str, ...]]:
    """What a run folder holds, and one line for each file that cannot be read: a damaged aside must not cost the report."""
    problems: list[str] = []
    found: dict[str, Any] = {}
    for name, read in ((AUDIT, read_audit), (PROBE, read_probe), (DOCTOR, read_doctor)):
        if (folder / name).is_file():
            try:
                found[name] = read(folder / name)
            except ResultError as error:
                problems.append(str(error))
    sweeps = []
    for file in sorted((folder / SWEEPS).glob("*.json")):
        try:
            sweeps.append(read_sweep(file))
        except ResultError as error:
            problems.append(str(error))
    audits = (found[AUDIT],) if AUDIT in found else ()
    return Documents(audits, found.get(PROBE), found.get(DOCTOR), tuple(sweeps), environment), tuple(problems)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ResultError(file, "file", f"has over {_MAX_BYTES >> 20} MiB")
        document = parse(file.read_bytes())
    except OSError as error:
        raise ResultError(file, "file", error.strerror or str(error)) from None
    except ValueError as error:
        raise ResultError(file, "json", str(error)) from None
    if not isinstance(document, dict):
        raise ResultError(file, "json", "is not an object")
    return document


def _list(document: dict[str, Any], name: str, file: Path) -> list[Any]:
    entries = document.get(name)
    if not isinstance(entries, list):
        raise ResultError(file, name, "missing" if name not in document else "is not a list")
    return entries


def _words(entry: Any, file: Path, where: str, *names: str) -> tuple[str, ...]:
    """The first name must be there; the others may be missing or null."""
    if not isinstance(entry, dict):
        raise ResultError(file, where, "is not an object")
    if not isinstance(entry.get(names[0]), str):
        raise ResultError(file, f"{where}.{names[0]}", "missing" if names[0] not in entry else "is not text")
    return tuple("" if entry.get(name) is None else str(entry[name]) for name in names)


def _name(entry: Any, key: str) -> str:
    """An entry that is a name, or an object that has one."""
    return str(entry.get(key, "?")) if isinstance(entry, dict) else str(entry)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _offsets(tensors: dict[str, Any], modulus: int) -> dict[str, int]:
    found = {}
    for name, place in tensors.items():
        value = place.get(f"mod{modulus}") if isinstance(place, dict) else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < modulus:
            found[str(name)] = value
    return found


def _faulted(entry: dict[str, Any], outcome: str) -> bool | None:
    """What the sweep says; where it does not, whether the process came to an end of its own."""
    if isinstance(entry.get("faulted"), bool) or "faulted" in entry:
        return entry["faulted"] if isinstance(entry["faulted"], bool) else None
    return None if outcome in ("UNAVAILABLE", "INCONCLUSIVE") else outcome not in ("OK", "SOLVER_STATUS")
