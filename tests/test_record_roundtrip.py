"""Shipped cases through a tracker, recorded, replayed: the same memory, and the same pose to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from problem_factory import CASES, SHIPPED, TORCH, WITH_POSE, shipped
from slam_program import environment, write_program

from harness.casefile import find_cases, read_case
from harness.record import record
from harness.torch_layout import tensors
from sim3solve.mast3r_slam import options_from
from sim3solve.problem import PROBLEMS, field_shapes
from sim3solve.pytorch import solve

SMALL = tuple(name for name in SHIPPED if shipped(name).document.n_points < 100_000)
UPSTREAM = {"ray_dist": "opt_pose_ray_dist_sim3", "calib": "opt_pose_calib_sim3"}


class Tracker:
    """Solves with the ``torch`` solver; what it was given is kept, so that it can be compared with what was recorded."""

    def __init__(self, options):
        self.cfg = {name: value for name, value in vars(options).items() if name != "img_size"}

    def opt_pose_ray_dist_sim3(self, *given):
        solution = solve(PROBLEMS["ray_dist"](*given), options_from(self.cfg))
        return solution.T_WCf, solution.T_CkCf

    def opt_pose_calib_sim3(self, *given):
        solution = solve(PROBLEMS["calib"](*given[:9]), options_from(self.cfg, given[9]))
        return solution.T_WCf, solution.T_CkCf


def recorded_from(name: str, out: Path):
    """Run a shipped case through a recorded tracker, in its own layout. Returns the recorded case and the tracker's poses."""
    case = shipped(name)
    t = tensors(case, torch.device("cpu"))
    given = [t[name] for name in field_shapes(case.document.kind, 0)]
    size = [case.options.img_size] if case.document.kind == "calib" else []
    with record(Tracker(case.options), out) as recording:
        poses = getattr(recording.tracker, UPSTREAM[case.document.kind])(*given, *size)
    return read_case(next(find_cases([out]))), [tuple(T.double().ravel().tolist()) for T in poses]


@pytest.mark.parametrize("name", SMALL)
def test_the_recorded_case_is_the_original_and_its_solver_replays_to_the_recorded_pose(tmp_path, quick_disk, name):
    again, poses = recorded_from(name, tmp_path)
    assert_same_case(again, shipped(name))
    recorded = again.document.recorded
    assert recorded.event == "returned"
    if name not in WITH_POSE:
        assert "not finite" in recorded.exception and recorded.T_CkCf is None
        return
    assert [recorded.T_WCf, recorded.T_CkCf] == poses
    problem = PROBLEMS[again.document.kind](**tensors(again, torch.device("cpu")))
    solution = TORCH.solve(problem, again.options, lambda k, iteration: None)
    assert [recorded.T_WCf, recorded.T_CkCf] == [tuple(T.double().ravel().tolist()) for T in (solution.T_WCf, solution.T_CkCf)]


def assert_same_case(again, original) -> None:
    """The same options and values in the same memory."""
    assert again.options == original.options and again.document.kind == original.document.kind
    for tensor, spec in original.document.tensors.items():
        got = again.document.tensors[tensor]
        assert (got.dtype, got.shape, got.stride) == (spec.dtype, spec.shape, spec.stride), tensor
        assert got.nbytes == 0 or got.data_ptr_mod_512 == spec.data_ptr_mod_512, tensor
        assert again.values[tensor].tobytes() == original.values[tensor].tobytes(), tensor
    for one, spec in original.document.tensors.items():
        for other, second in original.document.tensors.items():
            if spec.alias_group is None or spec.alias_group != second.alias_group or not spec.nbytes or not second.nbytes:
                continue
            a, b = again.document.tensors[one], again.document.tensors[other]
            apart = spec.storage_offset * spec.itemsize - second.storage_offset * second.itemsize
            if a.alias_group == b.alias_group:  # those far apart in one buffer get windows of their own
                assert a.storage_offset * a.itemsize - b.storage_offset * b.itemsize == apart, (one, other)
            else:
                assert abs(apart) > 64 << 10, (one, other)


MAIN = """
import sys, torch
sys.path.insert(0, ROOT)
from harness.casefile import read_case
from harness.torch_layout import tensors
from mast3r_slam.tracker import FrameTracker, Sim3
from sim3solve.problem import field_shapes

for folder in sys.argv[1:]:
    case = read_case(folder)
    t = tensors(case, torch.device("cpu"))
    t = {name: t[name] for name in field_shapes(case.document.kind, 0)}
    t["T_WCf"], t["T_WCk"] = Sim3(t["T_WCf"]), Sim3(t["T_WCk"])
    tracker = FrameTracker({k: v for k, v in vars(case.options).items() if k != "img_size"})
    if case.document.kind == "calib": tracker.opt_pose_calib_sim3(*t.values(), case.options.img_size)
    else: tracker.opt_pose_ray_dist_sim3(*t.values())
"""


def test_record_and_replay_as_a_user_does(tmp_path):
    names = ["real-fr1-desk-0-8-ray", "real-fr1-desk-0-8-calib", "degenerate-n-33"]
    write_program(tmp_path, MAIN.replace("ROOT", repr(str(CASES.parent))))
    base = [sys.executable, "-m", "harness"]
    argv = [*base, "record", "--json", "--out", "out", "--", sys.executable, "main.py", *(str(CASES / name) for name in names)]
    options = {"cwd": tmp_path, "env": environment(), "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(argv, **options)
    assert done.returncode == 0, done
    document = json.loads(done.stdout)
    assert document["counts"]["returned"] == 3 and document["replay"] == f"python -m harness replay {tmp_path / 'out'}"
    replay = subprocess.run([*base, *document["replay"].split()[3:], "--solver", "torch", "--json"], **options)
    assert replay.returncode == 0, replay
    poses = {
        outcome["case"]: outcome["T_CkCf"] for outcome in json.loads(replay.stdout)["outcomes"] if outcome["solver"] == "torch"
    }
    for call in document["calls"]:
        case = read_case(call["case"])
        assert tuple(poses[case.id]) == case.document.recorded.T_CkCf
        assert case.options == shipped(names[int(case.id[-6:]) - 1]).options
