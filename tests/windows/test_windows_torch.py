"""The tracker's own library on Windows, PyTorch for the CPU: what it solves, and a recording. Run by ``stage.py --torch``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from run_cli import harness
from slam_program import write_program

pytestmark = pytest.mark.skipif("SIM3SOLVE_RECORDED" not in os.environ, reason="run by tests/windows/stage.py --torch")
MAIN = """
    from mast3r_slam.frames import frame
    from mast3r_slam.tracker import FrameTracker, Sim3
    for seed in range(2):
        Xf, Xk, T_WCf, T_WCk, Qk, valid = frame(seed)
        FrameTracker().track(Xf, Xk, Sim3(T_WCf), Sim3(T_WCk), Qk, valid)
"""


def test_a_tracker_is_recorded(tmp_path):
    """The folder is kept for the other system, which replays it."""
    out = Path(os.environ["SIM3SOLVE_RECORDED"])
    program = write_program(tmp_path, MAIN)
    done = harness("record", "--out", str(out), "--json", "--", sys.executable, str(program / "main.py"), cwd=program)
    document = json.loads(done.stdout)
    assert done.returncode == 0, (document, done.stderr)
    assert document["counts"]["returned"] == 2 and document["exit"]["code"] == 0
