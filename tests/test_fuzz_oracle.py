"""What a find's case expects: a replay of it fails while the fault is there, and not when it is gone."""

from __future__ import annotations

import dataclasses

import pytest
from problem_factory import shipped

from harness.fuzz.oracle import expectation
from harness.outcome import NO_POSE, Kind, Outcome
from harness.verdict import judge


def said(kind: Kind, status: str | None = None, **more) -> Outcome:
    return Outcome("case", "native", "none", kind, stage="written", seconds=1.0, repeat="", status=status, **more)


SINGULAR = said(Kind.SOLVER_STATUS, "NOT_POSITIVE_DEFINITE")
NO_NUMBER = said(Kind.SOLVER_STATUS, "NON_FINITE")


@pytest.mark.parametrize("notes", [(), (f"the solver said CONVERGED, {NO_POSE}",)])
def test_a_status_that_promises_a_pose_is_not_what_a_case_expects_without_one(notes):
    case = shipped("degenerate-n-33")
    wanted = expectation("contract | a status that promises a pose, and none", NO_NUMBER)
    case = dataclasses.replace(case, document=case.document.model_copy(update={"expect": wanted}))
    assert judge(dataclasses.replace(NO_NUMBER, notes=notes), NO_NUMBER, case).expected is (not notes)


@pytest.mark.parametrize(
    ("signature", "oracle", "outcomes", "parity"),
    [
        ("pose | not the oracle's", said(Kind.OK, "CONVERGED"), ("OK",), True),
        ("status | CONVERGED for NOT_POSITIVE_DEFINITE", SINGULAR, ("SOLVER_STATUS",), False),
        ("raised | KeyError | solve", said(Kind.OK, "CONVERGED"), ("OK", "SOLVER_STATUS"), False),
        ("crash | access-violation | solve", SINGULAR, ("OK", "SOLVER_STATUS", "RAISED"), False),
    ],
)
def test_a_find_expects_what_the_oracle_says(signature, oracle, outcomes, parity):
    wanted = expectation(signature, oracle)
    assert (wanted.outcomes, wanted.parity) == (outcomes, parity)
