"""The report's table of memory modes: two modes agree when they gave the same result, not when they ended in the same word."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from report_run import POSE, outcome

from harness.outcome import Kind, Outcome
from harness.report.modes import Modes, build_modes
from harness.run import Run

OFF = {"within": False, "why": "d_sigma 3 over 0.05"}
NEAR = tuple(x + 5e-5 for x in POSE)
FAR = (POSE[0] + 3e-4, *POSE[1:])
UNSTEADY = "its result is not repeatable: the same values in the same memory give ..."


def modes_of(*outcomes: Outcome) -> Modes:
    run = Run("r", Path(), "", None, "", {}, {"tasks": []}, {}, outcomes)
    found = build_modes(run, {i: f"#{i}" for i in range(len(outcomes))})
    assert found is not None and found.compared == 1
    return found


def posed(memory: str, pose: Any, **more: Any) -> Outcome:
    given = {"parity": OFF, "expected": False, "T_CkCf": pose, "T_WCf": POSE} | more
    return outcome("a", "mine", memory=memory, **given)


@pytest.mark.parametrize("expected", [True, False])
def test_two_poses_are_a_disagreement_whatever_the_case_expects(expected: bool) -> None:
    found = modes_of(posed("pool", POSE, expected=expected), posed("exact", FAR, expected=expected))
    (row,) = found.rows
    assert [cell.why.startswith("CONVERGED [") for cell in row.cells if cell] == [True, True]
    assert row.cells[0].why != row.cells[1].why  # to see by how much


def test_what_differs_by_rounding_is_the_same_and_nan_agrees_with_nan() -> None:
    assert modes_of(posed("pool", POSE), posed("exact", NEAR), posed("poison", POSE)).rows == ()
    nan = {"kind": Kind.SOLVER_STATUS, "status": "NON_FINITE", "parity": None}
    assert modes_of(*(posed(mode, (float("nan"),) * 8, **nan) for mode in ("pool", "poison"))).rows == ()


def test_every_mode_is_compared_not_only_neighbours() -> None:
    (row,) = modes_of(posed("pool", POSE), posed("exact", POSE), posed("poison", FAR)).rows
    assert len(row.cells) == 3


def test_a_result_that_is_never_the_same_twice_is_said_to_be_so() -> None:
    unsteady = posed("poison", FAR, expected=True, values={"repeatable": False}, notes=("it wrote to its input Xf", UNSTEADY))
    (row,) = modes_of(posed("pool", POSE, expected=True), unsteady).rows
    assert row.cells[1].why == UNSTEADY


def test_values_of_an_operation_are_compared_too_and_a_strangers_are_no_error() -> None:
    def valued(memory: str, value: Any) -> Outcome:
        return dataclasses.replace(outcome("a", "mine", values={"op_value": value}), memory=memory)

    assert len(modes_of(valued("pool", [1.0, 2.0]), valued("exact", [1.0, 2.1])).rows) == 1
    assert modes_of(valued("pool", ["nan", 2.0]), valued("exact", ["nan", 2.0])).rows == ()
    assert modes_of(valued("pool", {"a": 1}), valued("exact", [[1], [2, 3]])).rows == ()
