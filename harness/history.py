"""What became of every run, in one Parquet file beside the run folders: a row per run, solver and way of running.

The file is written whole or not at all, by one process at a time. A run that is recorded again replaces its rows. A file that
cannot be read is set aside, never overwritten: ``rebuild`` makes it anew from the run folders.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.diagnosis.bugs import is_failure
from harness.diagnosis.ofrun import swept_faults
from harness.diagnosis.signature import signatures
from harness.errors import HarnessError, ResultError
from harness.jsonfile import write_bytes
from harness.outcome import Kind, Outcome, how
from harness.run import RUN_FILE, Run, read_run
from sim3solve import held

FILE = "history.parquet"
VERSION = "2"

_KEY = b"sim3solve.history"
_NOT_RUN = (Kind.UNAVAILABLE, Kind.INCONCLUSIVE)
_STALE_S = 60.0
_WAIT_S = 20.0


@dataclass(frozen=True)
class Entry:
    """One solver in one run, run one way. ``median_solve_s`` and ``worst_d_sigma`` (of outcomes as expected) may be NaN.

    ``cases`` is a hash of the cases that it was tried on.
    """

    run: str
    started: str
    git: str
    machine: str
    torch: str
    solver: str
    how: str
    cases: str
    ok: int
    failed: int
    not_run: int
    bugs: tuple[str, ...]
    median_solve_s: float
    worst_d_sigma: float


_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "tuple[str, ...]": pa.list_(pa.string())}
_SCHEMA = pa.schema([(field.name, _TYPES[str(field.type)]) for field in fields(Entry)], metadata={_KEY: VERSION})


def entries(run: Run) -> list[Entry]:
    """The rows of a run."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in run.outcomes:
        groups.setdefault((outcome.solver, outcome.how), []).append(outcome)
    swept: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in swept_faults(run):
        swept.setdefault((outcome.solver, how(outcome.tool, outcome.memory)), []).append(outcome)
    about = run.environment
    machine = "; ".join([str(about.get("cpu") or "?"), *map(str, about.get("gpus") or ())])
    words = [run.id, run.started, str(about.get("git") or ""), machine, str(about.get("torch") or "")]
    return [
        _entry(words, (*key, _tried(run, outcomes)), outcomes, swept.get(key, [])) for key, outcomes in groups.items()
    ]  # fmt: skip


def _tried(run: Run, outcomes: Sequence[Outcome]) -> str:
    cases = sorted({outcome.case for outcome in outcomes if outcome.kind not in _NOT_RUN})
    named = [[case, str(run.cases.get(case, {}).get("sha256", ""))] for case in cases]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


def _entry(words: Sequence[str], key: tuple[str, str, str], outcomes: Sequence[Outcome], swept: Sequence[Outcome]) -> Entry:
    """``swept`` failed in other layouts than the recorded one: they have bugs, and are none of the counted."""
    not_run = [outcome for outcome in outcomes if outcome.kind in _NOT_RUN]
    failed = [outcome for outcome in outcomes if is_failure(outcome) and outcome not in not_run]
    fine = [outcome for outcome in outcomes if outcome not in failed and outcome not in not_run]
    times = [t for outcome in fine if (t := outcome.solve_seconds) is not None and 0 < t < math.inf]
    distances = [d for outcome in fine if math.isfinite(d := _d_sigma(outcome))]
    bugs = tuple(dict.fromkeys(named for outcome in (*failed, *swept) for named in signatures(outcome)))
    values: list[Any] = [
        *words, *key, len(fine), len(failed), len(not_run), bugs,
        statistics.median(times) if times else math.nan, max(distances, default=math.nan),
    ]  # fmt: skip
    return Entry(*values)


def _d_sigma(outcome: Outcome) -> float:
    against = (outcome.parity or {}).get("oracle")
    try:
        return float(against.get("d_sigma", math.nan)) if isinstance(against, dict) else math.nan
    except (TypeError, ValueError):  # a stranger's run
        return math.nan


@dataclass(frozen=True)
class Change:
    """What became of a solver's bugs since ``before``, the last run in which it was run the same way on the same cases."""

    entry: Entry
    before: str
    new: tuple[str, ...]
    gone: tuple[str, ...]


def changes(found: Sequence[Entry], run: str) -> tuple[Change, ...]:
    """Of a run among these, in order of start. What was never before run like that has none: what was not run is not gone."""
    names = list(dict.fromkeys(entry.run for entry in found))
    earlier = set(names[: names.index(run)])
    last = {(entry.solver, entry.how, entry.cases): entry for entry in found if entry.run in earlier}
    changed = []
    for entry in found:
        before = last.get((entry.solver, entry.how, entry.cases)) if entry.run == run else None
        if before is not None:
            now, then = set(entry.bugs), set(before.bugs)
            changed.append(Change(entry, before.run, tuple(sorted(now - then)), tuple(sorted(then - now))))
    return tuple(changed)


def record(run: Run) -> str:
    """Put a run into the history of the folder that its folder is in. Returns what went wrong on the way, in a line; else ""."""
    reports = run.folder.resolve().parent
    try:
        with _locked(reports):
            said = ""
            try:
                there = read(reports)
            except HistoryDamaged as damaged:
                aside = _set_aside(reports)
                said = f"{damaged}; it is now {aside.name}, and harness history --rebuild makes it anew from the runs"
                there = []
            _write(reports, [*(entry for entry in there if entry.run != run.id), *entries(run)])
            return said
    except (OSError, HarnessError) as error:  # a run is finished without its history, too
        return f"the run is not in {reports / FILE}: {error}"


class HistoryDamaged(HarnessError):
    """The file is no history."""


def read(reports: Path) -> list[Entry]:
    """In order of start; empty where there is no file. Raises ``HistoryDamaged``, or ``HarnessError`` for another version's."""
    file = reports / FILE
    if not file.exists():
        return []
    try:
        # Without threads: Arrow's own may outlive the interpreter by a moment, and end the process with SIGABRT.
        table = pq.ParquetFile(io.BytesIO(file.read_bytes()), pre_buffer=False).read(use_threads=False)
        version = (table.schema.metadata or {}).get(_KEY, b"none").decode(errors="replace")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HistoryDamaged(f"{file}: cannot be read: {str(error).splitlines()[0][:200]}") from None
    if version == "1":
        raise HistoryDamaged(f"{file}: is of an older harness, and does not say on which cases a solver was run")
    if version != VERSION:
        raise HarnessError(f"{file}: is of version {version}, this one writes {VERSION}: move it away, or use the newer harness")
    if not table.schema.equals(_SCHEMA):
        different = sorted(set(map(str, table.schema)) ^ set(map(str, _SCHEMA)))
        raise HistoryDamaged(f"{file}: other columns than a history has ({'; '.join(different)[:200]})")
    rows: list[dict[str, Any]] = table.to_pylist()
    if any(value is None for row in rows for value in row.values()):
        raise HistoryDamaged(f"{file}: a value is missing")
    return sorted((Entry(**row | {"bugs": tuple(row["bugs"])}) for row in rows), key=lambda entry: (entry.started, entry.run))


def rebuild(reports: Path) -> tuple[int, list[str]]:
    """Make the history anew from the finished runs in a folder. Returns how many there are, and what could not be read."""
    found: list[Entry] = []
    runs, problems = 0, []
    for file in sorted(reports.glob(f"*/{RUN_FILE}")):
        if file.parent.is_symlink():
            continue
        try:
            run = read_run(file.parent)
        except ResultError as error:
            problems.append(str(error))
            continue
        if run.finished is not None:
            found += entries(run)
            runs += 1
    with _locked(reports):
        _write(reports, found)
    return runs, problems


def _write(reports: Path, found: Sequence[Entry]) -> None:
    columns = {field.name: [getattr(entry, field.name) for entry in found] for field in fields(Entry)}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=_SCHEMA), buffer)
    write_bytes(reports / FILE, buffer.getvalue())


def _set_aside(reports: Path) -> Path:
    place = reports / f"history.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.parquet"
    held.replace(reports / FILE, place)
    return place


@contextmanager
def _locked(reports: Path) -> Iterator[None]:
    """One process at a time. A lock whose owner was killed is broken after a minute."""
    lock = reports / f".{FILE}.lock"
    deadline = time.monotonic() + _WAIT_S + _STALE_S
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            with suppress(OSError):
                if time.time() - lock.stat().st_mtime > _STALE_S:
                    lock.unlink()
                    continue
        except PermissionError:  # Windows, while another deletes it
            if not reports.is_dir() or not os.access(reports, os.W_OK):
                raise
        if time.monotonic() > deadline:
            raise HarnessError(f"{lock}: another process has held it for {_WAIT_S + _STALE_S:g} s")
        time.sleep(0.05)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
