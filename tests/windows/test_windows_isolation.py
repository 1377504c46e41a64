"""Planted faults in Windows processes: each comes back with its NTSTATUS, and what has a limit is ended at it, tree and all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from harness import registry
from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import Kind
from harness.process import open_launcher

pytestmark = pytest.mark.skipif(os.name != "nt", reason="needs Windows' own exit codes and Job Objects")
CASE = Path(__file__).parents[2] / "cases" / "degenerate-n-33"
FAULTS = Path(__file__).with_name("faults_of_both.py")


@pytest.fixture
def run(tmp_path):
    launcher = open_launcher(tmp_path / "supervisor.log", threads=1)

    def run_fault(name, **limits):
        solver = name if name in registry.BUILTIN else f"{FAULTS}:{name}"
        return run_isolated(Task(CASE, read_document(CASE), registry.resolve(solver)), Limits(**limits), tmp_path / "job", launcher)

    yield run_fault
    launcher.close()


@pytest.mark.parametrize(
    ("fault", "code", "name"),
    [
        ("access_violation", 3221225477, "STATUS_ACCESS_VIOLATION"),
        ("in_a_thread", 3221225477, "STATUS_ACCESS_VIOLATION"),
        ("fast_fail", 3221226505, "STATUS_STACK_BUFFER_OVERRUN"),
        ("stack_overflow", 3221225725, "STATUS_STACK_OVERFLOW"),
        ("illegal_instruction", 3221225501, "STATUS_ILLEGAL_INSTRUCTION"),
    ],
)
def test_a_crash_has_its_status(run, fault, code, name):
    outcome = run(fault)
    assert outcome.kind is Kind.CRASHED, outcome.exception
    assert (outcome.exit.code, outcome.exit.name, outcome.stage) == (code, name, "solving")


def test_the_stack_of_a_crash_is_kept(run):
    outcome = run("access_violation")
    assert "access violation" in outcome.faulthandler
    assert "faults_of_both.py" in outcome.faulthandler


def test_abort_is_no_result_whatever_code_the_runtime_gives_it(run):
    outcome = run("abort")
    assert outcome.kind is Kind.CRASHED, outcome
    assert outcome.exit.code in (3, 3221226505)
    assert "Aborted" in outcome.faulthandler


def test_another_s_kill_is_no_time_out(run):
    outcome = run("killed")
    assert outcome.kind is Kind.INCONCLUSIVE
    assert outcome.exit.code == 9


def test_an_access_violation_that_ctypes_survives_is_no_crash(run):
    """faulthandler has printed its banner by then: the banner alone is nothing."""
    outcome = run("survived")
    assert outcome.kind is Kind.OK, outcome
    assert "lives on" in outcome.stdout
    assert "access violation" in outcome.faulthandler


def test_a_hang_is_ended_at_its_limit(run):
    outcome = run("hang", timeout_s=6)
    assert outcome.kind is Kind.TIMEOUT
    assert 5.5 < outcome.seconds < 15
    assert (outcome.exit.crashed, outcome.exit.meaning) == (False, "ended by the harness")
    assert "faults_of_both.py" in outcome.faulthandler


def test_a_child_s_child_is_ended_with_it(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SIM3SOLVE_GRANDCHILD", str(tmp_path / "pid"))
    launcher = open_launcher(tmp_path / "log", threads=1)
    task = Task(CASE, read_document(CASE), registry.resolve(f"{FAULTS}:grandchild"))
    outcome = run_isolated(task, Limits(timeout_s=8), tmp_path / "other", launcher)
    launcher.close()
    assert outcome.kind is Kind.TIMEOUT
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not psutil.pid_exists(pid)


def test_native_solves(run):
    outcome = run("native")
    assert outcome.kind is Kind.OK, outcome
    assert outcome.status == "CONVERGED"
