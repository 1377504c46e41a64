"""Look at specimens, in children like any other solver, and say of each whether it was found for what it is."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.casefile import read_document
from harness.diagnosis.blocking import BLOCKING, is_blocking
from harness.diagnosis.documents import AUDITS
from harness.diagnosis.ofrun import diagnosed_run, documents_of
from harness.isolation import Limits, Task
from harness.jsonfile import write_json
from harness.outcome import Kind, Outcome
from harness.replay import Progress, Request, replay
from harness.run import SPECIMENS, Run, read_run, write_outcome
from harness.specimens import compare, objects
from harness.specimens.table import AUDIT_HOW, FILE, GPU_HOWS, HOST_HOWS, TIMEOUT_S, Clean, Sight, Specimen, Table, split_how
from harness.verdict import describe

ROOT = FILE.parent.parent.parent
OBJECTS = "objects"
"""A folder beside the runs, with those that were audited."""


@dataclass(frozen=True)
class Look:
    """A specimen, or a solver without a fault, under one tool and memory mode. ``sight`` None: nothing is said to be there.

    With ``how`` "audit" its objects are audited.
    """

    subject: Specimen | Clean
    how: str
    sight: Sight | None = None

    @property
    def name(self) -> str:
        return self.subject.name if isinstance(self.subject, Specimen) else self.subject.solver

    @property
    def environment(self) -> Mapping[str, str]:
        return self.sight.environment if self.sight else {}

    @property
    def shown_how(self) -> str:
        return " ".join([self.how, *(f"{name}={value}" for name, value in self.environment.items())])

    @property
    def must(self) -> str:
        if self.sight is not None:
            return compare.must(self.sight)
        if self.how == AUDIT_HOW and isinstance(self.subject, Specimen) and self.subject.audit is not None:
            return objects.must(self.subject.audit)
        return " or ".join(self.subject.elsewhere) if isinstance(self.subject, Specimen) else "OK right pose"

    def is_found(self, outcome: Outcome) -> bool | None:
        """None for what could not be run."""
        if outcome.kind is Kind.UNAVAILABLE:
            return None
        if isinstance(self.subject, Clean):
            return compare.is_clean(outcome)
        return compare.sees(self.sight, outcome) if self.sight else compare.may_be(self.subject, outcome)


@dataclass(frozen=True)
class Row:
    """One look and what was seen. ``state``: as it must be, not so, or None where it could not be run."""

    name: str
    what: str
    cure: str
    how: str
    must: str
    seen: str
    state: bool | None
    verdict: str
    repeat: str

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def looks(table: Table, *, gpu: bool, elsewhere: bool = False, platform: str = sys.platform) -> list[Look]:
    """What to look at: each sight; with ``elsewhere`` also each specimen under the other tools, and the solvers without a fault."""
    found: list[Look] = []
    for specimen in table.specimen:
        if (specimen.gpus > 0) is not gpu:
            continue
        sights = [sight for sight in specimen.sight if platform in sight.on]
        found += [Look(specimen, sight.how, sight) for sight in sights]
        found += [Look(specimen, AUDIT_HOW)] if specimen.audit is not None else []
        if elsewhere:
            named = {sight.how for sight in sights}
            named |= {tool for tool, _ in map(split_how, named) if tool != "none"}  # in one memory mode is enough
            found += [Look(specimen, how) for how in (GPU_HOWS if gpu else HOST_HOWS) if how not in named]
    if elsewhere:
        found += [Look(clean, how) for clean in table.clean if (clean.gpus > 0) is gpu for how in clean.how]
    return found


def run(
    wanted: Sequence[Look], case: Path, out: Path, *, jobs: int = 0, command: str = "", progress: Progress | None = None
) -> Found:
    """Look at all of it. Each run's folder is under ``out``; its report is the caller's to write.

    Raises ``UsageError`` or ``CaseError`` before anything is started, ``Interrupted`` on Ctrl-C.
    """
    document = read_document(case)
    subjects = {look.name: look.subject for look in wanted if isinstance(look.subject, Specimen)}
    audits = objects.audit_all(subjects.values(), out / OBJECTS)
    groups: dict[tuple[tuple[tuple[str, str], ...], Limits], list[tuple[int, Task]]] = {}
    rows: dict[int, Row] = {}
    for i, look in enumerate(wanted):
        if look.how == AUDIT_HOW:
            rows[i] = _audit_row(look, audits[look.name])
            continue
        tool, memory = split_how(look.how)
        task = Task(case, document, _solver(look.subject), tool, memory=memory)
        groups.setdefault((tuple(sorted(look.environment.items())), _limits(look.subject)), []).append((i, task))
    ran: list[_Ran] = []
    for (environment, limits), members in groups.items():
        tasks = list({task.key: task for _, task in members}.values())
        request = Request((case,), (), limits=limits, jobs=jobs, out=out, command=command, resume=False)
        with _in_environment(dict(environment)):
            done = replay(request, progress, tasks)
        ran.append(_Ran(done, is_blocking(dict(environment)), {i: (wanted[i], task) for i, task in members}))
    for each in ran:
        each.lay_beside(audits, [other for other in ran if other.blocking and other.names & each.names])
        rows |= _judge(each)
        own = [
            rows[i].to_json()
            for i in sorted(rows)
            if i in each.members or (wanted[i].how == AUDIT_HOW and wanted[i].name in each.names)
        ]
        write_json(each.run.folder / SPECIMENS, {"planted": True, "rows": own})
    return Found(tuple(rows[i] for i in range(len(wanted))), tuple(read_run(each.run.folder) for each in ran))


@dataclass(frozen=True)
class _Ran:
    """One run of what shares limits and environment; ``members`` by their place among all that is looked at."""

    run: Run
    blocking: bool
    members: Mapping[int, tuple[Look, Task]]

    @property
    def names(self) -> set[str]:
        return {look.name for look, _ in self.members.values()}

    def lay_beside(self, audits: Mapping[str, objects.Audited], waited: Sequence[_Ran]) -> None:
        """What a diagnosis finds in the run's folder: audits, and the run in which the same waited for every launch."""
        for name in self.names & audits.keys():
            if audits[name].document is not None:
                (self.run.folder / AUDITS).mkdir(exist_ok=True)
                write_json(self.run.folder / AUDITS / f"{name}.json", audits[name].document)
        if waited and not self.blocking:
            write_json(self.run.folder / BLOCKING, waited[0].run.to_json())


@dataclass(frozen=True)
class Found:
    """All rows in the order that was asked for, and the runs they come from."""

    rows: tuple[Row, ...]
    runs: tuple[Run, ...]

    @property
    def failed(self) -> bool:
        return any(row.state is False for row in self.rows)


def _judge(ran: _Ran) -> dict[int, Row]:
    """Rows, and the outcomes written again: as expected is what the specimen must show, not what its case expects."""
    done = ran.run
    documents = dataclasses.replace(documents_of(done)[0], planted=True)
    outcomes = {outcome.key: outcome for outcome in diagnosed_run(done, documents).outcomes}
    rows = {}
    for i, (look, task) in ran.members.items():
        outcome = outcomes[task.key]
        state = look.is_found(outcome)
        rows[i] = _row(look, outcome, state)
        verdict = f"{describe(outcome)} {_label(look)}"
        write_outcome(done.folder, task.name, dataclasses.replace(outcome, expected=state, verdict=verdict))
    return rows


def _row(look: Look, outcome: Outcome, state: bool | None) -> Row:
    subject = look.subject
    what, cure = (subject.what, subject.cure) if isinstance(subject, Specimen) else ("a solver without a fault", "")
    before = " ".join(f"{name}={value}" for name, value in look.environment.items())
    repeat = f"{before} {outcome.repeat}".strip()
    named = f" {outcome.diagnosis.sentence}" if outcome.diagnosis is not None and compare.cause(outcome) else ""
    verdict = f"{describe(outcome)}{named}"
    return Row(look.name, what, cure, look.shown_how, look.must, compare.seen(outcome), state, verdict, repeat)


def _audit_row(look: Look, audited: objects.Audited) -> Row:
    assert isinstance(look.subject, Specimen)
    subject = look.subject
    return Row(
        look.name, subject.what, subject.cure, AUDIT_HOW, look.must, audited.seen, audited.is_found, audited.verdict, audited.repeat
    )


def _label(look: Look) -> str:
    if isinstance(look.subject, Clean):
        return "Nothing may be found in it."
    return f"Planted on purpose: {look.subject.what}. It must be seen as {look.must}. What mends it: {look.subject.cure}."


class _WithoutTorch(registry.SolverSpec):
    """Of a file, and yet known not to import torch: nobody waits for it in vain."""

    @property
    def uses_torch(self) -> bool:
        return False


def _solver(subject: Specimen | Clean) -> registry.SolverSpec:
    """The solver, under the name that a command line has for it, so that the command shown does the same again."""
    if ":" not in subject.solver:
        return registry.resolve(subject.solver)
    name, _, factory = subject.solver.rpartition(":")
    file = FILE.parent / name
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    spec = registry.resolve(f"{shown}:{factory}")
    return spec if subject.gpus else _WithoutTorch(**dataclasses.asdict(spec))


def _limits(subject: Specimen | Clean) -> Limits:
    if isinstance(subject, Clean):
        return Limits(timeout_s=TIMEOUT_S)
    return Limits(timeout_s=subject.timeout_s, device=subject.device)


@contextmanager
def _in_environment(more: Mapping[str, str]) -> Iterator[None]:
    """What children inherit."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
