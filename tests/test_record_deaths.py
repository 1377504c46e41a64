"""However a solver ends, its input is on disk and the case says what became of the call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slam_program import environment, write_program

from harness.casefile import find_cases, read_case

MAIN = """
from mast3r_slam.tracker import FrameTracker, Sim3
from mast3r_slam.frames import frame

if __name__ == "__main__":
    tracker = FrameTracker()
    for i in range(3):
        arguments = frame(i)
        arguments[2:4] = [Sim3(T) for T in arguments[2:4]]
        tracker.calls = i
        tracker.track(*arguments)
    print("the end", len(tracker.lost))
"""
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
LAST = "if self.calls == 2: {}\nreturn self.torch_solve(problem, img_size, like)"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "harness", "record", "--json", "--out", "out", *words, "--", sys.executable, "main.py"]


def run(folder: Path, solve: str, *words: str, main: str = MAIN) -> tuple[dict, subprocess.CompletedProcess]:
    write_program(folder, main, LAST.format(solve))
    done = subprocess.run(command(*words), cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done


def assert_replayable(document: dict, folder: Path, n: int) -> None:
    """As many cases as said, each readable in full, and no litter beside them."""
    cases = [read_case(case) for case in find_cases([folder / "out"])]
    assert len(cases) == len(document["calls"]) == n
    assert not list((folder / "out").glob(".*.tmp"))


DEATHS = {
    "segfault": ("ctypes.string_at(0)", "SIGSEGV"),
    "abort": ("os.abort()", "SIGABRT"),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
}


@posix
@pytest.mark.parametrize(("death", "live"), [("segfault", ()), ("abort", ()), ("kill", ()), ("kill", ("--live",))], ids=str)
def test_a_process_that_dies_in_the_solver_leaves_the_call_that_killed_it(tmp_path, death, live):
    solve, name = DEATHS[death]
    document, done = run(tmp_path, solve, *live)
    assert done.returncode == 1 and document["exit"]["name"] == name and document["exit"]["crashed"]
    assert_replayable(document, tmp_path, 1 if live else 3)
    assert [call["state"] for call in document["calls"]] == ["returned"] * (0 if live else 2) + ["never_returned"]
    last = document["calls"][-1]
    assert read_case(last["case"]).document.recorded.event == "never_returned"
    own = f"--solver mast3r-slam:{tmp_path} --solver torch"
    assert document["replay"] == f"python -m harness replay {last['case']} {own}"
    assert last["exit"]["name"] == name
    if death != "kill":  # nobody can say anything when killed with -9
        assert "in opt_pose_ray_dist_sim3" in last["stack"]


def test_an_exit_without_goodbye_and_a_swallowed_exception(tmp_path):
    document, done = run(tmp_path, "os._exit(0)")
    assert done.returncode == 1 and document["exit"]["code"] == 0
    assert [call["state"] for call in document["calls"]] == ["returned", "returned", "never_returned"]
    document, done = run(tmp_path, "raise RuntimeError('CUDA error: no kernel image is available')")
    assert done.returncode == 1 and document["exit"]["code"] == 0
    failed = document["calls"][-1]
    assert failed["state"] == "raised" and failed["seconds"] is not None
    assert failed["exception"].startswith("Traceback") and "no kernel image is available" in failed["exception"]
    assert "Cholesky failed" in done.stderr and "the end 1" in done.stderr  # the program's own words, and that it went on


@posix
def test_a_process_that_becomes_another_program(tmp_path):
    document, done = run(tmp_path, "os.execv('/bin/sh', ['sh', '-c', 'exit 0'])")
    assert done.returncode == 1 and document["exit"]["code"] == 0
    assert [call["state"] for call in document["calls"]] == ["returned", "returned", "never_returned"]


@posix
def test_a_hang_in_native_code_that_ctrl_c_ends(tmp_path):
    write_program(tmp_path, MAIN, LAST.format("print('hangs', file=sys.stderr, flush=True); ctypes.CDLL(None).sleep(100)"))
    argv = command()
    started = subprocess.Popen(
        argv, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in started.stderr:
        if "hangs" in line:
            break
    time.sleep(0.3)
    os.killpg(started.pid, signal.SIGINT)  # as the terminal does: to both
    out, _ = started.communicate(timeout=60)
    document = json.loads(out)
    assert_replayable(document, tmp_path, 3)
    # libc's sleep returns when a signal comes, so Python sees it then.
    assert [call["state"] for call in document["calls"]] == ["returned", "returned", "interrupted"]
    assert "KeyboardInterrupt" in document["calls"][-1]["exception"] and 0.2 < document["calls"][-1]["seconds"] < 60
    assert document["interrupted"] and started.returncode == 130


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_to_the_recorder_reaches_the_program_and_the_end_is_told(tmp_path, number):
    write_program(tmp_path, MAIN, LAST.format("print('hangs', file=sys.stderr, flush=True); time.sleep(100)"))
    argv = command()
    started = subprocess.Popen(argv, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in started.stderr:
        if "hangs" in line:
            break
    started.send_signal(number)
    document = json.loads(started.communicate(timeout=60)[0])
    assert document["exit"]["name"] == number.name and document["calls"][-1]["state"] == "never_returned"


SPAWNING = """
import multiprocessing
from mast3r_slam.frames import frame

def work(k):
    from mast3r_slam.tracker import FrameTracker, Sim3
    tracker = FrameTracker()
    for i in range(2):
        arguments = frame(i)
        arguments[2:4] = [Sim3(T) for T in arguments[2:4]]
        tracker.calls = 2 if k == 1 and i == 1 else i
        tracker.track(*arguments)

if __name__ == "__main__":
    children = [multiprocessing.get_context("spawn").Process(target=work, args=(k,)) for k in range(2)]
    for child in children: child.start()
    for child in children: child.join()
    print([child.exitcode for child in children])
"""


@posix
def test_spawned_processes_are_recorded_and_one_that_dies_is_found(tmp_path):
    document, done = run(tmp_path, "ctypes.string_at(0)", main=SPAWNING)
    assert document["exit"]["code"] == 0 and done.returncode == 1
    states = {call["id"].rpartition("-")[0]: [] for call in document["calls"]}
    for call in document["calls"]:
        states[call["id"].rpartition("-")[0]].append(call["state"])
    assert sorted(states.values()) == [["returned", "never_returned"], ["returned", "returned"]]
    assert_replayable(document, tmp_path, 4)


KILLED = """
import os, signal, sys, torch
from harness.record import record
class T:
    def opt_pose_ray_dist_sim3(self, *a): return torch.zeros(1, 8), torch.zeros(1, 8)
a = [torch.ones(9, 3), torch.ones(9, 3), *torch.ones(2, 1, 8), torch.ones(9, 1), torch.ones(9, 1) > 0]
real, syncs = os.fsync, 0
def fsync(descriptor):
    global syncs
    syncs += 1
    if syncs == kill_at: os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
for kill_at in range(1, 15):
    if os.fork() == 0:
        with record(T, f"out/{kill_at}", last=1) as recording:
            for _ in range(3): T().opt_pose_ray_dist_sim3(*a)
        os._exit(0)
    os.wait()
"""


@posix
def test_killed_at_any_step_of_writing_no_case_is_half_a_case(tmp_path):
    (tmp_path / "main.py").write_text(KILLED)
    done = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = []
    for kill_at in range(1, 15):
        folders = [folder for folder in (tmp_path / "out" / str(kill_at)).iterdir() if not folder.name.startswith(".")]
        seen.append(sorted(read_case(folder).document.recorded.event for folder in folders))
    # Synced before the call: tensors, document, folder, its place; after it: document, folder. Then the second call.
    never, returned = ["never_returned"], ["returned"]
    assert seen[:6] == [[], [], [], never, never, returned]
    assert seen[6:9] == [returned] * 3 and seen[9:11] == [["never_returned", "returned"]] * 2
