"""What is kept, how much of it, and what happens when the disk takes no more."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from slam_program import environment, run_python

from harness.casefile import find_cases, read_case
from harness.errors import CaseError, UsageError
from harness.record import record, store
from harness.record.limits import Full, Kept
from harness.record.settings import Settings


class Tracker:
    cfg: ClassVar[dict] = {}

    def opt_pose_ray_dist_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid):
        number = int(Xf[0, 0])
        if number in self.failing:
            raise RuntimeError(f"failed {number}")
        return torch.zeros(1, 8), torch.zeros(1, 8)

    def __init__(self, *failing: int):
        self.failing = failing

    def run(self, count: int, n: int = 10):
        answers = []
        for k in range(count):
            given = [torch.full((n, 3), float(k)), torch.ones(n, 3), torch.ones(1, 8), torch.ones(1, 8), torch.ones(n, 1)]
            try:
                answers.append(self.opt_pose_ray_dist_sim3(*given, torch.ones(n, 1, dtype=torch.bool)))
            except RuntimeError as error:
                answers.append(error)
        return answers


def kept(out: Path) -> list[int]:
    """The number that each kept case carries in its first point, in the order of their names."""
    try:
        return [int(read_case(folder).values["Xf"][0, 0]) for folder in find_cases([out])]
    except CaseError as error:
        assert "no case.json here" in error.reason or "no such folder" in error.reason
        return []


def test_every_kth(tmp_path, quick_disk):
    with record(Tracker(), tmp_path, every=3) as recording:
        recording.tracker.run(8)
    assert kept(tmp_path) == [0, 3, 6]


def test_the_last_k_and_all_that_failed(tmp_path, quick_disk):
    with record(Tracker(1, 4), tmp_path, last=2) as recording:
        assert len(recording.tracker.run(9)) == 9
    assert kept(tmp_path) == [1, 4, 7, 8]


@pytest.mark.parametrize("options", [{"on_failure_only": True}, {"live": True}], ids=str)
def test_failures_only(tmp_path, options, quick_disk):
    with record(Tracker(1, 4), tmp_path, **options) as recording:
        recording.tracker.run(9)
    assert kept(tmp_path) == [1, 4]
    assert "failed 4" in [read_case(folder) for folder in find_cases([tmp_path])][-1].document.recorded.exception


def test_memory_used_again_holds_the_new_call_alone_also_when_it_is_smaller(tmp_path, quick_disk):
    tracker = Tracker()
    with record(tracker, tmp_path, last=1):
        for n in (50, 50, 50, 7, 7, 7, 50):
            tracker.run(2, n)
            (case,) = [read_case(folder) for folder in find_cases([tmp_path])]
            assert case.document.n_points == n and int(case.values["Xf"][0, 0]) == 1
    assert len(list(tmp_path.glob(".*.tmp"))) <= 2


def test_live_recording_syncs_nothing_and_the_other_syncs_file_and_folder(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()), real(descriptor))
    )
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("what a descriptor is open on cannot be asked here")
    with record(Tracker(), tmp_path / "live", live=True, last=5) as recording:
        recording.tracker.run(2)
    assert kept(tmp_path / "live") == [0, 1] and synced == []
    with record(Tracker(), tmp_path / "disk") as recording:
        recording.tracker.run(1)
    names = [Path(path).name for path in synced]
    assert names[:2] == ["tensors.safetensors", "case.json"] and names[2].endswith(".tmp") and names[3] == "disk"


def test_the_cap_gives_up_well_returned_calls_first_and_never_the_one_going_on(tmp_path, quick_disk, caplog):
    n = 12_000  # 0.35 MB a case
    with record(Tracker(0, 1), tmp_path, max_bytes=1 << 20) as recording:
        recording.tracker.run(8, n)
    assert kept(tmp_path) == [0, 7]  # the newest failure made room, the first did not; then well returned ones did
    assert sum(file.stat().st_size for file in tmp_path.rglob("tensors.safetensors")) < 1 << 20


def test_a_call_larger_than_the_cap_is_not_recorded_and_said_once(tmp_path, caplog):
    with record(Tracker(), tmp_path, max_bytes=1 << 20) as recording:
        recording.tracker.run(3, 60_000)
    assert kept(tmp_path) == [] and caplog.text.count("--max-bytes") == 1
    # It is the call that is too large; nothing was written that could have reached the limit.
    assert re.search(r"this call has 17\d{5} bytes, the limit is 1048576 \(--max-bytes\)", caplog.text)


def test_of_calls_that_came_back_well_the_oldest_makes_room(tmp_path, quick_disk):
    with record(Tracker(), tmp_path, max_bytes=1 << 20) as recording:
        recording.tracker.run(6, 12_000)  # 0.35 MB a case: two fit
    assert kept(tmp_path) == [4, 5]


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


def test_kept_in_every_order():
    a, b, c, d = (Path(name) for name in "abcd")
    cases = Kept(Path("nowhere"), "run", None, 100)
    assert cases.enter(a, 40) == [] and cases.enter(b, 40) == []
    with pytest.raises(Full):
        cases.enter(c, 40)  # both are going on
    assert cases.leave(a, well=False) == [] and cases.leave(b, well=True) == []
    assert cases.enter(c, 40) == [b]
    assert cases.enter(d, 40) == [a]
    cases.forget(d)
    assert cases.enter(d, 60) == []
    assert cases.leave(c, well=True) == [] and cases.leave(c, well=True) == []  # twice, after an interrupt


def test_other_processes_of_the_run_count(tmp_path):
    folder = tmp_path / "run-1-1"
    folder.mkdir()
    (folder / "tensors.safetensors").write_bytes(b"x" * 80)
    with pytest.raises(Full):
        Kept(tmp_path, "run", None, 100).enter(tmp_path / "run-2-1", 40)
    assert Kept(tmp_path, "another", None, 100).enter(tmp_path / "another-2-1", 40) == []


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


def test_ctrl_c_while_the_result_is_written_does_not_lose_it(tmp_path, monkeypatch):
    real, pressed = store.update, []

    def update(*arguments, **named):
        if not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        real(*arguments, **named)

    monkeypatch.setattr(store, "update", update)
    with record(Tracker(), tmp_path) as recording, pytest.raises(KeyboardInterrupt):
        recording.tracker.run(1)
    assert [read_case(f).document.recorded.event for f in find_cases([tmp_path])] == ["returned"]


def test_ctrl_c_while_the_inputs_are_written_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with record(Tracker(), tmp_path) as recording, monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "fsync", interrupt)
        recording.tracker.run(1)
    assert kept(tmp_path) == [] and not list(tmp_path.glob(".2*"))


FILLING = """
import os, sys, torch
sys.path.insert(0, TESTS)
from test_record_limits import Tracker
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


WRONG = [
    ({"every": 0}, "every 0"), ({"last": 0}, "last 0"), ({"last": 3, "on_failure_only": True}, "give one"),
    ({"max_bytes": 5}, "max-bytes 5"), ({"tracker": "tracker"}, "MODULE:CLASS"), ({"run": "../x"}, "run"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "words"), WRONG, ids=lambda x: str(x))
def test_options_that_make_no_sense_are_refused_by_name(options, words):
    with pytest.raises(UsageError, match=words):
        Settings(Path("out"), **options)


def test_settings_travel_through_the_environment(tmp_path):
    settings = Settings(tmp_path / "out", every=3, last=7, live=True)
    assert Settings.from_environment(settings.to_environment()) == settings
    assert Settings.from_environment({}) is None
    for bad in ("{", "[]", '{"every": "x"}', '{"unknown": 1}', '{"tracker": 3}'):
        with pytest.raises(UsageError):
            Settings.from_environment({"HARNESS_RECORD": "out", "HARNESS_RECORD_OPTIONS": bad})
