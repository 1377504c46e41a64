"""Many tasks in one process: each outcome is what a process of its own gives, and what goes wrong in one costs no other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.batch import deal, run_batch
from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import Kind, Outcome
from harness.process import Launcher, open_launcher
from harness.registry import resolve
from harness.sanitizer import hosttools

CASES = Path(__file__).parent.parent / "cases"
NAMES = (
    "degenerate-n-33",
    "degenerate-n-0",
    "degenerate-collinear",
    "layout-misaligned",
    "degenerate-nan-invalid",
    "layout-aliased",
)
SOLVER = """
import ctypes, os, sys, time
from harness.solvers import Solver
from sim3solve import native

def make():
    seen = []
    def solve(problem, options, observe):
        seen.append(problem.n_points)
        if problem.n_points == 33:
            fault()
        return native.solve(problem, options, observe)
    return Solver(solve, arrays="numpy", devices=("cpu",))

def fault():
    what = os.environ["PLANTED"]
    if what == "segfault": ctypes.string_at(8)
    if what == "exit": os._exit(7)
    if what == "raise": raise ArithmeticError("planted")
    if what == "hang": time.sleep(60)
"""


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    opened = open_launcher(tmp_path_factory.mktemp("launcher") / "log", preload=("numpy", "harness.worker"), threads=1)
    yield opened
    opened.close()


def tasks(solver: str, names: tuple[str, ...] = NAMES, tool: str = "none", **more: str) -> list[Task]:
    return [Task(CASES / name, read_document(CASES / name), resolve(solver), tool, **more) for name in names]


def batched(wanted: list[Task], folder: Path, launcher: Launcher, timeout_s: float = 30) -> dict[str, Outcome]:
    outcomes = {task.document.id: outcome for task, outcome in run_batch(wanted, Limits(timeout_s=timeout_s), folder, launcher)}
    assert sorted(outcomes) == sorted(task.document.id for task in wanted)  # nothing lost
    return outcomes


def processes(folder: Path) -> int:
    """How many were started in all: each batch and each that was run alone has a standard error of its own."""
    return len(list(folder.glob("*/stderr")))


def told(outcome: Outcome) -> str:
    """What the solver said, in words: NaN is equal to NaN there."""
    o = outcome
    return repr((o.kind, o.status, o.T_WCf, o.T_CkCf, o.iterations, o.trace, o.tool_state, o.device))


def test_outcomes_are_those_of_processes_of_their_own(tmp_path: Path, launcher: Launcher) -> None:
    wanted = tasks("native")
    outcomes = batched(wanted, tmp_path / "batch", launcher)
    assert processes(tmp_path / "batch") == 1
    for task in wanted:
        alone = run_isolated(task, Limits(timeout_s=30), tmp_path / "alone", launcher)
        assert told(outcomes[task.document.id]) == told(alone)
        assert 0 < outcomes[task.document.id].seconds < 30 and outcomes[task.document.id].stage == "written"


@pytest.mark.parametrize(
    ("what", "kind", "at_most"),
    [("segfault", Kind.CRASHED, 3), ("exit", Kind.INCONCLUSIVE, 3), ("raise", Kind.RAISED, 3), ("hang", Kind.TIMEOUT, 3)],
)
@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], (*NAMES[1:4], NAMES[0], *NAMES[4:])], ids=["first", "last", "middle"])
def test_what_goes_wrong_in_one_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, kind: Kind, at_most: int, order: tuple[str, ...]
) -> None:
    (tmp_path / "planted.py").write_text(SOLVER, encoding="utf-8")
    monkeypatch.setenv("PLANTED", what)
    launcher = open_launcher(tmp_path / "log", preload=("numpy", "harness.worker"), threads=1)
    try:
        outcomes = batched(tasks(f"{tmp_path / 'planted.py'}:make", order), tmp_path / "jobs", launcher, 3)
    finally:
        launcher.close()
    assert outcomes["degenerate-n-33"].kind is kind
    assert all(o.kind in (Kind.OK, Kind.SOLVER_STATUS) for name, o in outcomes.items() if name != "degenerate-n-33")
    assert processes(tmp_path / "jobs") <= at_most
    if what == "hang":
        assert "time.sleep" not in outcomes["degenerate-n-33"].stderr and "in fault" in outcomes["degenerate-n-33"].faulthandler


def _has(tool: str) -> bool:
    try:
        hosttools.find(tool)
    except hosttools.RuntimeMissing:
        return False
    return True


@pytest.mark.skipif(not _has("ubsan"), reason="needs g++ with libubsan")
def test_a_batch_under_a_tool_is_clean_only_as_a_whole(tmp_path: Path, launcher: Launcher) -> None:
    outcomes = batched(tasks("native", tool="ubsan"), tmp_path, launcher, 120)
    assert {o.tool_state for o in outcomes.values()} == {"clean"} and processes(tmp_path) == 1


@pytest.mark.skipif(not _has("ubsan"), reason="needs g++ with libubsan")
def test_a_finding_is_put_on_the_case_that_has_it(tmp_path: Path, launcher: Launcher) -> None:
    """A load of 16 bytes from rows of 12: of no consequence where there are no rows."""
    specimen = Path(__file__).parent / "specimens" / "on_cpu.py"
    names = ("degenerate-n-0", "degenerate-n-33", "layout-misaligned")
    outcomes = batched(tasks(f"{specimen}:wide_load", names, "ubsan"), tmp_path, launcher, 120)
    alone = {task.document.id: run_isolated(task, Limits(timeout_s=120), tmp_path / "alone", launcher)
             for task in tasks(f"{specimen}:wide_load", names, "ubsan")}  # fmt: skip
    assert {name: o.kind for name, o in outcomes.items()} == {name: o.kind for name, o in alone.items()}
    assert outcomes["degenerate-n-33"].kind is Kind.FINDINGS and outcomes["degenerate-n-33"].findings
    assert outcomes["degenerate-n-0"].kind is not Kind.FINDINGS


@pytest.mark.parametrize("memory", ["exact", "poison"])
def test_memory_modes_work_in_a_batch(tmp_path: Path, launcher: Launcher, memory: str) -> None:
    wanted = tasks("native", memory=memory)
    outcomes = batched(wanted, tmp_path / "batch", launcher)
    assert processes(tmp_path / "batch") == 1
    assert all((tmp_path / "batch" / task.name / "memory.json").exists() for task in wanted)
    assert all(o.kind in (Kind.OK, Kind.SOLVER_STATUS) for o in outcomes.values())


def test_a_batch_is_of_one_solver_and_tool(tmp_path: Path, launcher: Launcher) -> None:
    with pytest.raises(ValueError, match="one solver"):
        list(run_batch([*tasks("native"), *tasks("skip")], Limits(), tmp_path, launcher))


def test_tasks_are_dealt_out_so_that_every_process_has_some() -> None:
    wanted = [(task, "outcomes") for task in (*tasks("native", tool="ubsan"), *tasks("native"), *tasks("skip"))]
    dealt = deal(wanted, 0, 2)
    assert sorted(len(batch) for batch, _ in dealt) == [1] * 12 + [6]
    assert sorted(len(batch) for batch, _ in deal(wanted, 4, 1)) == [3] * 6
    assert sum(len(batch) for batch, _ in deal(wanted, 1000, 64)) == 18
    assert {task.name for batch, _ in deal(wanted, 3, 2) for task in batch} == {task.name for task, _ in wanted}


def test_a_batch_killed_in_the_middle_leaves_nothing_that_counts(tmp_path: Path, launcher: Launcher) -> None:
    """What a folder held before is gone when its job is written anew."""
    wanted = tasks("native", NAMES[:2])
    batched(wanted, tmp_path, launcher)
    (tmp_path / wanted[0].name / "result.json").write_text("{}", encoding="utf-8")
    outcomes = batched(wanted, tmp_path, launcher)
    assert outcomes[wanted[0].document.id].kind in (Kind.OK, Kind.SOLVER_STATUS)
    shutil.rmtree(tmp_path)
