"""``harness record``: what it says at the end, its exit codes, and why nothing was recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from slam_program import environment, write_program

MAIN = """
import sys
from mast3r_slam.tracker import FrameTracker
from mast3r_slam.frames import frame
print("program says", sys.argv[1:])
for i in range(2): FrameTracker().track(*frame(i))
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""
LIGHT = """
class FrameTracker:
    def opt_pose_ray_dist_sim3(self, *a): pass
"""


def harness(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "harness", "record", *words]
    return subprocess.run(argv, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=100)


def test_the_end_says_what_was_recorded_how_the_program_ended_and_how_to_replay(tmp_path):
    write_program(tmp_path, MAIN, "raise ArithmeticError('[bold]no')")
    done = harness(tmp_path, "--out", "out", sys.executable, "main.py", "3", "--every", "9")
    assert done.returncode == 1
    assert "program says ['3', '--every', '9']" in done.stdout  # what comes after the program is the program's
    assert "recorded 2 calls (" in done.stdout and ": 2 raised" in done.stdout
    assert "ArithmeticError: [bold]no" in done.stdout
    assert "the program: exit 3, ended itself with code 3" in done.stdout
    replay = done.stdout.splitlines()[-1]
    assert replay.startswith("replay: python -m harness replay ") and replay.count("-00000") == 2


def test_a_cause_that_the_recording_speaks_for_is_named_at_once(tmp_path):
    write_program(tmp_path, MAIN, "raise RuntimeError('CUDA error: no kernel image is available for execution on the device')")
    done = harness(tmp_path, "--out", "out", sys.executable, "main.py")
    assert done.returncode == 1 and "no-kernel-image (proven)" in done.stdout
    assert f"diagnose: python -m harness diagnose {tmp_path / 'out'}" in done.stdout


def test_without_a_failed_call_the_programs_own_end_decides(tmp_path):
    write_program(tmp_path, MAIN)
    done = harness(tmp_path, "--json", "--out", "out", "--", sys.executable, "main.py", "5")
    document = json.loads(done.stdout)
    assert done.returncode == 1 and document["exit"]["code"] == 5
    assert document["counts"]["returned"] == 2 and "program says" in done.stderr
    assert document["processes"][0]["calls"] == 2 and document["processes"][0]["median_ms"] > 0
    assert document["problems"] == [] and document["why_empty"] is None


EMPTY = {
    "no tracker": ("print('hello')", "the tracker's module was never imported", "--tracker MODULE:CLASS", 1),
    "no call": ("import mast3r_slam.tracker", "the solver was never called", "until it has tracked", 1),
    "fine": (MAIN, "such calls were not kept", "", 0),
    "isolated": ("import os, sys; os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', '1'])", "never imported", "", 1),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_recorded_has_a_reason(tmp_path, name):
    main, words, remedy, code = EMPTY[name]
    write_program(tmp_path, main, tracker=None if name == "fine" else LIGHT)
    done = harness(tmp_path, "--out", "out", "--on-failure-only", "--", sys.executable, "main.py")
    assert done.returncode == code and "nothing recorded:" in done.stdout and words in done.stdout, done
    assert remedy in done.stdout


def test_a_run_that_could_record_no_call_is_a_failure_and_says_why(tmp_path):
    large = MAIN.replace("frame(i)", "frame(i, n=60_000)")
    write_program(tmp_path, large)
    done = harness(tmp_path, "--out", "out", "--max-bytes", str(1 << 20), "--", sys.executable, "main.py")
    assert done.returncode == 1 and "the solver was called, but no call could be recorded" in done.stdout
    assert "bytes, the limit is 1048576 (--max-bytes)" in done.stdout


def test_a_disk_that_is_smaller_than_the_limit_is_said_before_the_program_starts(tmp_path):
    write_program(tmp_path, "import sys; print('started', file=sys.stderr)")
    done = harness(tmp_path, "--out", "out", "--max-bytes", str(1 << 62), "--", sys.executable, "main.py")
    before, started, _ = done.stderr.partition("started")
    assert started and "are free in" in before and f"less than the {(1 << 62) / 1e6:.0f} MB" in before


STOPS = """
import os, mast3r_slam.tracker
from mast3r_slam.frames import frame
tracker = mast3r_slam.tracker.FrameTracker()
tracker.track(*frame(0))
os.fsync = lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error"))
tracker.track(*frame(1))
"""


def test_a_run_whose_recording_stopped_is_a_failure_though_all_went_well(tmp_path):
    write_program(tmp_path, STOPS)
    done = harness(tmp_path, "--out", "out", "--", sys.executable, "main.py")
    assert done.returncode == 1 and "recorded 1 call (" in done.stdout and "the program: exit 0" in done.stdout
    assert "recording has stopped, the tracker goes on" in done.stdout


def test_a_command_that_is_no_python_says_so(tmp_path):
    argv = ["cmd", "/c", "exit 0"] if os.name == "nt" else ["true"]
    done = harness(tmp_path, "--out", "out", "--", *argv)
    assert done.returncode == 1 and "no Python started the recorder" in done.stdout
    assert "start the program with the Python that has it: harness record -- PYTHON main.py" in done.stdout


def test_a_tracker_without_the_methods_is_named_and_the_program_runs(tmp_path):
    write_program(tmp_path, "import mast3r_slam.tracker; print('imported')", tracker="class FrameTracker: pass")
    done = harness(tmp_path, "--out", "out", "--", sys.executable, "main.py")
    assert "imported" in done.stdout and done.returncode == 1
    assert "nothing recorded: UsageError: " in done.stdout and "not a MASt3R-SLAM tracker" in done.stdout
    assert "never imported" not in done.stdout and "--tracker MODULE:CLASS" in done.stdout
    done = harness(tmp_path, "--out", "out", "--tracker", "mast3r_slam.tracker:Other", "--", sys.executable, "main.py")
    assert "mast3r_slam.tracker has no Other" in done.stdout


def test_another_tracker_class_by_name(tmp_path):
    write_program(tmp_path, "import port\nfrom mast3r_slam.frames import frame\nport.Mine().track(*frame(0))")
    (tmp_path / "port.py").write_text("from mast3r_slam.tracker import FrameTracker\nclass Mine(FrameTracker): pass\n")
    done = harness(tmp_path, "--json", "--out", "out", "--tracker", "port:Mine", "--", sys.executable, "main.py")
    assert json.loads(done.stdout)["counts"]["returned"] == 1, done


WRONG = [
    ((), "Missing argument"), (("--every", "0", "true"), "--every"), (("--", "no-such-program"), "no-such-program: No such file"),
    (("--last", "2", "--on-failure-only", "true"), "give one of them"), (("--tracker", "x", "true"), "MODULE:CLASS"),
    (("--out", "main.py/x", "true"), "main.py/x: Not a directory"),
]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="the words are POSIX's")
@pytest.mark.parametrize(("words", "said"), WRONG, ids=lambda x: str(x)[:40])
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, words, said):
    (tmp_path / "main.py").write_text("")
    done = harness(tmp_path, *words)
    assert done.returncode == 2 and said in done.stderr, done
    assert "Traceback" not in done.stderr


def test_help_has_examples(tmp_path):
    done = harness(tmp_path, "--help")
    assert done.returncode == 0 and "harness record --out recorded -- python main.py" in " ".join(done.stdout.split())
