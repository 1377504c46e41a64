"""One run of the solver of one commit, in a child as in any replay, and what is kept of it on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import registry, revision
from harness.bisect.target import Measure, measured
from harness.case import Case
from harness.casefile import read_case
from harness.gitrepo import Commit, Repository
from harness.isolation import Limits, Task, run_isolated
from harness.jsonfile import parse, write_json
from harness.memory.evidence import with_memory
from harness.outcome import POOL, Kind, Outcome
from harness.process import Launcher
from harness.verdict import judge

VOTES, JOBS = "votes", "jobs"
SOLVES = 15
"""Solves in one child when its time is the question: the shortest is the solver's, the others are the machine's."""


@dataclass
class Bench:
    """``time_beside`` is GOOD when times are compared: each run of a commit then has one of GOOD beside it."""

    repository: Repository
    case: Path
    solver: str
    tool: str
    memory: str
    limits: Limits
    folder: Path
    launcher: Launcher
    time_beside: Commit | None = None
    _known: dict[str, Any] = field(default_factory=dict)

    def run(self, commit: Commit, number: int) -> Measure:
        """Run a commit once. ``number`` counts its runs: of a pair, GOOD is now first and now second."""
        if self.time_beside is None:
            return measured(self._outcome(commit))
        pair = [self.time_beside, commit]
        outcomes = [self._outcome(one) for one in (pair if number % 2 == 0 else reversed(pair))]
        good, mine = outcomes if number % 2 == 0 else reversed(outcomes)
        if good.kind is not Kind.OK and mine.kind is Kind.OK:
            return Measure(Kind.INCONCLUSIVE.value, f"GOOD, run beside it: {good.verdict}")
        return measured(mine, good.solve_seconds)

    def _outcome(self, commit: Commit) -> Outcome:
        try:
            spec = self.spec(commit)
        except revision.NoSuchSolver as error:
            word = f"{self.solver}@{commit.short}"
            return Outcome(
                self.case.name, word, self.tool, Kind.UNAVAILABLE, "none", 0.0, "", reason=str(error), verdict=str(error)
            )
        return judge(self._run(spec, self.tool, self.memory), self._oracle(), self._case())

    def spec(self, commit: Commit) -> registry.SolverSpec:
        """Raises ``NoSuchSolver``."""
        if commit.sha not in self._known:
            self._known[commit.sha] = registry.of_revision(revision.of_commit(self.repository, commit, self.solver))
        return self._known[commit.sha]  # type: ignore[no-any-return]

    def _run(self, spec: registry.SolverSpec, tool: str, memory: str) -> Outcome:
        solves = SOLVES if self.time_beside is not None and tool == self.tool else 1
        task = Task(self.case, self._case().document, spec, tool, memory, solves=solves)
        job = self.folder / JOBS / task.name
        return with_memory(run_isolated(task, self.limits, job, self.launcher), job)

    def _case(self) -> Case:
        if "case" not in self._known:
            self._known["case"] = read_case(self.case)
        return self._known["case"]  # type: ignore[no-any-return]

    def _oracle(self) -> Outcome:
        if "oracle" not in self._known:
            self._known["oracle"] = self._run(registry.resolve("reference"), "none", POOL)
        return self._known["oracle"]  # type: ignore[no-any-return]


class Ballots:
    """What runs said, one file for each state of the solver: commits that have the same one share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / VOTES
        self._folder.mkdir(parents=True, exist_ok=True)
        self._read: dict[str, list[Measure]] = {}

    def of(self, commit: Commit) -> list[Measure]:
        key = _key(commit)
        if key not in self._read:
            try:
                rows = parse((self._folder / f"{key}.json").read_bytes())
                self._read[key] = [_measure(row) for row in rows]
            except (OSError, ValueError, TypeError, KeyError):  # none yet, or damaged from outside: it is run again
                self._read[key] = []
        return self._read[key]

    def add(self, commit: Commit, run: Measure) -> None:
        """On disk when this returns, where it says anything: what could not be run today may well run when this is taken up."""
        runs = self.of(commit)
        runs.append(run)
        if _says_something(run):
            kept = [dataclasses.asdict(one) for one in runs if _says_something(one)]
            write_json(self._folder / f"{_key(commit)}.json", kept)


def _says_something(run: Measure) -> bool:
    return run.kind not in (Kind.UNAVAILABLE.value, Kind.INCONCLUSIVE.value)


def _key(commit: Commit) -> str:
    return commit.tree or f"none-{commit.sha}"


def _measure(row: Mapping[str, Any]) -> Measure:
    numbers = {name: None if row[name] is None else float(row[name]) for name in ("d", "ratio")}
    return Measure(**{**row, **numbers, "signatures": tuple(row["signatures"])})
