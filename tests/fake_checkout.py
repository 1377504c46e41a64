"""A checkout for tests: a tracker of our own under upstream's module and method names, that imports what is not installed.

Not upstream's code, which is not free to be copied: the mathematics is ``sim3solve.pytorch``'s. It has what matters to an adapter:
a settings dict that other modules share, poses of a class of its own, ``solve`` giving (step, cost), imports of a network, a camera
and a viewer, and masks that are multiplied, so that a NaN under a mask spoils the sum.
"""

from __future__ import annotations

from pathlib import Path

_FILES = {
    "__init__.py": "",
    "config.py": """
config = {}


def load_config(path):
    import yaml

    read = yaml.safe_load(open(path))
    config.update(yaml.safe_load(open(read["inherit"])) if "inherit" in read else {})
    config.update(read)
""",
    "frame.py": """
import mast3r_slam.poses as lie
import a_camera_that_is_not_here

raise RuntimeError("the frame's module was run")
START: lie.Sim3
""",
    "mast3r_utils.py": "import a_network_that_is_not_here\n",
    "poses.py": """
from sim3solve import pytorch as maths


class Sim3:
    def __init__(self, data):
        self.data = data

    def inv(self):
        return Sim3(maths.inverse(self.data))

    def __mul__(self, other):
        return Sim3(maths.compose(self.data, other.data))

    def act(self, p):
        return maths.act(self.data, p)

    def retr(self, a):
        return Sim3(maths.compose(maths.exp(a), self.data))
""",
    "tracker.py": """
import torch
from mast3r_slam.config import config
from mast3r_slam.frame import Frame
from mast3r_slam.mast3r_utils import match
from mast3r_slam import poses
import a_viewer_that_is_not_here.window as window
from sim3solve.problem import Options
from sim3solve.pytorch import calib_rows, exp, compose, ray_dist_rows


class FrameTracker:
    def __init__(self, model, frames, device):
        self.cfg = config["tracking"]
        self.border = self.cfg["min_match_frac"]

    def solve(self, sqrt_info, r, J):
        a = (sqrt_info * r).abs()
        w = torch.where(a < self.cfg["huber"], torch.ones(()), self.cfg["huber"] / a).sqrt() * sqrt_info
        A, b = (w[..., None] * J).reshape(-1, 7), (w * r).reshape(-1, 1)
        step = -torch.cholesky_solve(A.T @ b, torch.linalg.cholesky(A.T @ A)).view(1, 7)
        return step, 0.5 * float(b.T @ b)

    def iterate(self, T_WCf, T_WCk, rows):
        T_CkCf, old = T_WCk.inv() * T_WCf, float("inf")
        for _ in range(self.cfg["max_iters"]):
            T_CkCf, cost, step = self.once(T_CkCf, *rows(T_CkCf))
            if abs((old - cost) / old) < self.cfg["rel_error"] or step.norm() < self.cfg["delta_norm"]:
                break
            old = cost
        return T_WCk * T_CkCf, T_CkCf

    def once(self, T_CkCf, sqrt_info, r, J):
        step, cost = self.solve(sqrt_info, r, J)
        return T_CkCf.retr(step), cost, step

    def opt_pose_ray_dist_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid):
        d = Xk.norm(dim=1, keepdim=True)
        target = torch.cat([Xk / d, d], 1)
        info = valid * Qk.sqrt() / torch.tensor([self.cfg["sigma_ray"]] * 3 + [self.cfg["sigma_dist"]])
        return self.iterate(T_WCf, T_WCk, lambda T: (info, *ray_dist_rows(T.act(Xf), target)[:2]))

    def opt_pose_calib_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid, meas_k, valid_meas_k, K, img_size):
        options = Options(pixel_border=self.cfg["pixel_border"], depth_eps=self.cfg["depth_eps"], img_size=tuple(img_size))
        info = valid * Qk.sqrt() / torch.tensor([self.cfg["sigma_pixel"]] * 2 + [self.cfg["sigma_depth"]])

        def rows(T):
            r, J, seen = calib_rows(T.act(Xf), meas_k, K, options)
            return (valid_meas_k & seen[:, None]) * info, r, J

        return self.iterate(T_WCf, T_WCk, rows)
""",
}
BASE = """
tracking: {min_match_frac: 0.05, max_iters: 50, rel_error: 1.0e-3, delta_norm: 1.0e-3, huber: 1.345, sigma_ray: 0.003,
  sigma_dist: 10.0, sigma_pixel: 1.0, sigma_depth: 10.0, pixel_border: -10, depth_eps: 1.0e-6}
"""


def make(folder: Path, **edits: tuple[str, str]) -> Path:
    """Write the checkout into ``folder``; ``edits`` maps a module to (old, new) text in it."""
    package = folder / "mast3r_slam"
    package.mkdir(parents=True)
    for name, text in _FILES.items():
        old, new = edits.get(name.removesuffix(".py"), ("", ""))
        assert old in text
        (package / name).write_text(text.replace(old, new) if old else text, encoding="utf-8")
    (folder / "config").mkdir()
    (folder / "config" / "base.yaml").write_text(BASE, encoding="utf-8")
    two = BASE.replace("max_iters: 50", "max_iters: 2")
    (folder / "config" / "two.yaml").write_text(f"inherit: config/base.yaml\n{two}", encoding="utf-8")
    return folder
