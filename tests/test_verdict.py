"""A verdict follows what the case expects: outcome, status, parity, each on its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from problem_factory import REFERENCE, oracle_of, outcome_of, random_case, run, shipped

from harness.case import Case, Expectation
from harness.outcome import CudaError, ExceptionInfo, Exit, Kind, Outcome
from harness.verdict import describe, judge
from sim3solve import reference, reference_sim3
from sim3solve.problem import Solution, Status

CASE = random_case("ray_dist", 1)
ORACLE = run(REFERENCE, CASE)
PAYLOAD: dict[Kind, dict[str, Any]] = {
    Kind.SOLVER_STATUS: {"status": "TOO_FEW_MATCHES"},
    Kind.RAISED: {"exception": ExceptionInfo("ValueError", "no")},
    Kind.CRASHED: {"exit": Exit(-11, "SIGSEGV", "a bad address", True, "SIGSEGV")},
    Kind.CUDA_ERROR: {"cuda": CudaError(700, "illegal address", True)},
    Kind.TIMEOUT: {"limit_s": 3.0},
    Kind.FINDINGS: {"findings": ({"kind": "misaligned"},)},
    Kind.INCONCLUSIVE: {"reason": "no result"},
    Kind.UNAVAILABLE: {"reason": "no GPU"},
}


def expecting(**changes: Any) -> Case:
    document = CASE.document.model_copy(update={"expect": Expectation(**changes)})
    return dataclasses.replace(CASE, document=document)


def right() -> Outcome:
    return dataclasses.replace(ORACLE, solver="torch", values={})


def wrong() -> Outcome:
    """A pose 1 rad off, consistent with itself."""
    turn = reference.exp(np.array([0, 0, 0, 0, 1.0, 0, 0]))
    T_CkCf = reference.compose(turn, np.array(ORACLE.T_CkCf))
    T_WCf = reference.compose(CASE.as_float("T_WCk")[0], T_CkCf)
    return outcome_of(CASE, Solution(Status.CONVERGED, T_WCf, T_CkCf, 4, 1.0))


def ended(kind: Kind, **more: Any) -> Outcome:
    return Outcome(CASE.id, "torch", "none", kind, "solving", 0.1, "", **PAYLOAD[kind] | more)


def test_the_oracles_pose_is_expected() -> None:
    judged = judge(right(), ORACLE, expecting())
    assert judged.expected is True
    assert judged.parity is not None
    assert judged.verdict == "torch on small agrees with the oracle: within every limit."


def test_another_pose_is_not() -> None:
    judged = judge(wrong(), ORACLE, expecting())
    assert judged.expected is False
    assert "differs from the oracle" in judged.verdict
    assert judged.verdict.endswith("Not expected: the case expects the oracle's pose.")


def test_unless_the_case_asks_for_no_parity() -> None:
    assert judge(wrong(), ORACLE, expecting(parity=False)).expected is True


def test_a_pose_that_cannot_be_compared_is_not_taken_on_trust() -> None:
    no_oracle = dataclasses.replace(ORACLE, T_CkCf=None, values={})
    judged = judge(right(), no_oracle, expecting())
    assert judged.expected is False
    assert "the oracle gave no pose to compare with" in judged.verdict
    assert judge(right(), no_oracle, expecting(parity=False)).expected is True


@pytest.mark.parametrize("kind", [kind for kind in PAYLOAD if kind is not Kind.SOLVER_STATUS])
def test_without_an_oracle_a_pose_is_no_failure_and_the_reason_is_the_oracles(kind: Kind) -> None:
    """An oracle that was ended, or died, says nothing against the solver."""
    lost = dataclasses.replace(ended(kind), solver="reference")
    judged = judge(right(), lost, expecting())
    assert judged.expected is None and judged.diagnosis is None
    assert f"Not judged: there is no oracle to compare with; {describe(lost)}" in judged.verdict
    assert judge(right(), lost, expecting(parity=False)).expected is True


@pytest.mark.parametrize("kind", [kind for kind in PAYLOAD if kind is not Kind.UNAVAILABLE])
def test_every_other_ending_is_expected_only_where_the_case_says_so(kind: Kind) -> None:
    assert judge(ended(kind), ORACLE, expecting()).expected is False
    assert "the case expects OK" in judge(ended(kind), ORACLE, expecting()).verdict
    assert judge(ended(kind), ORACLE, expecting(outcomes=(kind.value,))).expected is True
    assert judge(right(), ORACLE, expecting(outcomes=(kind.value,))).expected is False
    assert judge(ended(kind), ORACLE, expecting(outcomes=("OK", kind.value))).expected is True


def test_what_did_not_run_is_neither_expected_nor_a_surprise() -> None:
    for case in (expecting(), expecting(outcomes=("CRASHED",)), expecting(statuses=(Status.CONVERGED,))):
        judged = judge(ended(Kind.UNAVAILABLE), ORACLE, case)
        assert judged.expected is None
        assert judged.verdict == "torch on small was not run: no GPU."


def test_the_status_must_be_one_the_case_names() -> None:
    one = expecting(outcomes=("SOLVER_STATUS",), statuses=(Status.TOO_FEW_MATCHES,), parity=False)
    assert judge(ended(Kind.SOLVER_STATUS), ORACLE, one).expected is True
    other = judge(ended(Kind.SOLVER_STATUS, status="NON_FINITE"), ORACLE, one)
    assert other.expected is False
    assert "the case expects status TOO_FEW_MATCHES" in other.verdict
    stopped = dataclasses.replace(right(), status="MAX_ITERATIONS")
    assert judge(stopped, ORACLE, expecting(statuses=(Status.CONVERGED,))).expected is False
    assert judge(stopped, ORACLE, expecting(statuses=(Status.CONVERGED, Status.MAX_ITERATIONS))).expected is True


def test_a_solver_that_lost_its_pose_is_judged_even_where_the_oracle_has_one() -> None:
    """Its outcome carries a pose of NaN."""
    nan = np.full(8, np.nan)
    lost = outcome_of(CASE, Solution(Status.NOT_POSITIVE_DEFINITE, nan, nan, 0, float("nan")))
    judged = judge(lost, ORACLE, expecting())
    assert judged.expected is False
    assert "NOT_POSITIVE_DEFINITE" in judged.verdict


def test_a_baseline_must_only_run() -> None:
    baseline = dataclasses.replace(wrong(), judged=False)
    assert judge(baseline, ORACLE, expecting()).expected is True
    assert judge(ended(Kind.SOLVER_STATUS, judged=False), ORACLE, expecting()).expected is True
    crashed = judge(ended(Kind.CRASHED, judged=False), ORACLE, expecting(outcomes=("CRASHED",)))
    assert crashed.expected is False
    assert "a baseline must run" in crashed.verdict


def test_a_failure_gets_its_cause_signature_and_what_was_seen_in_the_case() -> None:
    judged = judge(ended(Kind.CUDA_ERROR, cuda=CudaError(716, "cudaErrorMisalignedAddress", True)), ORACLE, expecting())
    assert judged.diagnosis is not None
    assert (judged.diagnosis.cause, judged.diagnosis.confidence) == ("misaligned", "proven")
    assert judged.signature.startswith("cuda | 716") and judged.input["n_points"] == CASE.document.n_points
    assert judge(judged, ORACLE, expecting()) == judged


def test_what_went_well_gets_none() -> None:
    for fine in (right(), ended(Kind.CRASHED)):
        judged = judge(fine, ORACLE, expecting(outcomes=(fine.kind.value,)))
        assert (judged.diagnosis, judged.signature, judged.input) == (None, "", {})


def test_a_sibling_may_name_the_cause() -> None:
    finding = {"kind": "misaligned", "kernel": "residual", "size": 16, "message": "Invalid read of size 16: misaligned"}
    own = ended(Kind.CUDA_ERROR, cuda=CudaError(716, "cudaErrorMisalignedAddress", True))
    tool = dataclasses.replace(ended(Kind.FINDINGS, findings=(finding,)), tool="memcheck", tool_state="findings")
    alone, together = judge(own, ORACLE, expecting()), judge(own, ORACLE, expecting(), [own, tool])
    assert alone.diagnosis is not None and together.diagnosis is not None
    assert "residual" not in alone.diagnosis.sentence and "in residual" in together.diagnosis.sentence


def test_a_right_multiplied_update_is_named_from_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = reference_sim3.compose
    with monkeypatch.context() as patch:
        is_update = _recorder_of_updates(patch)
        patch.setattr(reference, "compose", lambda A, B: compose(B, A) if is_update(A) else compose(A, B))
        turned = run(REFERENCE, CASE)
    judged = judge(dataclasses.replace(turned, solver="port", values={}), ORACLE, expecting())
    assert judged.diagnosis is not None
    assert judged.diagnosis.cause == "wrong-update"
    assert judged.diagnosis.sentence.startswith("Mathematics: right-multiplied update: ")


def _recorder_of_updates(patch: pytest.MonkeyPatch) -> Any:
    """Tells the results of ``exp``, which are what an update is made of, from other poses."""
    exp, made = reference_sim3.exp, []

    def remembered(delta: np.ndarray) -> np.ndarray:
        made.append(exp(delta))
        return made[-1]

    patch.setattr(reference, "exp", remembered)
    return lambda A: any(A is update for update in made)


@pytest.mark.parametrize("name", ["degenerate-nan-invalid", "degenerate-inf-invalid", "degenerate-zero-invalid"])
def test_a_solver_that_masked_points_poison_is_told_so_by_the_case(name: str) -> None:
    nan = np.full(8, np.nan)
    lost = outcome_of(shipped(name), Solution(Status.NON_FINITE, nan, nan, 0, float("nan")), solver="naive")
    judged = judge(lost, oracle_of(name), shipped(name))
    assert judged.diagnosis is not None
    assert (judged.diagnosis.cause, judged.diagnosis.confidence) == ("poisoned-by-masked-points", "likely")


def test_a_valid_point_that_is_not_finite_is_the_inputs_fault() -> None:
    name = "degenerate-nan-valid"
    document = shipped(name).document.model_copy(update={"expect": Expectation()})
    nan = np.full(8, np.nan)
    lost = outcome_of(shipped(name), Solution(Status.NON_FINITE, nan, nan, 0, float("nan")), solver="naive")
    judged = judge(lost, oracle_of(name), dataclasses.replace(shipped(name), document=document))
    assert judged.diagnosis is not None and judged.diagnosis.sentence.startswith("Input: ")
