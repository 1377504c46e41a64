"""Planted faults in Windows processes: each comes back with its NTSTATUS, and what has a limit is ended at it, tree and all."""

from __future__ import annotations

import ctypes
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
COLLISION = Path(__file__).parents[1] / "specimens" / "collision" / "solver.py"
ON_WINE = os.name == "nt" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
HANG_LIMIT_S = 5.0
"""The limit counts the child's start as well: 15 s on wine, when the machine is busy."""


@pytest.fixture
def run(tmp_path):
    launcher = open_launcher(tmp_path / "supervisor.log", threads=1)

    def run_fault(name, **limits):
        solver = name if name in registry.BUILTIN or ":" in name else f"{FAULTS}:{name}"
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


def test_a_hang_is_ended_at_its_limit_and_its_children_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SIM3SOLVE_GRANDCHILD", str(tmp_path / "pid"))
    launcher = open_launcher(tmp_path / "log", threads=1)
    task = Task(CASE, read_document(CASE), registry.resolve(f"{FAULTS}:grandchild"))
    outcome = run_isolated(task, Limits(timeout_s=HANG_LIMIT_S), tmp_path / "other", launcher)
    launcher.close()
    assert outcome.kind is Kind.TIMEOUT
    assert outcome.seconds >= HANG_LIMIT_S
    assert (outcome.stage, outcome.exit.crashed, outcome.exit.meaning) == ("solving", False, "ended by the harness")
    assert "faults_of_both.py" in outcome.faulthandler
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    until = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not psutil.pid_exists(pid)


@pytest.mark.skipif(ON_WINE, reason="wine takes a job's memory limit and does not keep it")
def test_a_child_over_its_memory_limit_is_told_so(run):
    outcome = run("allocates", memory_limit_bytes=1 << 30)
    assert outcome.kind is Kind.RAISED, outcome
    assert "MemoryError" in outcome.exception.type


@pytest.mark.parametrize(("factory", "kind"), [("collided", Kind.RAISED), ("cured", Kind.OK)])
def test_the_specimen_of_the_collision_faults_and_its_cure_works(run, factory, kind):
    """Built by mingw: of two functions of one name the linker kept one. ctypes makes an exception of its fault."""
    outcome = run(f"{COLLISION}:{factory}")
    assert outcome.kind is kind, outcome
    if kind is Kind.RAISED:
        assert "access violation" in outcome.exception.message and " in inv" in outcome.faulthandler


def test_native_solves(run):
    outcome = run("native")
    assert outcome.kind is Kind.OK, outcome
    assert outcome.status == "CONVERGED"
