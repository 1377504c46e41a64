"""What the other system wrote is replayed here, and gives what it gave there. Run by tests/windows/stage.py, on both."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import crossing
import numpy as np
import pytest

from harness.casefile import read_case
from harness.process import open_launcher
from harness.relayout import LAYOUTS

THEIRS = os.environ.get("SIM3SOLVE_CROSSING")
pytestmark = pytest.mark.skipif(THEIRS is None, reason="run by tests/windows/stage.py, which makes what the other system wrote")
BOUND = 1e-5
"""Of each number of a pose, relative to the largest where that is over 1: 84 float32 roundings (2**-23) at one."""


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    assert THEIRS is not None
    document = json.loads(Path(THEIRS, "made.json").read_text(encoding="utf-8"))
    assert document["system"] != sys.platform
    return document


def difference(mine: dict[str, Any], other: dict[str, Any]) -> float:
    worst = 0.0
    for name in ("T_CkCf", "T_WCf"):
        a, b = (np.array(each[name]) for each in (mine, other))
        assert (np.isfinite(a) == np.isfinite(b)).all()
        if np.isfinite(a).all():
            worst = max(worst, float(np.abs(a - b).max() / max(1.0, np.abs(b).max())))
    return worst


def test_poses_of_the_shipped_cases_are_equal_within_rounding(theirs: dict[str, Any], record_property: Any) -> None:
    worst, where = 0.0, ""
    assert len(theirs["shipped"]) > 50
    for name, other in theirs["shipped"].items():
        mine = crossing.solved(read_case(crossing.ROOT / "cases" / name))
        assert mine["status"] == other["status"], name
        if other["status"] == "CONVERGED":
            assert abs(mine["iterations"] - other["iterations"]) <= 1, name
        far = difference(mine, other)
        worst, where = max((worst, where), (far, name))
        assert far <= BOUND, (name, far)
    print(f"largest difference of a pose: {worst:.3g} in {where}")


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_case_written_there_is_replayed_here(theirs: dict[str, Any], kind: str) -> None:
    """The same bytes, in memory laid out the same: type, strides, and address modulo 512. And the same pose."""
    other = theirs["written"][kind]
    mine = crossing.solved(read_case(Path(THEIRS or "", "cases", kind)))
    assert mine["sha256"] == other["sha256"]
    assert mine["places"] == other["places"]
    assert mine["status"] == other["status"]
    assert difference(mine, other) <= BOUND


def test_the_layouts_differ(theirs: dict[str, Any]) -> None:
    """So that the test before means something."""
    places = {kind: json.dumps(made["places"]) for kind, made in theirs["written"].items()}
    for kind in ("shift-4", "shift-8", "shift-12", "strided", "transposed"):
        assert places[kind] not in [other for name, other in places.items() if name != kind], kind


def test_a_fault_has_the_signature_it_has_there(theirs: dict[str, Any], tmp_path: Path) -> None:
    launcher = open_launcher(tmp_path / "supervisor.log", threads=1, preload=())
    try:
        mine = {fault: crossing.signature_of(fault, tmp_path / fault, launcher) for fault in crossing.SAME_ON_BOTH}
    finally:
        launcher.close()
    assert mine == theirs["signatures"]
    assert all(mine[fault] for fault in crossing.SAME_ON_BOTH if fault != "wrong_pose")  # which is judged against the oracle
    assert "access-violation" in mine["access_violation"]
    assert len(set(mine.values())) == len(mine)
