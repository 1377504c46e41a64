"""Every planted memory fault is found by the mode that must find it, and named; what is healthy is healthy in every mode."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.memory import heap
from harness.memory.evidence import with_memory
from harness.outcome import Kind, Outcome
from harness.process import Launcher, open_launcher
from harness.registry import resolve
from harness.sanitizer.finding import KEYS

ROOT = Path(__file__).parent.parent
FAULTS = Path(__file__).with_name("memory_faults.py")
CASE = "layout-column-slice"
MODES = ("pool", "exact", "poison")
posix = pytest.mark.skipif(os.name == "nt", reason="a fatal access becomes an exception of ctypes' on Windows")


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    made = open_launcher(tmp_path_factory.mktemp("supervisor") / "log", threads=1)
    yield made
    made.close()


@pytest.fixture
def run(launcher: Launcher, tmp_path: Path):
    def run(solver: str, memory: str, case: str = CASE, limits: Limits | None = None) -> Outcome:
        name = solver if solver in ("native", "torch", "reference") or ":" in solver else f"{FAULTS}:{solver}"
        task = Task(ROOT / "cases" / case, read_document(ROOT / "cases" / case), resolve(name), memory=memory)
        folder = tmp_path / task.name
        return with_memory(run_isolated(task, limits or Limits(timeout_s=60), folder, launcher), folder)

    return run


def the_finding(outcome: Outcome) -> dict:
    (found,) = outcome.findings
    assert set(found) == set(KEYS) and found["tool"] == outcome.memory and found["signature"]
    return found


# --- what each mode must find -----------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("fault", "direction", "message"),
    [
        ("read_past", "read", "read 1 byte past the end of T_WCk"),
        ("read_one_byte_past", "read", "read 1 byte past the end of valid_opt"),
        ("read_before", "read", "read 4 bytes before the start of T_WCk"),
        ("write_before", "write", "wrote 4 bytes before the start of T_WCk"),
        ("write_far_past", "write", "wrote 40001 bytes past the end of T_WCk"),
    ],
)
def test_exact_memory_ends_where_the_tensor_does(run, fault, direction, message):
    assert run(fault, "pool").kind is Kind.OK  # hidden
    outcome = run(fault, "exact")
    assert (outcome.kind, outcome.exit.signal) == (Kind.CRASHED, "SIGSEGV")
    found = the_finding(outcome)
    assert (found["kind"], found["message"]) == ("out-of-bounds", message)
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        assert found["direction"] == direction
    assert found["nearest_allocation"]["size"] in (32, 259) and found["address"]
    assert "memory_faults.py" in outcome.faulthandler  # and Python's stack is there as well


@posix
def test_a_write_past_the_end_is_found_by_exact_and_by_poison(run):
    assert run("write_past", "pool").kind is Kind.OK
    exact = run("write_past", "exact")
    assert exact.kind is Kind.CRASHED and the_finding(exact)["direction"] == "write"
    poison = run("write_past", "poison")
    found = the_finding(poison)
    assert poison.kind is Kind.FINDINGS and poison.status == "CONVERGED"
    assert (found["kind"], found["direction"], found["size"], found["space"]) == ("out-of-bounds", "write", 4, "heap")
    assert found["nearest_allocation"]["distance"] == 1 and "past the end of T_WCk" in found["message"]


@pytest.mark.parametrize(
    ("fault", "kind", "where"),
    [
        ("read_gap", "uninitialized", "between the elements of Xf"),
        ("read_own", "uninitialized", "of its own that it has not written"),
        ("read_past_into_pose", "out-of-bounds", "past the end of T_WCk"),
        ("sees_poison_as_true", "out-of-bounds", "past the end of valid_opt"),
    ],
)
def test_a_result_that_depends_on_memory_of_no_tensor_is_found_by_poison(run, fault, kind, where):
    if fault == "read_own" and not heap.fill(None):
        pytest.skip("only glibc fills what malloc gives")
    outcome = run(fault, "poison")
    found = the_finding(outcome)
    assert outcome.kind is Kind.FINDINGS
    assert (found["kind"], found["direction"]) == (kind, "read") and found["message"].endswith(where)
    if fault != "sees_poison_as_true":
        assert np.isnan(outcome.T_CkCf).any() and outcome.status == "NON_FINITE"  # the NaN that reached the pose is there to see
    assert any(note.startswith("NaN where no tensor is gives") for note in outcome.notes)


def test_what_is_hidden_from_the_pool_is_not_found_there(run):
    for fault in ("read_one_byte_past", "sees_poison_as_true", "write_before"):
        assert run(fault, "pool").kind is Kind.OK


def test_writing_an_input_is_said_and_is_no_finding(run):
    for memory in ("exact", "poison"):
        outcome = run("write_input", memory)
        assert outcome.findings == () and "it wrote to its input T_WCk" in outcome.notes


@posix
def test_a_death_beside_no_tensor_is_not_blamed_on_one(run):
    outcome = run("wild", "exact")
    assert outcome.kind is Kind.CRASHED and outcome.findings == ()
    assert any("0x8, which is not beside any tensor" in note for note in outcome.notes)


@posix
def test_an_alignment_that_was_given_up_is_said_where_it_may_matter(run):
    outcome = run("aligned_load_of_Xk", "exact")  # legitimate with what the pool gives, deadly at the end of a page
    assert outcome.kind is Kind.CRASHED and outcome.findings == ()
    said = " ".join(outcome.notes)
    assert "gave no address" in said and "Xk modulo 4" in said
    assert run("aligned_load_of_Xk", "pool").kind is Kind.OK


def test_a_read_that_ends_in_nan_is_found_in_a_result_that_is_never_the_same_twice(run):
    outcome = run("by_chance_and_reads_past", "poison")
    assert the_finding(outcome)["message"] == "its result depends on memory past the end of T_WCk"
    assert outcome.values["repeatable"] is False and "only reads that end in NaN are told" in " ".join(outcome.notes)


# --- what must not be found -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CASE, "layout-expanded", "layout-misaligned", "degenerate-n-0", "degenerate-calib-nan-invalid"])
@pytest.mark.parametrize("solver", ["native", "torch", "reference"])
def test_the_shipped_solvers_do_the_same_in_every_mode(run, solver, case):
    outcomes = [run(solver, memory, case) for memory in MODES]
    assert all(outcome.findings == () and not outcome.notes for outcome in outcomes)
    assert len({(outcome.kind, outcome.status, outcome.iterations) for outcome in outcomes}) == 1
    poses = np.array([outcome.T_CkCf for outcome in outcomes])
    assert np.allclose(poses, poses[0], rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("memory", ["exact", "poison"])
def test_no_memory_is_blamed_for_what_is_chance(run, memory):
    outcome = run("by_chance", memory)
    assert outcome.findings == () and outcome.kind is Kind.OK and outcome.values["repeatable"] is False
    assert [note for note in outcome.notes if "not repeatable" in note] == list(outcome.notes)  # one, and no other


def test_the_planted_uninitialised_sum_is_blamed_on_no_tensor_of_a_small_case(run):
    """What glibc leaves as it was in small blocks differs from solve to solve."""
    outcome = run(f"{ROOT / 'tests' / 'specimens' / 'on_cpu.py'}:uninitialised_sum", "poison", "degenerate-n-33")
    assert all("memory of its own" in found["message"] for found in outcome.findings) and len(outcome.findings) <= 1


def test_a_solver_that_cannot_run_is_unavailable_in_every_mode(run):
    assert {run("torch", memory, "op-sim3-identity-inv-cuda").kind for memory in MODES} <= {Kind.UNAVAILABLE, Kind.OK}


def test_the_time_limit_holds_for_all_solves_together(run):
    outcome = run("slow", "poison", limits=Limits(timeout_s=2.0))
    assert outcome.kind is Kind.TIMEOUT and outcome.stage.startswith("again")


def test_half_of_the_time_limit_is_for_looking_into_it(run):
    outcome = run("slow_and_reads_past", "poison", limits=Limits(timeout_s=5.0))
    assert outcome.status == "NON_FINITE" and outcome.findings == ()
    assert "whether that is so every time was not looked into: the time limit is near" in " ".join(outcome.notes)
