"""A SLAM program as a user has one, made in a folder: package ``mast3r_slam`` with a tracker, and a ``main.py`` that drives it.

The tracker keeps what matters of upstream's: ``cfg``, the two methods with their signatures, and a ``track`` that takes any
exception for a lost frame. Its solve is the text given.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TRACKER = '''
import ctypes, os, signal, sys, time
import torch
import sim3solve.pytorch
from sim3solve.mast3r_slam import options_from
from sim3solve.problem import Calib, RayDist

class Sim3:
    """As lietorch's is used: made from a (1,8) tensor, which .data gives back."""
    def __init__(self, data): self.data = data
    def act(self, X): raise AssertionError
    def retr(self, d): raise AssertionError

class FrameTracker:
    def __init__(self, cfg=None):
        self.cfg = cfg or {"sigma_ray": 0.003, "sigma_dist": 10.0, "huber": 1.345, "max_iters": 50, "rel_error": 1e-3}
        self.lost = []

    def opt_pose_ray_dist_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid):
        return self.solve(RayDist(Xf, Xk, T_WCf.data, T_WCk.data, Qk, valid), None, T_WCf)

    def opt_pose_calib_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid, meas_k, valid_meas_k, K, img_size):
        return self.solve(Calib(Xf, Xk, T_WCf.data, T_WCk.data, Qk, valid, meas_k, valid_meas_k, K), img_size, T_WCf)

    def torch_solve(self, problem, img_size, like):
        s = sim3solve.pytorch.solve(problem, options_from(self.cfg, img_size))
        return (s.T_WCf, s.T_CkCf) if isinstance(like, torch.Tensor) else (type(like)(s.T_WCf), type(like)(s.T_CkCf))

    def solve(self, problem, img_size, like):
SOLVE

    def track(self, *arguments):
        try:
            return self.opt_pose_ray_dist_sim3(*arguments)
        except Exception as error:
            self.lost.append(error)
            print("Cholesky failed")
'''
FRAMES = '''
import torch

def frame(seed=0, n=40):
    """A frame's arguments: a plane of points a little off, the poses as views into one buffer."""
    g = torch.Generator().manual_seed(seed)
    Xk = torch.rand(n, 3, generator=g) + torch.tensor([-0.5, -0.5, 2.0])
    Xf = Xk + 0.01 * torch.rand(n, 3, generator=g)
    poses = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1]).repeat(100, 1)
    return [Xf, Xk, poses[7:8], poses[9:10], torch.ones(n, 1), torch.ones(n, 1, dtype=torch.bool)]
'''
PLAIN_SOLVE = "return self.torch_solve(problem, img_size, like)"


def write_program(folder: Path, main: str, solve: str = PLAIN_SOLVE, tracker: str | None = None) -> Path:
    """Make the program; ``solve`` is the body of ``FrameTracker.solve(self, problem, img_size, like)``. Returns its folder."""
    package = folder / "mast3r_slam"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("word = 'helped'")
    (package / "frames.py").write_text(FRAMES)
    text = tracker or TRACKER.replace("SOLVE", textwrap.indent(textwrap.dedent(solve).strip(), " " * 8))
    (package / "tracker.py").write_text(text)
    (folder / "main.py").write_text(textwrap.dedent(main))
    return folder


def environment(**variables: str) -> dict[str, str]:
    """This process's, with this checkout importable, whatever is installed, and one thread for the arithmetic."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | variables


def run_python(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[Any]:
    argv = [sys.executable, *words]
    return subprocess.run(argv, cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=120)
