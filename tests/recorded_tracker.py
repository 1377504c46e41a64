"""A tracker to record in the process of the tests, the arguments of one call, and what was recorded."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.case import Case
from harness.casefile import find_cases, read_case
from sim3solve import pytorch
from sim3solve.mast3r_slam import options_from
from sim3solve.problem import RayDist


class Sim3:
    def __init__(self, data):
        self.data = data


class Tracker:
    def __init__(self, answer=None):
        self.cfg = {"huber": 2.5, "max_iters": 7, "C_conf": 0.0}
        self.answer = answer

    def opt_pose_ray_dist_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid):
        """Solve."""
        if self.answer is not None:
            return self.answer()
        s = pytorch.solve(RayDist(Xf, Xk, T_WCf.data, T_WCk.data, Qk, valid), options_from(self.cfg))
        return type(T_WCf)(s.T_WCf), type(T_WCf)(s.T_CkCf)

    def opt_pose_calib_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid, meas_k, valid_meas_k, K, img_size):
        return T_WCf, T_WCk


def arguments(wrap=Sim3, n=60, seed=0):
    g = torch.Generator().manual_seed(seed)
    Xk = torch.rand(n, 3, generator=g) + torch.tensor([-0.5, -0.5, 2.0])
    Xf = Xk + 0.01 * torch.rand(n, 3, generator=g)
    poses = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1]).repeat(4, 1)
    return [Xf, Xk, wrap(poses[1:2]), wrap(poses[2:3]), torch.ones(n, 1), torch.ones(n, 1, dtype=torch.bool)]


def cases(out: Path) -> list[Case]:
    """Every case below a folder, read in full."""
    return [read_case(folder) for folder in find_cases([out])]


def same_tensor(T):
    return T
