"""Calls that cannot be recorded, and a recorder that fails: the tracker goes on, and the reason is logged once."""

from __future__ import annotations

import logging

import pytest
import torch
from recorded_tracker import Tracker, arguments, cases

from harness.record import record, recorder

WRONG = {
    "not a tensor": lambda a: a.__setitem__(0, "points"),
    "a list": lambda a: a.__setitem__(4, [1.0]),
    "a pose that is none": lambda a: a.__setitem__(2, object()),
    "an integer mask": lambda a: a.__setitem__(5, torch.ones(60, 1, dtype=torch.int32)),
    "another shape": lambda a: a.__setitem__(1, torch.rand(60, 4)),
    "too few arguments": lambda a: a.pop(),
    "complex": lambda a: a.__setitem__(0, torch.rand(60, 3, dtype=torch.complex64)),
    "sparse": lambda a: a.__setitem__(0, torch.rand(60, 3).to_sparse()),
    "meta": lambda a: a.__setitem__(0, torch.rand(60, 3, device="meta")),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_call_that_cannot_be_a_case_goes_on_and_the_reason_is_logged_once(tmp_path, name, caplog):
    answer = (torch.zeros(1, 8), torch.zeros(1, 8))

    class Loose(Tracker):
        def opt_pose_ray_dist_sim3(self, *given):
            return answer

    given = arguments()
    WRONG[name](given)
    with record(Loose(), tmp_path) as recording, caplog.at_level(logging.WARNING, logger="harness.record"):
        assert recording.tracker.opt_pose_ray_dist_sim3(*given) is answer
        assert recording.tracker.opt_pose_ray_dist_sim3(*given) is answer
        recording.tracker.opt_pose_ray_dist_sim3(*arguments())
    assert len(caplog.records) == 1, caplog.text
    assert "a call was not recorded" in caplog.text
    assert len(cases(tmp_path)) == 1  # the one that could be


def test_a_cfg_that_raises_or_makes_no_sense_costs_the_recording_only(tmp_path, caplog):
    class Odd(Tracker):
        @property
        def cfg(self):
            raise KeyError("no cfg")

        @cfg.setter
        def cfg(self, value):
            pass

    answer = (torch.zeros(1, 8), torch.zeros(1, 8))
    with record(Odd(lambda: answer), tmp_path) as recording:
        assert recording.tracker.opt_pose_ray_dist_sim3(*arguments()) is answer
    assert "no cfg" in caplog.text
    caplog.clear()
    tracker = Tracker(lambda: answer)
    tracker.cfg["max_iters"] = -1
    with record(tracker, tmp_path):
        assert tracker.opt_pose_ray_dist_sim3(*arguments()) is answer
    assert "max_iters" in caplog.text


def test_whatever_breaks_inside_the_recorder_stays_there(tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError("a bug of ours")

    answer = (torch.zeros(1, 8), torch.zeros(1, 8))
    tracker = Tracker(lambda: answer)
    for name in ("read_inputs", "specs", "recorded_result"):
        with monkeypatch.context() as patched, record(tracker, tmp_path / name):
            patched.setattr(recorder, name, broken)
            assert tracker.opt_pose_ray_dist_sim3(*arguments()) is answer
    assert caplog.text.count("a bug of ours") == 3
