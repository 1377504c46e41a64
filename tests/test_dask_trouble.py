"""A cluster's troubles are said in a line: nobody there, nobody to work, other sources, a task that kills workers."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

import pytest

pytest.importorskip("distributed", reason="dask.distributed is not installed")
from dask_cluster import Cluster, cluster

from harness import bench, remote
from harness.cargo import ORIGIN
from harness.casefile import read_document
from harness.dask_executor import DaskExecutor, NoWorkers, WorkersLost
from harness.dispatch import Crew
from harness.errors import HarnessError, UsageError
from harness.executors import check_address, open_executor
from harness.isolation import Limits, Task
from harness.outcome import Kind, Outcome
from harness.process import PRELOAD
from harness.registry import resolve
from harness.remote import CODE, MACHINE, Ran, WorkerDiffers, call, check_code, parcel, run_tasks

ROOT = Path(__file__).parent.parent
CASE = ROOT / "cases" / "degenerate-n-33"
TASK = Task(CASE, read_document(CASE), resolve("skip"))


@pytest.mark.parametrize(
    "address", ["dask://", "dask://head", "dask://:8786", "dask://head:0", "dask://a/b:1", "tcp://head:1", "spark"]
)
def test_an_address_of_no_known_kind_is_wrong_use(address):
    with pytest.raises(UsageError, match="must be local or dask://HOST:PORT"):
        check_address(address)


def test_a_scheduler_that_is_not_there_is_said_before_anything_is_run(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nothing answers
        address = f"dask://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HarnessError, match=f"--executor {address}: no Dask scheduler answers there"):
            DaskExecutor(address, connect_s=0.5)
        words = ["replay", str(CASE), "--solver", "skip", "--out", str(tmp_path), "--executor", address]
        done = subprocess.run([sys.executable, "-m", "harness", *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and not done.stdout
    said = done.stderr.strip()
    assert said.startswith(f"error: --executor {address}: no Dask scheduler answers there") and "\n" not in said
    assert not list(tmp_path.glob("*/outcomes/*"))


@pytest.mark.slow
def test_a_cluster_without_workers_is_given_up_and_a_task_that_kills_them_is_too(tmp_path, caplog):
    with cluster(tmp_path, workers=0, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as made:
        executor = DaskExecutor(made.address, no_workers_s=1.5)
        waiting = executor.submit(os.getpid)
        with pytest.raises(NoWorkers, match=f"has had no worker for 1.5 s; start one with: dask worker 127.0.0.1:{made.port}"):
            waiting.result(timeout=30)
        executor.shutdown(cancel_futures=True)
        assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(os.getpid)

        made.add_worker()  # with a nanny, which starts another in its place
        made.wait()
        with open_executor(made.address, 0) as executor:
            with pytest.raises(WorkersLost, match="1 workers died while they ran it"):
                executor.submit(os._exit, 1).result(timeout=60)
            assert executor.submit(os.getpid).result(timeout=60) != os.getpid()
            assert executor.submit(int, "7").result(timeout=60) == 7
            with pytest.raises(ValueError, match="invalid literal"):
                executor.submit(int, "seven").result(timeout=60)


def test_a_worker_with_other_sources_is_an_error_that_says_so(tmp_path):
    for package in ("harness", "sim3solve"):
        shutil.copytree(ROOT / package, tmp_path / "other" / package, ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "other" / "harness" / "worker.py", "a") as file:
        file.write("# changed\n")
    made = Cluster(tmp_path / "cluster")
    try:
        made.add_worker("--no-nanny", PYTHONPATH=str(tmp_path / "other"))
        made.wait()
        words = ["replay", str(CASE), "--solver", "skip", "--out", str(tmp_path / "runs"), "--executor", made.address]
        done = subprocess.run([sys.executable, "-m", "harness", *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    finally:
        made.close()
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"this run needs {CODE}: install the same there; 0 of 2 done and kept" in done.stderr
    assert "runs harness and sim3solve 0.1.0+" in done.stderr and "Dask worker tcp://127.0.0.1:" in done.stderr


def test_sources_that_change_under_a_worker_are_noticed():
    with pytest.raises(WorkerDiffers, match="install the same there"):
        call("0.0.9+0", int, ("7",), {})
    with pytest.raises(WorkerDiffers, match="lies there now: start it again"):
        check_code(CODE, "0.1.0+changed")
    assert call(CODE, int, ("7",), {"base": 8}) == 7


def test_a_solver_that_is_another_there_is_an_error(tmp_path):
    sent = parcel([TASK], Limits())
    sent = replace(sent, solver=replace(sent.solver, fingerprint="0" * 16))
    with pytest.raises(WorkerDiffers, match="has another skip than this run's, or none"):
        run_tasks(sent)


def crew_of(executor) -> Crew:
    return Crew(executor, None, 1)


def ran_by(crew: Crew, folder: Path, *tasks: Task) -> list[Outcome]:
    """What a crew tells of a batch, as each is kept."""
    told: SimpleQueue = SimpleQueue()
    kept = []
    crew.submit(tasks, Limits(), folder, lambda task, outcome, job: kept.append((task, job)) or outcome, told.put)
    outcomes = []
    while len(outcomes) < len(tasks):
        outcomes.append(told.get(timeout=120))
        if isinstance(outcomes[-1], BaseException):
            raise outcomes[-1]
    crew.stop()
    assert sorted(task.name for task, _ in kept) == sorted(task.name for task in tasks)
    assert all(job == folder / task.name for task, job in kept)
    return outcomes


def test_any_executor_will_do(tmp_path):
    """Processes of this machine, which have no way to ask for what they lack but find it on the disk."""
    segfault = replace(TASK, solver=resolve(f"{ROOT / 'tests' / 'faults.py'}:segfault"))
    for task, kind in ((TASK, Kind.OK), (segfault, Kind.CRASHED)):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            [outcome] = ran_by(crew_of(pool), tmp_path, task)
        assert outcome.kind is kind and outcome.repeat == task.repeat(Limits())
        assert {"job.json", "journal.jsonl", MACHINE} <= {file.name for file in (tmp_path / task.name).iterdir()}


def test_tasks_that_share_a_process_travel_together(tmp_path):
    more = [replace(TASK, memory=memory) for memory in ("pool", "exact", "poison")]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        outcomes = ran_by(crew_of(pool), tmp_path, *more)
    assert [o.memory for o in outcomes] == ["pool", "exact", "poison"] and {o.kind for o in outcomes} == {Kind.OK}
    assert len({json.loads((tmp_path / task.name / "job.json").read_text())["memory"] for task in more}) == 3


class Answers:
    """An executor that has these answers, one after the other."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)

    def submit(self, fn, *args):
        future: Future = Future()
        answer = self.answers.pop(0)
        future.set_exception(answer) if isinstance(answer, Exception) else future.set_result(answer)
        return future

    def shutdown(self, **more) -> None:
        pass


LOST = WorkersLost("4 workers died while they ran it, the last one tcp://10.0.0.1:1")
FINE = Outcome(*TASK.key[:2], "none", Kind.OK, "written", 0.1, "", status="CONVERGED")


def test_a_task_that_no_worker_outlives_is_inconclusive_and_the_run_goes_on(tmp_path):
    [outcome] = ran_by(crew_of(Answers(LOST)), tmp_path, TASK)
    assert (outcome.kind, outcome.key) == (Kind.INCONCLUSIVE, TASK.key) and "4 workers died" in outcome.reason


def test_of_several_that_no_worker_outlives_each_is_tried_alone(tmp_path):
    poison = replace(TASK, memory="poison")
    one, other = ran_by(crew_of(Answers(LOST, Ran((FINE,), {}), LOST)), tmp_path, TASK, poison)
    assert one.kind is Kind.OK and other.kind is Kind.INCONCLUSIVE and other.memory == "poison"


def test_what_a_closing_worker_interrupted_is_sent_again(tmp_path):
    lost = replace(FINE, kind=Kind.INCONCLUSIVE, reason="the run was interrupted")
    [outcome] = ran_by(crew_of(Answers(Ran((lost,), {}), Ran((FINE,), {f"{TASK.name}/stdout": b"hello"}))), tmp_path, TASK)
    assert outcome.kind is Kind.OK and (tmp_path / TASK.name / "stdout").read_bytes() == b"hello"


@pytest.mark.parametrize("name", ["../stdout", "stdout", "job/../../stdout", "/etc/stdout", "./stdout", "../job/../../stdout"])
def test_a_file_for_another_folder_is_refused(tmp_path, name):
    with pytest.raises(HarnessError, match="for another folder"):
        ran_by(crew_of(Answers(Ran((FINE,), {name: b"hello"}))), tmp_path / "jobs", TASK)
    assert not list(tmp_path.rglob("stdout"))


def test_too_much_to_send_back_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(remote, "MAX_BYTES", 300)
    ran = run_tasks(parcel([TASK], Limits()))
    assert "journal.jsonl" not in str(sorted(ran.files)) or "result.json" not in str(sorted(ran.files))
    assert "too large to be sent back from the worker: " in ran.outcomes[0].notes[0] and "result.json" in ran.outcomes[0].notes[0]
    bench.close(ORIGIN)


def test_a_bench_is_kept_between_tasks_and_closed_with_its_sender():
    first, second = (run_tasks(parcel([TASK], Limits())) for _ in range(2))
    assert first.outcomes[0].kind is second.outcomes[0].kind is Kind.OK
    [mine] = [it for (_, work), it in bench._benches.items() if work == ORIGIN]
    supervisor = mine.launcher(PRELOAD)._process
    assert supervisor.poll() is None and len(mine._launchers) == 1
    other = bench.bench(bench.Site("of a sender that died"))
    other.used = time.monotonic() - 3600
    run_tasks(parcel([TASK], Limits()))
    assert "of a sender that died" not in {work for _, work in bench._benches} and not other.folder.exists()
    bench.close(ORIGIN)
    assert supervisor.wait(10) is not None and not mine.folder.exists()
