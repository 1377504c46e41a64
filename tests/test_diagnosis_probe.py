"""A probe speaks of the library that it probed and of no other, and what it saw of a call is no cause of another outcome."""

from __future__ import annotations

import dataclasses

import pytest
import recorded_probes
from diagnosis_evidence import (
    LIETORCH_STACK,
    SEED_INPUT,
    SOLVE_INPUT,
    cuda_error,
    evidence,
    off,
    oracle,
    outcome,
    probe,
    raised,
    rung,
    seed,
)  # fmt: skip
from diagnosis_rows import ROWS as FIRST_ROWS
from diagnosis_rows import Row
from diagnosis_rows_more import MORE_ROWS

from harness.diagnosis import diagnose
from harness.diagnosis.documents import Probe
from harness.diagnosis.evidence import Evidence
from harness.outcome import Kind

RECORDED = {"collided": recorded_probes.collided(), "stubs-first": recorded_probes.stubs_first()}
WITH_EACH = pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
ROWS = [row for row in (*FIRST_ROWS, *MORE_ROWS) if row.fires.documents.probe is None and not row.fires.may_have_run("lietorch")]
TOLD = "right-multiplied update: from iteration 0 on, T <- T Exp(delta) gives each of 4 steps to 0.3 % of its length"


def cause(e: Evidence) -> str:
    diagnosis = diagnose(e)
    assert diagnosis is not None
    return diagnosis.cause


def with_probe(e: Evidence, it: Probe) -> Evidence:
    return dataclasses.replace(e, documents=dataclasses.replace(e.documents, probe=it))


@WITH_EACH
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_probe_of_lietorch_changes_nothing_for_another_solver(row: Row, recorded: Probe) -> None:
    assert diagnose(with_probe(row.fires, recorded)) == diagnose(row.fires)


@WITH_EACH
def test_a_port_on_the_cpu_whose_update_is_wrong_launches_on_no_stream(recorded: Probe) -> None:
    wrong = off(solver="mast3r-slam:/port", device="cpu", parity={"trace_cause": TOLD})
    assert cause(evidence(wrong, oracle=oracle(), probe=recorded)) == "wrong-update"


@WITH_EACH
@pytest.mark.parametrize("solver", ["lietorch", "mast3r-slam:/upstream"])
def test_what_the_iterations_and_the_values_say_comes_before_what_a_probe_says(solver: str, recorded: Probe) -> None:
    wrong = off(solver=solver, parity={"trace_cause": TOLD})
    assert cause(evidence(wrong, oracle=oracle(), probe=recorded)) == "wrong-update"
    no_pose = outcome(Kind.SOLVER_STATUS, status="NON_FINITE", solver=solver, input=SOLVE_INPUT | {"masked_nonfinite": 17})
    assert cause(evidence(no_pose, oracle=oracle(), probe=recorded)) == "poisoned-by-masked-points"


def test_the_legacy_stream_is_possible_where_the_tracker_may_have_another_stream() -> None:
    real = RECORDED["stubs-first"]
    diagnosis = diagnose(evidence(off(solver="mast3r-slam:/upstream"), probe=real))
    assert diagnosis is not None and (diagnosis.cause, diagnosis.confidence) == ("legacy-stream", "possible")
    for other in (
        evidence(off(solver="mast3r-slam:/upstream", device="cpu"), probe=real),
        evidence(off(solver="lietorch"), probe=real),  # the harness's own adapter, on the default stream
        evidence(off(solver="cuda"), probe=real),
        evidence(off(solver="mast3r-slam:/upstream"), probe=dataclasses.replace(real, target="pypose")),
    ):
        assert cause(other) == "wrong-pose"


@WITH_EACH
@pytest.mark.parametrize("solver", ["lietorch", "mast3r-slam:/upstream", "cuda", "mine"])
@pytest.mark.parametrize(("code", "named"), [(9, "invalid-configuration"), (1, "invalid-argument")])
def test_a_refused_launch_for_4096_points_is_none_of_no_blocks(code: int, named: str, solver: str, recorded: Probe) -> None:
    assert cause(evidence(cuda_error(code, solver=solver), probe=recorded)) == named
    op = cuda_error(code, solver=solver, input=SEED_INPUT)
    assert cause(evidence(op, probe=recorded)) == named


def test_only_a_launch_that_cuda_refused_speaks_for_an_empty_launch() -> None:
    unknown = cuda_error(1, solver="lietorch", input={})
    [launched] = [r for r in RECORDED["stubs-first"].rungs if r.detail.startswith("AcceleratorError") and r.batch == "0"][:1]
    assert cause(evidence(unknown, probe=Probe("probe.json", "lietorch", (launched,), ""))) == "empty-launch"
    shape = dataclasses.replace(launched, detail="RuntimeError: cannot reshape tensor of 0 elements into shape [0, -1]")
    died = dataclasses.replace(launched, result="crash", exit_name="SIGSEGV")
    for other in (shape, died):
        assert cause(evidence(unknown, probe=Probe("probe.json", "lietorch", (other,), ""))) == "invalid-argument"


def test_a_probe_of_another_library_neither_refutes_nor_proves_the_seed_crash() -> None:
    other = dataclasses.replace(probe(rung("inv", "ok")), target="pypose")
    diagnosis = diagnose(evidence(seed(), probe=other))
    assert diagnosis == diagnose(evidence(seed()))
    assert diagnosis is not None and diagnosis.cause == "host-symbol-collision"


def test_a_probe_of_a_file_is_of_the_solver_in_that_file() -> None:
    stack = LIETORCH_STACK.replace("/opt/site-packages/lietorch/groups.py", "/home/me/my_groups.py")
    mine = dataclasses.replace(probe(rung("inv", "ok")), target="./my_groups.py")
    for solver, ran in (("my_groups.py:make", True), ("/home/me/my_groups.py:make", True), ("not_my_groups.py:make", False)):
        assert evidence(off(solver=solver)).ran(mine.target) is ran, solver
    assert evidence(seed(faulthandler=stack, solver="x")).ran(mine.target)
    assert not evidence(seed(faulthandler=stack, solver="x")).ran("other/my_groups.py")


def test_of_rungs_that_say_the_same_the_one_nearest_to_the_case_is_quoted() -> None:
    diagnosis = diagnose(evidence(seed(), probe=RECORDED["collided"]))
    assert diagnosis is not None
    quoted = [fact.quote for fact in diagnosis.facts if fact.where.startswith("probe.json")]
    assert [quote.split(": ")[0] for quote in quoted] == [
        "Sim3.inv on cuda:0 in float32, batch 1", "Sim3.inv on cpu in float32, batch 1",
    ]  # fmt: skip
    side = rung("inv", "wrong", stream="side", layout="strided", thread="other", detail="NaN").words
    assert side == "Sim3.inv on cuda:0 in float32, batch 1, strided, side stream, other thread: wrong: NaN"


def test_half_precision_of_another_library_is_none_of_this_ones() -> None:
    half = raised("RuntimeError", "boom", input=SEED_INPUT | {"dtypes": ["float16"]})
    assert cause(evidence(half, probe=RECORDED["stubs-first"])) == "raised"


@pytest.mark.parametrize("versions", [{}, {"torch": "2.11"}, {"lietorch": "0.2"}])
def test_a_recording_that_ends_in_silence_is_lietorchs_only_where_it_was_installed(versions: dict[str, str]) -> None:
    recorded = {"event": "never_returned", "exception": ""}
    gone = outcome(
        Kind.INCONCLUSIVE, reason="gone", solver="recorded", input=SOLVE_INPUT | {"recorded": recorded, "versions": versions}
    )
    diagnosis = diagnose(evidence(gone, probe=RECORDED["collided"]))
    assert diagnosis is not None
    assert diagnosis.cause == ("host-symbol-collision" if "lietorch" in versions else "never-returned")
    assert diagnosis.confidence == ("likely" if "lietorch" in versions else "unknown")
