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

from harness.casefile import find_cases, read_case, read_document
from harness.outcome import Kind
from harness.relayout import LAYOUTS
from harness.replay import Request, replay

THEIRS = os.environ.get("SIM3SOLVE_CROSSING")
pytestmark = pytest.mark.skipif(THEIRS is None, reason="run by tests/windows/stage.py, which makes what the other system wrote")
BOUND = 1e-6
"""Of each number of a pose, relative to the largest where that is over 1: 8 float32 roundings (2**-23) at one. Compilers of one
version made the same bits (benchmarks/RESULTS.md); others may order a sum in another way."""

TORCH_BOUND = 1e-5
"""Of PyTorch's poses, the same way: it sums in float64, but each platform in an order of its own."""


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    assert THEIRS is not None
    document = json.loads(Path(THEIRS, "made.json").read_text(encoding="utf-8"))
    assert document["system"] != sys.platform
    return document


def say(text: str) -> None:
    """For the stage to print: pytest shows nothing of a test that passes."""
    with open(Path(THEIRS or "", "said.txt"), "a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def difference(mine: dict[str, Any], other: dict[str, Any]) -> float:
    worst = 0.0
    for name in ("T_CkCf", "T_WCf"):
        a, b = (np.array(each[name]) for each in (mine, other))
        assert (np.isfinite(a) == np.isfinite(b)).all()
        if np.isfinite(a).all():
            worst = max(worst, float(np.abs(a - b).max() / max(1.0, np.abs(b).max())))
    return worst


def test_poses_of_the_shipped_cases_are_equal_within_rounding(theirs: dict[str, Any]) -> None:
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
    say(f"largest difference of a pose by native of {len(theirs['shipped'])} cases: {worst:.3g}{f' in {where}' if worst else ''}")


def test_poses_by_torch_are_equal_within_rounding(theirs: dict[str, Any]) -> None:
    if not theirs["torch"]:
        pytest.skip("the stage was run without --torch")
    assert len(theirs["torch"]) > 40
    worst, where = 0.0, ""
    for name, other in theirs["torch"].items():
        mine = crossing.solved_by_torch(read_case(crossing.ROOT / "cases" / name))
        assert mine["status"] == other["status"], name
        far = difference(mine, other)
        worst, where = max((worst, where), (far, name))
    say(f"largest difference of a pose by torch of {len(theirs['torch'])} cases: {worst:.3g}{f' in {where}' if worst else ''}")
    assert worst <= TORCH_BOUND, where


def test_a_case_recorded_there_is_replayed_here(theirs: dict[str, Any], tmp_path: Path) -> None:
    """What a tracker was given on the other system, through the solvers here, and the pose that it came back with there."""
    recorded = Path(THEIRS or "", "recorded")
    if not recorded.is_dir():
        pytest.skip("recorded on Windows by stage.py --torch, and replayed on Linux")
    run = replay(Request((recorded,), ("native", "torch"), out=tmp_path))
    assert [outcome.kind for outcome in run.outcomes] == [Kind.OK] * 4
    documents = {document.id: document for document in map(read_document, find_cases([recorded]))}
    for outcome in run.outcomes:
        there = documents[outcome.case].recorded
        assert outcome.parity["within"] and there.event == "returned"
        assert np.abs(np.array(outcome.T_CkCf) - np.array(there.T_CkCf)).max() <= TORCH_BOUND


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
    mine = crossing.signatures(tmp_path)
    assert mine == theirs["signatures"]
    assert all(mine[fault] for fault in crossing.SAME_ON_BOTH if fault != "wrong_pose")  # which is judged against the oracle
    assert "access-violation" in mine["access_violation"]
    assert len(set(mine.values())) == len(mine)
