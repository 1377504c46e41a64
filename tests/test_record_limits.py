"""What is kept, how much of it, and what happens when the disk takes no more."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from limited_tracker import Tracker, kept

from harness.casefile import find_cases, read_case
from harness.errors import UsageError
from harness.record import record, store
from harness.record.limits import Full, Kept
from harness.record.settings import Settings


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
