"""What other verbs found out, read from their ``--json`` documents: audit, probe, doctor, sweeps. Nobody vouches for the files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.diagnosis.blocking import BLOCKING, read_blocking
from harness.diagnosis.fatbinaries import FatBinary as FatBinary
from harness.diagnosis.fatbinaries import fat_binaries
from harness.errors import ResultError
from harness.jsonfile import as_utf8, parse
from harness.outcome import Outcome
from harness.run import SPECIMENS

AUDIT, AUDITS, PROBE, DOCTOR, SWEEPS = "audit.json", "audits", "probe.json", "doctor.json", "sweeps"
"""Where a run folder may hold them. ``audits`` is a folder of audits, each of the objects of one link."""

_MAX_BYTES = 64 << 20
_Read = TypeVar("_Read")


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
    """``harness audit --json``. ``fat_binaries`` are those that have kernels to launch, each content once a file. Of the symbols
    that its files want of torch, ``undefined_torch`` are those that torch lacks and ``resolved_torch`` those that it has."""

    source: str
    files: tuple[str, ...]
    collisions: tuple[Collision, ...]
    fat_binaries: tuple[FatBinary, ...]
    undefined_torch: tuple[str, ...]
    resolved_torch: tuple[str, ...] = ()
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
        """The rung as it is quoted, as the probe itself writes it: what is as usual goes without saying."""
        odd = (self.layout, f"{self.stream} stream", f"{self.thread} thread")
        usual = ("", "contiguous", " stream", "default stream", " thread", "main thread")
        call = ", ".join([f"{self.group}.{self.op} on {self.device} in {self.dtype}", f"batch {self.batch}",
                          *(word for word in odd if word not in usual)])  # fmt: skip
        return f"{call}: {self.result} {self.exit_name}".strip() + (f": {self.detail}" if self.detail else "")


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
class SweptLayout:
    """One layout of a sweep: where each tensor lay modulo 16 and 512 bytes, how the run ended, and whether that is a fault."""

    layout: str
    mod16: Mapping[str, int]
    mod512: Mapping[str, int]
    outcome: str
    faulted: bool | None


@dataclass(frozen=True)
class Sweep:
    source: str
    case: str
    solver: str
    tool: str
    layouts: tuple[SweptLayout, ...]
    rule: str


@dataclass(frozen=True)
class Documents:
    """Everything beside the outcomes that a diagnosis may rest on. ``environment`` is the run's.

    ``blocking`` are the outcomes of the same with every launch waited for. ``planted``: the solvers are specimens. That one ends
    as it must is then no reason not to say why.
    """

    audits: tuple[Audit, ...] = ()
    probe: Probe | None = None
    doctor: Doctor | None = None
    sweeps: tuple[Sweep, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    blocking: tuple[Outcome, ...] = ()
    planted: bool = False


def read_audit(file: Path) -> Audit:
    """Raises ``ResultError`` naming file and field, as do the others."""
    document = _read(file)
    source = f"{AUDITS}/{file.name}" if file.parent.name == AUDITS else file.name
    collisions = []
    for i, entry in enumerate(_list(document, "collisions", file)):
        where = f"collisions[{i}]"
        symbol, demangled, host, cuda = _words(entry, file, where, "symbol", "demangled", "host_file", "cuda_file")
        collisions.append(Collision(symbol, demangled, host, cuda, f"{source}: {where}"))
    wanted = [entry for entry in _list(document, "undefined_torch", file) if isinstance(entry, dict)]
    undefined = tuple(_name(entry, "symbol") for entry in wanted if entry.get("exported_by") == "")
    resolved = tuple(_name(entry, "symbol") for entry in wanted if entry.get("exported_by"))
    files = tuple(_name(entry, "path") for entry in _list(document, "files", file))
    verdicts = []
    for i, entry in enumerate(_list(document, "verdicts", file)):
        state, check, what = _words(entry, file, f"verdicts[{i}]", "state", "check", "what")
        verdicts.append(AuditVerdict(check, state, what, f"{source}: verdicts[{i}]"))
    return Audit(source, files, tuple(collisions), fat_binaries(document), undefined, resolved, tuple(verdicts))


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
        layout, outcome = _words(entry, file, f"layouts[{i}]", "layout", "outcome")
        tensors = entry.get("tensors", {})
        if not isinstance(tensors, dict):
            raise ResultError(file, f"layouts[{i}].tensors", "is not an object")
        places = {modulus: _offsets(tensors, modulus) for modulus in (16, 512)}
        layouts.append(SweptLayout(layout, places[16], places[512], outcome, _faulted(entry, outcome)))
    case, solver, tool, rule = (str(document.get(name, "")) for name in ("case", "solver", "tool", "rule"))
    return Sweep(f"{SWEEPS}/{file.name}", case, solver, tool, tuple(layouts), rule)


def read_documents(folder: Path, environment: Mapping[str, Any]) -> tuple[Documents, tuple[str, ...]]:
    """What a run folder holds, and one line for each file that cannot be read: a damaged aside must not cost the report."""
    problems: list[str] = []

    def read_all(read: Callable[[Path], _Read], *files: Path) -> tuple[_Read, ...]:
        found = []
        for file in files:
            try:
                found += [read(file)] if file.is_file() else []
            except ResultError as error:
                problems.append(str(error))
        return tuple(found)

    audits = read_all(read_audit, folder / AUDIT, *sorted((folder / AUDITS).glob("*.json")))
    probe, doctor = read_all(read_probe, folder / PROBE), read_all(read_doctor, folder / DOCTOR)
    sweeps = read_all(read_sweep, *sorted((folder / SWEEPS).glob("*.json")))
    blocking = read_all(read_blocking, folder / BLOCKING)
    planted = read_all(lambda file: _read(file).get("planted") is True, folder / SPECIMENS)
    one = (next(iter(probe), None), next(iter(doctor), None))
    return Documents(audits, *one, sweeps, environment, next(iter(blocking), ()), planted == (True,)), tuple(problems)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ResultError(file, "file", f"has over {_MAX_BYTES >> 20} MiB")
        document = parse(as_utf8(file.read_bytes()))
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
