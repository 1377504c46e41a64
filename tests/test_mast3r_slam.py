"""The drop-in: upstream's signatures and types, its caller's handling of failure, and the true reason."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from problem_factory import oracle_of, shipped

from harness.compare import pose_error
from harness.torch_layout import tensors
from sim3solve import mast3r_slam
from sim3solve.problem import Options, ProblemError

RAY, CALIB = "real-fr1-desk-0-8-ray", "real-fr1-desk-0-8-calib"


class Sim3:
    """As lietorch's and the ports' classes are used by the tracker: made from a (1,8) tensor, which ``.data`` gives back."""

    def __init__(self, data: torch.Tensor) -> None:
        assert data.shape == (1, 8)
        self.data = data

    def act(self, X):
        raise AssertionError("the drop-in does its own mathematics")

    def retr(self, delta):
        raise AssertionError("the drop-in does its own mathematics")


class Tracker:
    """What of FrameTracker matters: its cfg, its methods, and the way ``track`` treats an exception."""

    def __init__(self) -> None:
        self.cfg = {"sigma_ray": 0.003, "sigma_dist": 10.0, "huber": 1.345, "max_iters": 50, "rel_error": 1e-3, "C_conf": 0.0}

    def opt_pose_ray_dist_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid):
        return "upstream's own"

    def opt_pose_calib_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid, meas_k, valid_meas_k, K, img_size):
        return "upstream's own"

    def track(self, *arguments):
        try:
            return self.opt_pose_ray_dist_sim3(*arguments)
        except Exception:  # noqa: BLE001  upstream's own words
            return "lost"


@pytest.fixture
def patched():
    mast3r_slam.patch(Tracker)
    yield Tracker()
    mast3r_slam.unpatch(Tracker)
    assert Tracker().track(1, 2, 3, 4, 5, 6) == "upstream's own"


def arguments(name, wrap):
    case = shipped(name)
    t = tensors(case, torch.device("cpu"))
    first = [t["Xf"], t["Xk"], wrap(t["T_WCf"]), wrap(t["T_WCk"]), t["Qk"], t["valid_opt"]]
    return first + ([t["meas_k"], t["valid_meas_k"], t["K"], case.options.img_size] if "K" in t else [])


def assert_oracles_pose(T, name):
    error = pose_error(T.ravel().tolist(), oracle_of(name).T_CkCf, 2.0)
    assert error["rotation_deg"] < 1e-3 and error["translation_rel"] < 1e-4


@pytest.mark.parametrize("wrap", [Sim3, lambda T: T], ids=["Sim3", "tensor"])
def test_both_methods_give_the_oracles_pose_in_the_callers_type(patched, wrap):
    for name, method in ((RAY, patched.opt_pose_ray_dist_sim3), (CALIB, patched.opt_pose_calib_sim3)):
        given = arguments(name, wrap)
        T_WCf, T_CkCf = method(*given)
        assert type(T_WCf) is type(given[2]) and type(T_CkCf) is type(given[2])
        assert_oracles_pose(T_CkCf.data, name)


def test_keyword_arguments_and_upstreams_names(patched):
    Xf, Xk, T_WCf, T_WCk, Qk, valid = arguments(RAY, Sim3)
    _, T_CkCf = patched.opt_pose_ray_dist_sim3(Xf=Xf, Xk=Xk, T_WCf=T_WCf, T_WCk=T_WCk, Qk=Qk, valid=valid)
    assert_oracles_pose(T_CkCf.data, RAY)


def test_a_failure_is_a_lost_frame_for_upstream_and_its_reason_is_logged(patched, caplog):
    given = arguments(RAY, Sim3)
    given[5] = torch.zeros_like(given[5])
    with caplog.at_level(logging.WARNING, logger="sim3solve"):
        assert patched.track(*given) == "lost"
    assert "TOO_FEW_MATCHES" in caplog.text
    with pytest.raises(mast3r_slam.PoseNotFound, match="TOO_FEW_MATCHES") as caught:
        patched.opt_pose_ray_dist_sim3(*given)
    assert torch.isnan(caught.value.solution.T_CkCf).all()


def test_the_trackers_cfg_counts_also_when_it_changes_later(patched):
    patched.cfg["max_iters"] = 1
    _, once = patched.opt_pose_ray_dist_sim3(*arguments(RAY, Sim3))
    patched.cfg["max_iters"] = 50
    _, whole = patched.opt_pose_ray_dist_sim3(*arguments(RAY, Sim3))
    assert not torch.equal(once.data, whole.data)
    assert mast3r_slam.options_from({"huber": 2.0, "Q_conf": 1.5}) == Options(huber=2.0)


def test_one_tracker_alone_can_be_patched():
    one, other = Tracker(), Tracker()
    mast3r_slam.patch(one)
    assert_oracles_pose(one.opt_pose_ray_dist_sim3(*arguments(RAY, Sim3))[1].data, RAY)
    assert other.track(1, 2, 3, 4, 5, 6) == "upstream's own"
    mast3r_slam.unpatch(one)
    assert one.track(1, 2, 3, 4, 5, 6) == "upstream's own"


def test_patching_twice_and_unpatching_once_restores_the_original():
    tracker = Tracker()
    mast3r_slam.patch(tracker, backend="torch")
    mast3r_slam.patch(tracker, backend="reference")
    _, T = tracker.opt_pose_ray_dist_sim3(*arguments(RAY, lambda T: torch.as_tensor(np.asarray(T))))
    assert_oracles_pose(np.asarray(T), RAY)
    mast3r_slam.unpatch(tracker)
    mast3r_slam.unpatch(tracker)
    assert tracker.track(1, 2, 3, 4, 5, 6) == "upstream's own"


def test_what_is_no_tracker_or_no_pose_is_refused_by_name():
    with pytest.raises(ProblemError, match="not a MASt3R-SLAM tracker"):
        mast3r_slam.patch(object())
    given = arguments(RAY, lambda T: "a pose")
    with pytest.raises(ProblemError, match=r"^T_WCf: must be a Sim3"):
        mast3r_slam.opt_pose_ray_dist_sim3({}, *given)
