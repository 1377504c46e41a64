"""Every planted fault is reported as what it is, soon after it happened, and costs nobody else's result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness import process, registry
from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import Kind
from harness.process import open_launcher

ROOT = Path(__file__).parent.parent
CASE = ROOT / "cases" / "degenerate-n-33"
FAULTS = Path(__file__).with_name("faults.py")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the planted faults are POSIX's")


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    opened = open_launcher(tmp_path_factory.mktemp("launcher") / "supervisor.log", threads=1)
    yield opened
    opened.close()


@pytest.fixture
def run(launcher, tmp_path):
    def run_fault(name: str, **limits):
        solver = f"{FAULTS}:{name}" if name not in registry.BUILTIN else name
        task = Task(CASE, read_document(CASE), registry.resolve(solver))
        return run_isolated(task, Limits(**limits), tmp_path / "job", launcher)

    return run_fault


def seconds_after_fault(outcome) -> float:
    return outcome.seconds - dict(outcome.stages)["solving"]


CRASHES = {
    "segfault": "SIGSEGV", "abort": "SIGABRT", "fast_fail": "SIGABRT", "illegal_instruction": "SIGILL", "stack_overflow": "SIGSEGV",
    "killed": "SIGKILL",
}  # fmt: skip


@pytest.mark.parametrize("fault", CRASHES)
@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh-interpreter"])
def test_crash_is_a_crash_by_its_name(run, fault, fresh):
    outcome = run(fault, timeout_s=40, fresh_interpreter=fresh)
    assert outcome.kind is Kind.CRASHED, outcome
    assert outcome.exit.signal == CRASHES[fault]
    assert outcome.exit.code == -getattr(signal, CRASHES[fault])
    assert outcome.stage == "solving"
    assert seconds_after_fault(outcome) < (6 if fault == "stack_overflow" else 2)
    if fault != "killed":  # nothing can write a stack after SIGKILL
        assert "faults.py" in outcome.faulthandler


@pytest.mark.parametrize("fault", ["hang", "hang_native", "hang_ignoring_sigterm"])
def test_hang_is_a_timeout_with_its_stack(run, fault):
    outcome = run(fault, timeout_s=1.5)
    assert outcome.kind is Kind.TIMEOUT
    assert outcome.limit_s == 1.5
    assert (outcome.exit.meaning, outcome.exit.crashed) == ("ended by the harness", False)
    assert 1.4 < outcome.seconds < 3.5
    assert outcome.stage == "solving"
    assert "faults.py" in outcome.faulthandler


def test_out_of_memory_says_so(run):
    outcome = run("out_of_memory", memory_limit_bytes=4 << 30, timeout_s=30)
    assert outcome.kind is Kind.RAISED
    assert "Unable to allocate" in outcome.exception.message
    assert seconds_after_fault(outcome) < 2


def test_exit_without_result_is_inconclusive(run):
    for fault, code in (("exit_0_without_result", 0), ("exit_3_without_result", 3)):
        outcome = run(fault)
        assert outcome.kind is Kind.INCONCLUSIVE
        assert f"code {code}" in outcome.reason
        assert outcome.exit.code == code


def test_sys_exit_is_an_exception(run):
    outcome = run("sys_exit")
    assert (outcome.kind, outcome.exception.type, outcome.exception.message) == (Kind.RAISED, "SystemExit", "0")


def test_garbage_is_never_a_result(run):
    assert "returned a dict" in run("garbage_result").exception.message
    assert "7 numbers" in run("wrong_size").exception.message
    outcome = run("garbage_file")
    assert outcome.kind is Kind.INCONCLUSIVE
    assert "cannot be read" in outcome.reason


def test_exception_keeps_type_message_and_traceback(run):
    outcome = run("exception")
    assert outcome.kind is Kind.RAISED
    assert (outcome.exception.type, outcome.exception.message) == ("ValueError", "planted: <b>not</b> a pose")
    assert "faults.py" in outcome.exception.traceback
    assert seconds_after_fault(outcome) < 2


def test_solver_that_cannot_be_imported_is_an_exception_before_the_case_is_read(run):
    outcome = run("broken_factory")
    assert (outcome.kind, outcome.exception.type, outcome.stage) == (Kind.RAISED, "ImportError", "written")
    assert "loaded" not in dict(outcome.stages)


def test_cuda_error_is_named(run):
    outcome = run("cuda_error")
    assert outcome.kind is Kind.CUDA_ERROR
    assert (outcome.cuda.code, outcome.cuda.name, outcome.cuda.sticky) == (700, "cudaErrorIllegalAddress", True)


def test_nan_pose_is_not_a_pose(run):
    outcome = run("nan_pose")
    assert (outcome.kind, outcome.status) == (Kind.SOLVER_STATUS, "NON_FINITE")
    assert "said CONVERGED" in outcome.notes[0]


def test_huge_output_is_kept_head_and_tail(run, tmp_path):
    outcome = run("huge_output")
    assert outcome.kind is Kind.OK
    assert "bytes left out" in outcome.stdout
    assert len(outcome.stdout) < 100_000
    assert (tmp_path / "job" / "stdout").stat().st_size < 1 << 20


def test_endless_output_is_ended(run, monkeypatch):
    monkeypatch.setattr(process, "MAX_OUTPUT_BYTES", 64 << 20)
    outcome = run("endless_output", timeout_s=30)
    assert outcome.kind is Kind.INCONCLUSIVE
    assert "printed" in outcome.reason
    assert outcome.seconds < 10


@pytest.mark.parametrize(("fault", "kind"), [("grandchild", Kind.OK), ("grandchild_and_hang", Kind.TIMEOUT)])
def test_no_process_is_left_running(run, fault, kind):
    Path("grandchildren").unlink(missing_ok=True)
    try:
        outcome = run(fault, timeout_s=3)
        pids = [int(word) for word in Path("grandchildren").read_text().split()]
    finally:
        Path("grandchildren").unlink(missing_ok=True)
    assert outcome.kind is kind
    deadline = time.monotonic() + 3
    while any(map(_runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_runs, pids))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_crashes_cost_no_other_result(launcher, tmp_path):
    """Good and bad jobs at once on one supervisor: each gets its own end."""
    from concurrent.futures import ThreadPoolExecutor

    names = ["reference", "segfault", "torch", "abort", "skip", "stack_overflow", "exception"] * 3
    document = read_document(CASE)

    def go(item):
        i, name = item
        solver = name if name in registry.BUILTIN else f"{FAULTS}:{name}"
        return run_isolated(_numbered(CASE, document, solver, i), Limits(), tmp_path / str(i), launcher)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(go, enumerate(names)))
    for name, outcome in zip(names, outcomes, strict=True):
        wanted = Kind.OK if name in registry.BUILTIN else Kind.RAISED if name == "exception" else Kind.CRASHED
        assert outcome.kind is wanted, (name, outcome)
        if name in CRASHES:
            assert outcome.exit.signal == CRASHES[name]


def _numbered(case, document, solver, i):
    class Numbered(Task):
        @property
        def name(self):
            return f"{i}-{super().name}"

    return Numbered(case, document, registry.resolve(solver))


def test_death_of_the_supervisor_costs_only_what_was_in_flight(tmp_path):
    launcher = open_launcher(tmp_path / "supervisor.log", threads=1)
    try:
        task = Task(CASE, read_document(CASE), registry.resolve("skip"))
        assert run_isolated(task, Limits(), tmp_path / "a", launcher).kind is Kind.OK
        launcher._process.kill()
        launcher._process.wait()
        assert run_isolated(task, Limits(), tmp_path / "b", launcher).kind is Kind.OK
    finally:
        launcher.close()


def test_children_die_with_a_killed_parent(tmp_path):
    """kill -9 of the harness itself leaves no solver running."""
    out = tmp_path / "runs"
    argv = [sys.executable, "-m", "harness", "replay", str(CASE), "--solver", f"{FAULTS}:hang", "--out", str(out)]
    parent = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    pid = _wait_for_stage(out, "solving")
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _wait_for_stage(out: Path, stage: str) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for journal in out.glob("*/jobs/*/journal.jsonl"):
            lines = [json.loads(line) for line in journal.read_text().splitlines()]
            if lines and lines[-1]["stage"] == stage:
                return lines[0]["pid"]
        time.sleep(0.1)
    raise AssertionError(f"no child reached {stage}")


@pytest.mark.parametrize(
    ("torch", "kind", "word"),
    [
        ("raise ImportError('no libcudart.so.13')", Kind.UNAVAILABLE, "torch cannot be imported: no libcudart"),
        ("raise OSError('WinError 126')", Kind.UNAVAILABLE, "torch cannot be imported: WinError 126"),
        ("import os; os.abort()", Kind.CRASHED, "SIGABRT"),
    ],
)
def test_a_broken_torch_costs_its_own_solvers_and_no_other(tmp_path, monkeypatch, torch, kind, word):
    """It is among what the supervisor imports first, and even one that kills the process must not take the others along."""
    (tmp_path / "torch.py").write_text(torch)
    (tmp_path / "mine.py").write_text("def make():\n    return lambda problem, options: (problem.T_WCf, problem.T_CkCf)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launcher = open_launcher(tmp_path / "supervisor.log", threads=1)
    try:
        *of_torch, reference = (
            run_isolated(Task(CASE, read_document(CASE), registry.resolve(name)), Limits(), tmp_path / f"out{i}", launcher)
            for i, name in enumerate(("torch", f"{tmp_path / 'mine.py'}:make", "reference"))
        )
    finally:
        launcher.close()
    for outcome in of_torch:  # the second is given its tensors and knows nothing of it
        assert outcome.kind is kind
        assert word in f"{outcome.reason} {outcome.exit}"
    assert reference.kind is Kind.OK
