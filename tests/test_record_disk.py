"""A disk that has no room, or refuses: what is kept then, and that the call which kills the process is there."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from limited_tracker import Tracker, kept
from slam_program import environment, run_python

from harness.casefile import find_cases, read_case
from harness.record import record, store
from harness.record.limits import Full, Kept


def test_what_the_disk_has_left_bounds_a_run_as_the_cap_does():
    a, b, c, d = (Path(name) for name in "abcd")
    cases = Kept(Path("nowhere"), "run", None, 1000)
    for case in (a, b):
        assert cases.enter(case, 40, 40) == []
        cases.leave(case, well=True)
    assert cases.enter(c, 40, 5) == [a]
    cases.leave(c, well=False)
    assert cases.enter(d, 100, 20) == [b, c]  # well ones first
    with pytest.raises(Full, match="the disk has 5 bytes left, this call has 40"):
        cases.enter(a, 40, 5)
    assert cases.leave(d, well=True) == [] and cases.give_way(0) == [] and cases.give_way(30) == [d]
    with pytest.raises(Full, match="the disk is full"):
        cases.give_way(30)


def test_the_limit_of_bytes_and_the_disk_together_give_up_no_more_than_both_need():
    a, b, c = (Path(name) for name in "abc")
    cases = Kept(Path("nowhere"), "run", None, 100)
    for case in (a, b):
        cases.enter(case, 40)
        cases.leave(case, well=True)
    assert cases.enter(c, 50, 10) == [a]  # 30 too many, 40 too few on the disk: one of 40 is enough for both
    cases.forget(c)
    cases.enter(a, 40)
    cases.leave(a, well=True)
    assert cases.enter(c, 50, 5) == [b, a]


def test_a_case_is_not_begun_for_which_the_disk_has_no_room(tmp_path, quick_disk, monkeypatch, caplog):
    def on_a_disk_of_one_mb(_folder):
        used = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
        assert used <= 1_000_000
        return types.SimpleNamespace(free=1_000_000 - used)

    monkeypatch.setattr(shutil, "disk_usage", on_a_disk_of_one_mb)
    with record(Tracker(), tmp_path) as recording:
        assert "only 1 MB are free in" in caplog.text and "less than the 4295 MB" in caplog.text  # said before the first call
        recording.tracker.run(9, 12_000)
        on_a_disk_of_one_mb(tmp_path)
    assert kept(tmp_path) == [7, 8]


FULL, BROKEN = OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O error")


@contextlib.contextmanager
def refusing(monkeypatch, step: str, error: OSError):
    """While this lasts, one step of writing a case fails."""

    def refuse(*arguments, **named):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os if step == "fsync" else Path, step, refuse)
        yield


@pytest.mark.parametrize("step", ["mkdir", "fsync", "rename"])
def test_a_disk_that_refuses_stops_recording_once_and_leaves_no_half_case(tmp_path, monkeypatch, caplog, step):
    tracker = Tracker()
    with record(tracker, tmp_path):
        tracker.run(1)
        with refusing(monkeypatch, step, BROKEN):
            assert len(tracker.run(3)) == 3
        tracker.run(2)
    assert kept(tmp_path) == [0]
    assert [r.getMessage() for r in caplog.records if "recording has stopped" in r.getMessage()] == [
        f"recording has stopped, the tracker goes on: {tmp_path}: {BROKEN.strerror}"
    ]
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("step", ["mkdir", "fsync", "rename"])
def test_a_disk_without_room_for_any_case_is_tried_again_at_each_call(tmp_path, monkeypatch, caplog, step):
    tracker = Tracker()
    with record(tracker, tmp_path):
        with refusing(monkeypatch, step, FULL):
            assert len(tracker.run(3)) == 3
        tracker.run(2)
    assert kept(tmp_path) == [0, 1]
    assert caplog.text.count("no further calls are recorded until there is room") == 1
    assert not list(tmp_path.glob(".*.tmp"))


def test_when_what_a_call_did_cannot_be_written_its_case_does_not_go_on_saying_never_came_back(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise FULL

    monkeypatch.setattr(store, "update", refuse)
    with record(Tracker(), tmp_path) as recording, caplog.at_level(logging.WARNING):
        recording.tracker.run(2)
    assert kept(tmp_path) == [] and "the disk is full" in caplog.text


FILLING = """
import os, sys, torch
sys.path.insert(0, TESTS)
from limited_tracker import Tracker
from harness.record import record
class Dying(Tracker):
    def opt_pose_ray_dist_sim3(self, Xf, *more):
        if DIES and int(Xf[0, 0]) == 39: os._exit(3)
        return super().opt_pose_ray_dist_sim3(Xf, *more)
with record(Dying(2), OUT) as recording: print(len(recording.tracker.run(40, 12_000)))
"""


def filling(out: str, *, dies: bool) -> str:
    return FILLING.replace("TESTS", repr(str(Path(__file__).parent))).replace("OUT", repr(out)).replace("DIES", str(dies))


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system")
@pytest.mark.parametrize("told", [True, False], ids=["the disk says what it has left", "the disk claims to have room"])
def test_the_call_that_kills_is_recorded_on_a_disk_that_is_really_full(tmp_path, told):
    unshare = shutil.which("unshare")
    probe = [unshare or "", "-m", "sh", "-c", f"mkdir {tmp_path}/d && mount -t tmpfs -o size=2m none {tmp_path}/d"]
    if unshare is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    (tmp_path / "fill.py").write_text(filling(f"{tmp_path}/d/out", dies=True))
    script = (
        f"mount -t tmpfs -o size=2m none {tmp_path}/d && {sys.executable} {tmp_path}/fill.py; echo rc $?; "
        f"cp -r {tmp_path}/d/out {tmp_path}/copy"
    )
    if not told:  # as under a quota
        code = (tmp_path / "fill.py").read_text()
        lie = "import shutil, types; shutil.disk_usage = lambda folder: types.SimpleNamespace(free=1 << 40)\n"
        (tmp_path / "fill.py").write_text(lie + code)
    done = subprocess.run([unshare, "-m", "sh", "-c", script], env=environment(), capture_output=True, text=True, timeout=100)
    assert "rc 3" in done.stdout and "recording has stopped" not in done.stderr, done
    events = [read_case(folder).document.recorded.event for folder in find_cases([tmp_path / "copy"])]
    numbers = kept(tmp_path / "copy")
    assert events == ["raised", *["returned"] * (len(events) - 2), "never_returned"]
    assert numbers == [2, *range(40 - len(numbers) + 1, 40)] and len(numbers) >= 3  # the failure, the last ones, the death


def test_a_folder_that_cannot_be_written_costs_the_recording_only(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_python("-c", filling("file/out", dies=False), cwd=tmp_path)
    assert done.stdout == "40\n" and done.stderr.count("recording has stopped") == 1
