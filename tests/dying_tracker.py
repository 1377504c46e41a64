"""A tracker that dies of one frame's own numbers, recorded; and the one bug that a recorded case tells of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from slam_program import environment, write_program

from harness.diagnosis.bugs import Bug
from harness.diagnosis.documents import Documents, read_audit
from harness.diagnosis.ofrun import bugs_of_recordings
from harness.record.ending import read_recording

MAIN = """
from mast3r_slam.tracker import FrameTracker, Sim3
from mast3r_slam.frames import frame

if __name__ == "__main__":
    for i in range(3):
        arguments = frame(i)
        arguments[2:4] = [Sim3(T) for T in arguments[2:4]]
        FrameTracker().track(*arguments)
"""
# Dies of the third frame's own numbers, so a replay of it dies too.
DIES = """
from mast3r_slam.frames import frame
if torch.equal(problem.Xf.cpu(), frame(2)[0]): {}
return self.torch_solve(problem, img_size, like)
"""
SEGFAULT = DIES.format("ctypes.string_at(0)")


def recorded(folder: Path, solve: str, *program: str, main: str = MAIN) -> dict:
    write_program(folder, main, solve)
    argv = [sys.executable, "-m", "harness", "record", "--json", "--out", "rec", "--", *(program or (sys.executable, "main.py"))]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)


def told(folder: Path, *audits: Path) -> Bug:
    (bug,) = bugs_of_recordings([read_recording(folder)], Documents(audits=tuple(map(read_audit, audits))))
    return bug
