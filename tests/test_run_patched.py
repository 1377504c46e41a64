"""``python -m sim3solve main.py``: the user's program as it stands, with our solver in its tracker."""

from __future__ import annotations

import subprocess
from pathlib import Path

from slam_program import run_python, write_program

TRACKER = """
class FrameTracker:
    cfg = {}
    def opt_pose_ray_dist_sim3(self, *a): return "upstream's own"
    def opt_pose_calib_sim3(self, *a): return "upstream's own"
"""
MAIN = """
import sys
import mast3r_slam.helper
from mast3r_slam.tracker import FrameTracker
print(__name__, sys.argv, mast3r_slam.helper.word)
try:
    print(FrameTracker().opt_pose_ray_dist_sim3(1, 2, 3, 4, 5, 6))
except Exception as error:
    print(type(error).__name__, error)
"""


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    write_program(folder / "slam", MAIN, tracker=TRACKER)
    return run_python("-m", "sim3solve", *words, cwd=folder, **environment)


def test_the_programs_tracker_is_patched_and_nothing_else_of_it_changes(tmp_path):
    done = run(tmp_path, "slam/main.py", "--fast")
    assert done.stdout.splitlines()[0] == "__main__ ['slam/main.py', '--fast'] helped"
    assert "ProblemError T_WCf: must be a Sim3" in done.stdout  # our solver was called, and refused what is no pose
    assert "upstream's own" not in done.stdout


def test_a_program_that_is_not_there_is_named(tmp_path):
    done = run(tmp_path, "slam/other.py")
    assert done.returncode == 2
    assert "slam/other.py: no such file" in done.stderr


def test_the_backend_comes_from_the_environment(tmp_path):
    done = run(tmp_path, "slam/main.py", SIM3SOLVE_BACKEND="reference")
    assert "ProblemError" in done.stdout


def test_without_a_program_it_says_how(tmp_path):
    assert run(tmp_path).returncode == 2
    assert "example: python -m sim3solve main.py" in run(tmp_path, "--help").stdout
