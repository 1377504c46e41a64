"""What is answered stays answered: through kill -9, Ctrl-C, a budget, damaged files; and how many run at once changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
from minimize_cases import FAULTS, poisoned, run

from harness.casefile import read_document
from harness.errors import HarnessError, UsageError
from harness.minimize.answers import FILE, Answers
from harness.minimize.failure import Answer
from harness.minimize.result import MINIMIZED
from harness.runfolder import alive

ROOT = Path(__file__).parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def start(case: Path, out: Path, log: Path) -> subprocess.Popen:
    argv = [sys.executable, "-m", "harness", "minimize", str(case), "--solver", f"{FAULTS}:slow", "--jobs", "1", "--out", str(out)]
    environment = os.environ | {"MINIMIZE_LOG": str(log)}
    return subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_answers(process: subprocess.Popen, out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while not (out / FILE).exists() or (out / FILE).read_bytes().count(b"\n") < count:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


@posix
@pytest.mark.slow
def test_two_ends_from_outside_and_nothing_is_run_twice(tmp_path):
    """Ctrl-C, then kill -9, then to the end."""
    case, out, log = poisoned(tmp_path, 1000, 700), tmp_path / "out", tmp_path / "log"
    for how, answers in ((signal.SIGINT, 6), (signal.SIGKILL, 12)):
        process = start(case, out, log)
        wait_for_answers(process, out, answers)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        if how == signal.SIGINT:
            assert process.returncode == 130 and "the same command takes it up again" in said and "Traceback" not in said
        psutil.wait_procs(children, timeout=20)
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    before = (out / FILE).read_bytes()
    last = start(case, out, log)
    stdout, stderr = last.communicate(timeout=120)
    assert last.returncode == 1 and "points kept: 700" in stdout and "Traceback" not in stderr
    assert (out / FILE).read_bytes().startswith(before)
    times = sorted(Counter(log.read_text().split()).values(), reverse=True)
    # The whole case three times, and the smallest three times afresh and once as a candidate; and what was in flight, twice.
    assert times[0] <= 5 and sum(n - 1 for n in times) <= 2 + 3 + 2 and len(times) > 25
    lines = (out / FILE).read_text().splitlines()
    keys = Counter(json.loads(line)["key"] for line in lines)
    assert sorted(keys.values(), reverse=True)[:2] == [3, 1]
    assert sorted(path.name for path in out.iterdir()) == [FILE, "minimize.json", "room-min"]


@posix
def test_a_second_time_runs_only_the_last_look(tmp_path):
    case = poisoned(tmp_path, 300, 7)
    first = run(case, "one_point", tmp_path / "out", jobs=1)  # several at once end what is not needed any more
    again = run(case, "one_point", tmp_path / "out", jobs=1)
    assert again.runs == 3 and again.kept >= first.runs - 3 and (again.rows, again.changes) == (first.rows, first.changes)
    assert run(case, "one_point", tmp_path / "out", fresh=True).runs > 20


@posix
@pytest.mark.slow
def test_a_budget_ends_with_the_smallest_case_so_far_and_goes_on_from_there(tmp_path):
    case = poisoned(tmp_path, 3000, 2048)
    some = run(case, "one_point", tmp_path / "out", max_runs=15, jobs=1)
    assert some.stopped == "the limit of 15 runs is reached" and not some.complete and some.verified
    assert 1 < some.after.points < 3000 and some.runs == 15 + 3
    assert read_document(some.case).n_points == some.after.points
    late = run(case, "slow", tmp_path / "late", budget_s=6, jobs=1)
    assert late.stopped == "the time is used up" and late.state == MINIMIZED and late.seconds < 30
    whole = run(case, "one_point", tmp_path / "out")
    assert whole.complete and whole.rows == (2048,) and whole.kept == 15


@posix
@pytest.mark.slow
def test_how_many_run_at_once_and_where_changes_nothing(tmp_path):
    case = poisoned(tmp_path, 400, 100, 250)
    one = run(case, "two_points", tmp_path / "one", jobs=1)
    many = run(case, "two_points", tmp_path / "many", jobs=5)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        elsewhere = run(case, "two_points", tmp_path / "elsewhere", executor=pool, jobs=2)
    for other in (many, elsewhere):
        assert other.rows == one.rows == (100, 250) and other.changes == one.changes and other.complete
        assert [line.what for line in other.history if line.fails] == [line.what for line in one.history if line.fails]
    assert one.runs <= many.runs  # what is tried ahead may be in vain


@posix
@pytest.mark.slow
def test_answers_of_another_source_or_another_limit_do_not_count(tmp_path):
    case, solver = poisoned(tmp_path, 60, 7), tmp_path / "mine.py"
    shutil.copy(FAULTS, solver)
    first = run(case, f"{solver}:one_point", tmp_path / "out", jobs=1)  # how far it looks ahead depends on the moment
    solver.write_text(solver.read_text() + "\n# changed\n")
    assert run(case, f"{solver}:one_point", tmp_path / "out", jobs=1).runs == first.runs
    assert run(case, f"{solver}:one_point", tmp_path / "out", timeout=61, jobs=1).runs == first.runs


# --- the answers on disk ----------------------------------------------------------------------------------------------------------


def test_damaged_answers_are_asked_again(tmp_path):
    answers = Answers(tmp_path)
    for number in range(4):
        answers.add(f"key {number}", Answer("CRASHED", ("crash | \ud800 <b>",), seconds=float("nan")))
    answers.close()
    whole = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    damaged = [whole[0], b"\xff\xfe\n", b"[1]\n", b'{"key": "k"}\n', whole[1].replace(b"CRASHED", b"crashed"), b"[" * 5000 + b"\n"]
    damaged += [whole[2].replace(b'["crash', b'[7, "crash'), whole[3][:-20]]
    (tmp_path / FILE).write_bytes(b"".join(damaged))
    again = Answers(tmp_path)
    assert again.count == 1 and again.of("key 0")[0].outcome == "CRASHED"
    again.add("key 3", Answer("OK"))
    again.close()
    assert Answers(tmp_path).of("key 3") == [Answer("OK")]  # not glued to the torn line before it


def test_one_process_at_a_time(tmp_path):
    case = poisoned(tmp_path, 20, 7)
    (tmp_path / "out").mkdir()
    with alive(tmp_path / "out"), pytest.raises(UsageError, match="another process is minimizing there"):
        run(case, "one_point", tmp_path / "out")
    assert not (tmp_path / "out" / FILE).exists()


def test_a_folder_that_cannot_be_written_is_an_error_with_its_name(tmp_path):
    case = poisoned(tmp_path, 20, 7)
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="file"):
        run(case, "one_point", tmp_path / "file" / "out")
    (tmp_path / "out" / "room-min").mkdir(parents=True)
    (tmp_path / "out" / "room-min" / "mine.txt").write_text("keep")
    with pytest.raises(HarnessError, match="is not a case, and is not replaced by one"):
        run(case, "one_point", tmp_path / "out")
    assert (tmp_path / "out" / "room-min" / "mine.txt").read_text() == "keep"
