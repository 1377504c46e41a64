"""How Windows' launcher reports an end, with a Job Object in place of Windows' own: no proof for Windows itself."""

from __future__ import annotations

import threading

import pytest

from harness import process, windows_job
from harness.classify import classify
from harness.outcome import Kind
from harness.process import INTERRUPTED, Ended, WindowsLauncher

FAST_FAIL = 0xC0000409


class Child:
    """Ends when its job is terminated, unless it is ``stuck``, or by itself with ``own_code``."""

    def __init__(self, own_code: int | None) -> None:
        self.pid, self.returncode, self.gone = 4242, own_code, threading.Event()
        if own_code is not None:
            self.gone.set()

    def wait(self):
        self.gone.wait(60)


@pytest.fixture
def job(monkeypatch):
    """Plants the Job Object. Returns its settings, to be changed, and an event for the start of a child."""
    settings = {"stuck": False, "own_code": None, "started": threading.Event(), "on_start": lambda: None}

    class Job:
        EXIT_CODE = windows_job.JobObject.EXIT_CODE

        def __init__(self, memory_limit_bytes, *, dumps=False):
            self.child = None

        def start(self, argv, stdout, stderr, environment):
            settings["on_start"]()
            self.child = Child(settings["own_code"])
            settings["started"].set()
            return self.child

        def terminate(self):
            if self.child is not None and not settings["stuck"] and not self.child.gone.is_set():
                self.child.returncode = self.EXIT_CODE
                self.child.gone.set()

        def close(self):
            pass

    monkeypatch.setattr(windows_job, "JobObject", Job)
    return settings


@pytest.fixture
def launcher():
    return WindowsLauncher({})


def judged(ended: Ended, folder):
    return classify(folder, ended, 0.1, case="c", solver="s", tool="none", repeat="again")


def test_an_interrupted_child_has_no_outcome(launcher, job, tmp_path):
    """Its reason must be the one that is never kept: the same command runs it again."""
    ends = []
    thread = threading.Thread(target=lambda: ends.append(launcher.run("job", tmp_path, ["x"], 60, None)))
    thread.start()
    assert job["started"].wait(30)
    launcher.close()
    thread.join(30)
    assert (ends[0].code, ends[0].lost, ends[0].timed_out) == (None, INTERRUPTED, False)
    outcome = judged(ends[0], tmp_path)
    assert (outcome.kind, outcome.reason) == (Kind.INCONCLUSIVE, INTERRUPTED)


def test_a_child_that_starts_while_the_run_ends_is_ended(launcher, job, tmp_path):
    """Its job was empty when all jobs were ended, and a job that was ended takes a new process all the same."""
    job["on_start"] = launcher.close
    ended = launcher.run("job", tmp_path, ["x"], 60, None)
    assert (ended.code, ended.lost) == (None, INTERRUPTED)
    assert ended.seconds < 30


def test_its_own_end_counts_even_if_the_run_was_interrupted(launcher, job, tmp_path):
    job["own_code"], job["on_start"] = FAST_FAIL, launcher.close
    ended = launcher.run("job", tmp_path, ["x"], 60, None)
    assert (ended.code, ended.lost) == (FAST_FAIL, None)


def test_a_child_at_its_limit(launcher, job, tmp_path):
    ended = launcher.run("job", tmp_path, ["x"], 0.1, None)
    assert ended.timed_out and ended.code == windows_job.JobObject.EXIT_CODE and ended.lost is None
    assert judged(ended, tmp_path).exit.meaning == "ended by the harness"


def test_a_child_that_cannot_be_ended_costs_its_own_outcome_alone(launcher, job, tmp_path, monkeypatch):
    """As one whose thread is inside the display driver: the run goes on with the others."""
    monkeypatch.setattr(process, "_END_WAIT_S", 0.2)
    job["stuck"] = True
    ended = launcher.run("job", tmp_path, ["x"], 0.1, None)
    assert (ended.code, ended.timed_out) == (None, True)
    outcome = judged(ended, tmp_path)
    assert outcome.kind is Kind.TIMEOUT and outcome.exit is None
    assert outcome.notes == ("process 4242 could not be ended in 0 s",)


def test_the_wait_is_longer_than_the_display_driver_s_limit():
    assert process._END_WAIT_S > 20  # twice the TdrDelay of docs/windows.md
