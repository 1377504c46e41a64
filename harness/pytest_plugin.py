"""``pytest cases/``: each case x available solver is one test, run in a child of its own.

What must happen is stated by the case, so a test here passes when the case's expectation is met and fails, with the evidence,
when not. A solver that cannot run on this machine is a skip that says why; it is never a pass.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.casefile import DOCUMENT, read_case, read_document
from harness.errors import CaseError, UsageError
from harness.isolation import TOOLS, YARDSTICK_TIMEOUT_S, Limits, Task, default_memory, run_isolated
from harness.loading import LOAD_LIMIT_S
from harness.memory.evidence import with_memory
from harness.outcome import Kind, Outcome
from harness.process import Launcher, open_launcher
from harness.replay import ORACLE
from harness.sanitizer import launches
from harness.verdict import judge

_ROOM_S = 30.0  # beyond the limits of the child and the oracle, for the judging


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of ``pytest cases/``."""
    group = parser.getgroup("cases", "replaying cases")
    group.addoption(
        "--solver", action="append", metavar="NAME", help="solver name or FILE.py:FACTORY; repeatable (default: built-in)"
    )
    group.addoption(
        "--case", action="append", metavar="ID", dest="case_ids", help="only the cases whose id contains this; repeatable"
    )
    group.addoption("--tool", action="append", metavar="TOOL", choices=TOOLS, help="tool to run the children under; repeatable")
    group.addoption("--case-timeout", type=float, default=Limits.timeout_s, metavar="S", help="seconds each child may take")
    group.addoption("--kernels", metavar="REGEX", help="the kernels that a CUDA tool is to watch")
    group.addoption("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A ``case.json`` is a file of tests, one per solver and tool."""
    if file_path.name != DOCUMENT:
        return None
    wanted = parent.config.getoption("case_ids")
    if wanted and not any(word in file_path.parent.name for word in wanted):
        return None
    return CaseFolder.from_parent(parent, path=file_path)


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[_SPECS] = [registry.resolve(name) for name in config.getoption("solver") or registry.BUILTIN]
        launches.chosen(config.getoption("kernels"), config.getoption("tool") or ())
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    """End every child."""
    bench = config.stash.get(_BENCH, None)
    if bench is not None:
        bench.close()


class CaseFolder(pytest.File):
    """One case."""

    def collect(self) -> Iterable[pytest.Item]:
        for spec in self.config.stash[_SPECS]:
            for tool in self.config.getoption("tool") or ("none",):
                name = spec.name if tool == "none" else f"{spec.name}-{tool}"
                yield ReplayItem.from_parent(self, name=name, spec=spec, tool=tool)


class ReplayItem(pytest.Item):
    """One case through one solver under one tool."""

    def __init__(self, *, spec: registry.SolverSpec, tool: str, **more: Any) -> None:
        super().__init__(**more)
        self.spec, self.tool = spec, tool
        # pytest-timeout ends a test that hangs here; a child that hangs is ended by its own, shorter limit.
        limits = 2 * self.config.getoption("case_timeout") + YARDSTICK_TIMEOUT_S + LOAD_LIMIT_S
        self.add_marker(pytest.mark.timeout(limits + _ROOM_S))

    def runtest(self) -> None:
        bench = self.config.stash.setdefault(_BENCH, Bench(self.config))
        memory = default_memory(self.tool)
        outcome = bench.replay(Task(self.path.parent, read_document(self.path.parent), self.spec, self.tool, memory))
        self.user_properties += [("outcome", outcome.kind.value), ("status", outcome.status or ""), ("verdict", outcome.verdict)]
        for name in ("stdout", "stderr", "faulthandler"):
            if text := getattr(outcome, name):
                self.add_report_section("call", f"child's {name}", text)
        if outcome.kind is Kind.UNAVAILABLE:
            pytest.skip(f"{self.spec.name}: {outcome.reason}")
        if outcome.expected is not True:
            raise NotAsExpected(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, (NotAsExpected, CaseError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.path.parent.name}[{self.name}]"


class NotAsExpected(Exception):
    """The case expected something else; the message holds the verdict, the evidence and the command that repeats it."""

    def __init__(self, outcome: Outcome) -> None:
        lines = [outcome.verdict, f"exit: {outcome.exit.name if outcome.exit else 'unknown'}, stage: {outcome.stage}"]
        for finding in outcome.findings:
            where = finding.get("where") or {}
            lines.append(
                f"{finding.get('kind')}: {finding.get('message')} {where.get('path') or ''}:{where.get('line') or ''}".rstrip(" :")
            )
        if outcome.exception is not None:
            lines.append(outcome.exception.traceback)
        super().__init__("\n".join([*lines, f"again: {outcome.repeat}"]))


class Bench:
    """The launcher of one pytest process, and the oracle's outcome for each case it has met."""

    def __init__(self, config: pytest.Config) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True)
        chosen = {name: config.getoption(name) for name in ("device", "kernels")}
        self._limits = Limits(timeout_s=config.getoption("case_timeout"), **chosen)
        self._launcher: Launcher = open_launcher(Path(self._folder.name) / "supervisor.log", threads=1)
        self._oracles: dict[Path, Outcome] = {}

    def replay(self, task: Task) -> Outcome:
        """The judged outcome of one task."""
        outcome = self._run(task, self._limits)
        oracle = outcome if task.solver.name == ORACLE else self._oracle(task)
        return judge(outcome, oracle, read_case(task.case_folder))

    def _oracle(self, task: Task) -> Outcome:
        if task.case_folder not in self._oracles:
            oracle = Task(task.case_folder, task.document, registry.resolve(ORACLE))
            self._oracles[task.case_folder] = self._run(oracle, self._limits.of_yardstick())
        return self._oracles[task.case_folder]

    def _run(self, task: Task, limits: Limits) -> Outcome:
        folder = Path(self._folder.name) / task.name
        return with_memory(run_isolated(task, limits, folder, self._launcher), folder)

    def close(self) -> None:
        self._launcher.close()
        self._folder.cleanup()


_SPECS: pytest.StashKey[list[registry.SolverSpec]] = pytest.StashKey()
_BENCH: pytest.StashKey[Bench] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """Say what was not run: a GPU test that did not run is not a pass."""
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if "needs an NVIDIA GPU" in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests need an NVIDIA GPU and were not run")
    yield
