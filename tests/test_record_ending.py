"""What is known of a process that died while it was recorded, when the recorder died first or never saw it: real deaths."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from dying_tracker import DIES, MAIN, SEGFAULT, recorded, told
from slam_program import environment, write_program

from harness.casefile import find_cases, read_document
from harness.record.ending import read_recording
from harness.record.settings import JOURNALS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the deaths are POSIX's")

ORPHANED = """
    recorder = os.getppid()
    print('solving', file=sys.stderr, flush=True)
    while os.getppid() == recorder: time.sleep(.01)
    os.kill(os.getpid(), signal.SIGSEGV)"""


def test_a_recorder_that_is_killed_with_minus_nine_leaves_what_its_program_wrote(tmp_path: Path) -> None:
    write_program(tmp_path, MAIN, DIES.format(ORPHANED))
    argv = [sys.executable, "-m", "harness", "record", "--out", "rec", "--", sys.executable, "main.py"]
    recorder = subprocess.Popen(argv, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    assert recorder.stderr is not None
    assert any("solving" in line for line in recorder.stderr)
    (program,) = psutil.Process(recorder.pid).children()
    recorder.kill()
    recorder.wait()
    psutil.wait_procs([program], timeout=60)
    run = json.loads(next((tmp_path / "rec" / JOURNALS).glob("*.json")).read_text())
    assert run["pid"] == program.pid and run["exit"] is None and run["ended"] is None
    died = list(find_cases([tmp_path / "rec"]))[-1]
    assert read_document(died).recorded.exit is None  # nobody was there to write it in
    bug = told(died)
    assert bug.diagnosis.cause == "access-violation" and "told by the stack it left" in bug.diagnosis.facts[0].quote


def test_the_end_of_a_program_that_a_shell_started_is_the_shells(tmp_path: Path) -> None:
    killed = DIES.format("os.kill(os.getpid(), signal.SIGKILL)")  # leaves no stack that could say it
    document = recorded(tmp_path, killed, "sh", "-c", f"{shlex.quote(sys.executable)} main.py; exit $?")
    assert document["exit"]["code"] == 137
    case = read_document(document["calls"][-1]["case"])
    assert case.recorded.exit is not None and case.recorded.exit.name == "SIGKILL" and not case.recorded.stack


CHILD = """
import multiprocessing, os
from mast3r_slam.tracker import FrameTracker, Sim3
from mast3r_slam.frames import frame

def work(i):
    arguments = frame(i)
    arguments[2:4] = [Sim3(T) for T in arguments[2:4]]
    FrameTracker().track(*arguments)

if __name__ == "__main__":
    work(0)
    child = multiprocessing.get_context("fork").Process(target=work, args=(2,))
    child.start(); child.join()
    print("died of", child.exitcode)
"""


def test_a_forked_child_that_dies_leaves_a_stack_of_its_own_and_its_parent_none(tmp_path: Path) -> None:
    document = recorded(tmp_path, SEGFAULT, main=CHILD)
    assert document["exit"]["code"] == 0
    well, died = document["calls"]
    recorded_child = read_document(died["case"]).recorded
    assert recorded_child.exit is not None and recorded_child.exit.name == "SIGSEGV"
    assert recorded_child.exit.meaning.endswith("its exit code was not seen") and "in work" in recorded_child.stack
    assert well["state"] == "returned" and [file.name for file in (tmp_path / "rec" / JOURNALS).glob("*.stacks")] == [
        f"{died['id'].rpartition('-')[0]}.stacks"
    ]


def test_two_lines_leave_the_stack_as_well(tmp_path: Path) -> None:
    write_program(tmp_path, MAIN)
    (tmp_path / "two.py").write_text(
        "from harness.record import record\nfrom mast3r_slam.tracker import FrameTracker\nrecord(FrameTracker, 'rec')\n"
        "exec(open('main.py').read())"
    )

    def end() -> int:
        return subprocess.run([sys.executable, "two.py"], cwd=tmp_path, env=environment(), timeout=120).returncode

    assert end() == 0 and not list((tmp_path / "rec" / JOURNALS).glob("*.stacks"))
    write_program(tmp_path, MAIN, SEGFAULT)
    assert end() == -signal.SIGSEGV
    died = list(find_cases([tmp_path / "rec"]))[-1]
    case = read_recording(died).document.recorded
    assert case.exit is not None and case.exit.name == "SIGSEGV" and "in opt_pose_ray_dist_sim3" in case.stack
    assert told(died).diagnosis.cause == "access-violation"
