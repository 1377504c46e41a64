"""Tasks in whatever process an executor runs it: this one, another on this machine, a worker on another.

``run_tasks`` takes a parcel and gives back outcomes with the files of their job folders.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sim3solve
from harness import dask_worker
from harness.batch import run_batch
from harness.bench import Bench, Site, bench
from harness.cargo import ORIGIN, Ask, Bundle, fetch, from_this_disk, offer, offer_case
from harness.casefile import DOCUMENT
from harness.errors import HarnessError
from harness.isolation import Limits, Task
from harness.outcome import Outcome
from harness.process import PRELOAD, PRELOAD_TORCH
from harness.registry import SolverSpec

T = TypeVar("T")
MACHINE = "machine"
"""The file of a job folder that says where the task was run, when that was not here."""
MAX_BYTES = 64 << 20
"""What a job folder may send back; larger files are left out, and the outcome says so."""


class WorkerDiffers(HarnessError):
    """A worker would not run what was sent but something else."""


@dataclass(frozen=True)
class SentSolver:
    """A solver as it travels: one of a file by that file, one of the packages by the hash of its sources."""

    spec: SolverSpec
    file: Bundle | None
    fingerprint: str

    def here(self, ask: Ask | None = None) -> SolverSpec:
        """What it is in this process. Raises ``WorkerDiffers`` where it is another one here, and ``CargoError``."""
        if self.file is not None:
            file = fetch(self.file, ask or asking()) / self.file.files[0][0]
            return dataclasses.replace(self.spec, target=f"{file}:{self.spec.target.rpartition(':')[2]}")
        try:
            same = _fingerprint(self.spec) == self.fingerprint
        except OSError:
            same = False
        if not same:
            raise WorkerDiffers(
                f"{_here()} has another {self.spec.name} than this run's, or none: its files must be the same there"
            )
        return self.spec


@dataclass(frozen=True)
class Parcel:
    """Tasks of one solver and tool, without a path of their sender's. ``fields`` are those of each but for its case's folder."""

    fields: tuple[dict[str, Any], ...]
    cases: tuple[Bundle, ...]
    limits: Limits
    solver: SentSolver
    site: Site
    code: str


@dataclass(frozen=True)
class Ran:
    """``outcomes`` in the order of the parcel; ``files`` maps names in the folder of jobs, with forward slashes, to their bytes."""

    outcomes: tuple[Outcome, ...]
    files: dict[str, bytes]

    def unpack(self, jobs: Path) -> tuple[Outcome, ...]:
        """Write the files into folders of ``jobs``, emptied first.

        Raises ``OSError``, or ``HarnessError`` for a name that leads out of it.
        """
        for name in self.files:
            folder = name.partition("/")[0]
            if folder in ("", ".", "..", name) or not (jobs / name).resolve().is_relative_to((jobs / folder).resolve()):
                raise HarnessError(f"a worker sent a file for another folder: {name!r}")
        for folder in {name.partition("/")[0] for name in self.files}:
            shutil.rmtree(jobs / folder, ignore_errors=True)
        for name, data in self.files.items():
            (jobs / name).parent.mkdir(parents=True, exist_ok=True)
            (jobs / name).write_bytes(data)
        return self.outcomes


@functools.cache
def _case(folder: Path, written: int) -> Bundle:
    return offer_case(folder)


@functools.cache
def _fingerprint(solver: SolverSpec) -> str:
    return solver.fingerprint()


def send_solver(solver: SolverSpec) -> SentSolver:
    """Raises ``CargoError`` or ``OSError``."""
    if not solver.is_file:
        return SentSolver(solver, None, _fingerprint(solver))
    file = Path(solver.target.rpartition(":")[0])
    return SentSolver(solver, offer(file.parent, [file.name]), "")


def parcel(tasks: Sequence[Task], limits: Limits) -> Parcel:
    """Tasks as they travel: cases by their hash, and the solver. Raises ``HarnessError`` or ``OSError``."""
    names = [field.name for field in dataclasses.fields(Task) if field.name not in ("case_folder", "solver")]
    return Parcel(
        tuple({name: getattr(task, name) for name in names} for task in tasks),
        tuple(_case(task.case_folder.resolve(), (task.case_folder / DOCUMENT).stat().st_mtime_ns) for task in tasks),
        limits, send_solver(tasks[0].solver), Site(ORIGIN), CODE,
    )  # fmt: skip


def run_tasks(it: Parcel, ask: Ask | None = None) -> Ran:
    """Run a parcel here. ``ask`` gets a bundle that this process lacks; by default, as a Dask worker does or from this disk.

    Raises ``WorkerDiffers`` where this process has another harness, sim3solve or solver than the sender, and ``CargoError``.
    """
    check_code(it.code, code_version())
    solver = it.solver.here(ask)
    cases = [fetch(case, ask or asking()) for case in it.cases]
    tasks = [Task(case_folder=case, solver=solver, **fields) for case, fields in zip(cases, it.fields, strict=True)]
    return _run(bench(it.site), tasks, it.limits)


def call(code: str, fn: Callable[..., T], args: Sequence[Any], kwargs: Mapping[str, Any]) -> T:
    """``fn`` of the sender's harness, or none. Raises ``WorkerDiffers``, and what it raises."""
    check_code(code)
    return fn(*args, **kwargs)


def check_code(needed: str, on_disk: str = "") -> None:
    """``on_disk``: what children started now would run. Raises ``WorkerDiffers``."""
    if (on_disk or CODE) != CODE:
        raise WorkerDiffers(f"{_here()} runs harness and sim3solve {CODE}, and {on_disk} lies there now: start it again")
    if needed != CODE:
        raise WorkerDiffers(f"{_here()} runs harness and sim3solve {CODE}, this run needs {needed}: install the same there")


def code_version() -> str:
    """The version, where the package is installed, and a hash of every source file of harness and sim3solve."""
    digest = hashlib.sha256()
    for package in (Path(__file__).parent, Path(sim3solve.__file__).parent):
        for file in sorted(package.rglob("*")):
            if file.suffix in {".py", ".cu", ".cuh", ".cpp", ".h"}:
                digest.update(file.relative_to(package.parent).as_posix().encode() + b"\0")
                digest.update(file.read_bytes().replace(b"\r\n", b"\n") + b"\0")  # a checkout on Windows is the same source
    try:
        version = importlib.metadata.version("sim3solve")
    except importlib.metadata.PackageNotFoundError:  # run from its sources
        version = "0"
    return f"{version}+{digest.hexdigest()[:12]}"


CODE = code_version()


def _run(place: Bench, tasks: Sequence[Task], limits: Limits) -> Ran:
    jobs = place.folder / secrets.token_hex(8)
    with place.in_use():
        try:
            launcher = place.launcher(PRELOAD + (PRELOAD_TORCH if tasks[0].solver.uses_torch else ()))
            ended = {task.name: outcome for task, outcome in run_batch(tasks, limits, jobs, launcher)}
            files, left_out = _collect(jobs)
            for task in tasks:
                files[f"{task.name}/{MACHINE}"] = f"{_here()}\n".encode()
                if missing := [name for name in left_out if name.startswith(f"{task.name}/")]:
                    note = f"too large to be sent back from the worker: {', '.join(missing)}"
                    ended[task.name] = dataclasses.replace(ended[task.name], notes=(*ended[task.name].notes, note))
            return Ran(tuple(ended[task.name] for task in tasks), files)
        finally:
            shutil.rmtree(jobs, ignore_errors=True)


def _collect(jobs: Path) -> tuple[dict[str, bytes], list[str]]:
    """Every file by its name, and the names of those that are too large."""
    files: dict[str, bytes] = {}
    left_out = []
    room = MAX_BYTES
    for file in sorted(jobs.rglob("*")):
        if not file.is_file() or file.is_symlink():
            continue
        name, size = file.relative_to(jobs).as_posix(), file.stat().st_size
        if size > room:
            left_out.append(name)
            continue
        files[name] = file.read_bytes()
        room -= len(files[name])
    return files, left_out


def asking() -> Ask:
    """How this process gets a bundle that it lacks."""
    return from_this_disk if dask_worker.current() is None else dask_worker.ask


def _here() -> str:
    worker = dask_worker.current()
    return f"{platform.node()} (process {os.getpid()}" + (f", Dask worker {worker.address})" if worker is not None else ")")
