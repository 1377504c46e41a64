"""A run on a Dask cluster is the run it would have been here: whatever dies, nothing is lost and nothing is there twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="dask.distributed is not installed")
from dask_cluster import Cluster, cluster

from harness import cargo
from harness.cargo import offer_case
from harness.isolation import Limits
from harness.outcome import BUILDING, Kind
from harness.replay import Request, replay
from harness.run import Run, read_run

ROOT = Path(__file__).parent.parent
CASES = ROOT / "cases"
FAULTS = Path(__file__).with_name("faults.py")
SLOW = Path(__file__).with_name("remote_faults.py")
SMALL = ("degenerate-n-33", "degenerate-n-0", "degenerate-nan-valid", "real-fr1-desk-0-8-ray")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("told") / "told"


@pytest.fixture(scope="module")
def two(tmp_path_factory, told):
    """Two workers, a process each."""
    with cluster(tmp_path_factory.mktemp("cluster"), TOLD=str(told)) as made:
        yield made


def request(out: Path, solvers: tuple[str, ...], *names: str, **more) -> Request:
    return Request(tuple(CASES / name for name in names or SMALL), solvers, out=out, command="test", **more)


def comparable(run: Run) -> list[dict]:
    """What a run says, without what differs between any two runs: times, process ids."""
    found = []
    for outcome in run.outcomes:
        document = outcome.to_json()
        for name in ("seconds", "solve_seconds", "stages", "faulthandler", "stdout", "stderr"):
            del document[name]
        document["stages"] = [name for name, _ in outcome.stages if name != BUILDING]  # whoever comes first builds it
        if outcome.exception:
            document["exception"]["traceback"] = outcome.exception.traceback.count("\n")
        found.append(document)
    # The solver's file lay in the worker's cache.
    return json.loads(re.sub(r'[^\s"]*/cargo/[0-9a-f]{64}', str(FAULTS.parent), json.dumps(found, sort_keys=True)))


def files(run: Run) -> dict[str, set[str]]:
    return {job.name: {file.name for file in job.iterdir()} for job in (run.folder / "jobs").iterdir() if job.is_dir()}


@pytest.mark.slow
def test_the_run_equals_a_local_one_and_each_case_travels_once(two: Cluster, tmp_path, monkeypatch):
    given: Counter[str] = Counter()
    hand_out = cargo.hand_out

    def counted(key: str):
        given[key] += 1
        return hand_out(key)

    monkeypatch.setattr(cargo, "hand_out", counted)
    solvers = ("native", "skip", *(f"{FAULTS}:{name}" for name in ("segfault", "exception", "wrong_pose")))
    here = replay(request(tmp_path / "here", solvers))
    there = replay(request(tmp_path / "there", solvers, executor=two.address))
    assert comparable(there) == comparable(here)
    assert there.finished and sorted(there.environment["workers"]) and len(there.environment["workers"]) == 2
    assert {name: names - {"machine"} for name, names in files(there).items()} == files(here)
    ran_on = {file.read_text().split("Dask worker ")[1] for file in there.folder.glob("jobs/*/machine")}
    assert len(ran_on) == 2

    keys = {offer_case(CASES / name).key for name in SMALL}
    solver = set(given) - keys
    assert keys <= set(given) and len(solver) == 1  # and the file that the three faults are in
    both = two.kept(0), two.kept(1)
    assert given == Counter([*both[0], *both[1]])  # to each worker that had none, once
    given.clear()
    again = replay(request(tmp_path / "again", solvers, executor=two.address))
    assert comparable(again) == comparable(here)
    assert given <= Counter([*(both[0] | both[1]) - both[0], *(both[0] | both[1]) - both[1]])  # whoever had it did not ask


def test_layouts_are_swept_there_as_here(two: Cluster, tmp_path):
    documents = []
    for executor in (None, two.address):
        run = replay(request(tmp_path / str(bool(executor)), ("skip",), "degenerate-n-33", sweep=True, executor=executor))
        documents.append([json.loads(file.read_text())["rule"] for file in (run.folder / "sweeps").glob("*.json")])
    assert documents[0] == documents[1] and "healthy in all" in documents[0][0]


@pytest.mark.slow
def test_ctrl_c_ends_what_runs_there_and_the_same_command_goes_on(two: Cluster, tmp_path, told):
    told.unlink(missing_ok=True)
    words = [str(CASES / "degenerate-n-33"), "--solver", f"{SLOW}:hang", "--out", str(tmp_path), "--executor", two.address]
    argv = [sys.executable, "-m", "harness", "replay", *words]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: told.exists() and told.read_text().endswith("\n") and list(tmp_path.glob("*/yardsticks/*.json")))
    child = int(told.read_text().split()[1])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted: 1 of 2 done; the same command takes it up again" in err, err
    wait_until(lambda: not Path(f"/proc/{child}").exists())
    folder = next(file.parent for file in tmp_path.glob("*/run.json"))
    assert read_run(folder).finished is None and not read_run(folder).outcomes
    ran = []
    asked = request(tmp_path / "more", (f"{SLOW}:hang",), "degenerate-n-33", executor=two.address, limits=Limits(1.0))
    limited = replay(asked, lambda outcome, done, total: ran.append(outcome.solver))
    assert limited.outcomes[0].kind is Kind.TIMEOUT and len(ran) == 2  # the workers are as good as before


def test_a_worker_killed_in_the_middle_costs_its_task_alone(tmp_path, monkeypatch):
    told = tmp_path / "told"
    monkeypatch.setenv("TOLD", str(told))
    names = [folder.name for folder in sorted(CASES.glob("degenerate-*"))][:12]
    solvers = (f"{SLOW}:slow", "skip")
    here = replay(request(tmp_path / "here", solvers, *names))
    told.unlink()
    seen: Counter[tuple[str, str, str]] = Counter()
    killed = threading.Event()
    with cluster(tmp_path / "cluster", TOLD=str(told)) as made:

        def kill() -> None:
            wait_until(lambda: told.exists() and told.read_text().count("worker0\n") == 3)
            made.workers[0].kill()
            killed.set()

        threading.Thread(target=kill).start()
        there = replay(
            request(tmp_path / "there", solvers, *names, executor=made.address),
            lambda outcome, done, total: seen.update([outcome.key]),
        )
        assert killed.is_set() and made.workers[0].wait() == -signal.SIGKILL
    assert comparable(there) == comparable(here)
    oracles = {(name, "reference", "none") for name in names}
    assert set(seen) == {o.key for o in here.outcomes} | oracles and set(seen.values()) == {1}  # each heard of once
    assert len(list((there.folder / "outcomes").iterdir())) == len(here.outcomes)
    assert {name: kept - {"machine"} for name, kept in files(there).items()} == files(here)
    begun = len(told.read_text().splitlines())
    assert len(names) < begun <= len(names) + 3, "what the killed one ran, or had not delivered, ran again; nothing else did"


@pytest.mark.slow
def test_a_scheduler_that_dies_is_said_and_the_run_goes_on_elsewhere(tmp_path, monkeypatch):
    told = tmp_path / "told"
    monkeypatch.setenv("TOLD", str(told))
    names = ("degenerate-n-33", "degenerate-n-0", "degenerate-nan-valid")
    asked = request(tmp_path / "runs", (f"{SLOW}:slow",), *names)
    with cluster(tmp_path / "cluster", workers=1, TOLD=str(told)) as made:

        def kill() -> None:
            wait_until(lambda: list((tmp_path / "runs").glob("*/*/*.json")))
            made.scheduler.kill()

        threading.Thread(target=kill).start()
        argv = [sys.executable, "-m", "harness", "replay", *map(str, asked.cases), "--solver", asked.solvers[0]]
        done = subprocess.run(
            [*argv, "--out", str(asked.out), "--executor", made.address], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"error: the Dask scheduler at {made.address} was lost; " in done.stderr
    assert "done and kept, the same command takes it up again" in done.stderr
    folder = next(file.parent for file in asked.out.glob("*/run.json"))
    kept = len(list(folder.glob("outcomes/*.json"))) + len(list(folder.glob("yardsticks/*.json")))
    ran = []
    run = replay(asked, lambda outcome, done, total: ran.append(outcome.key))  # here, this time
    assert run.folder == folder and kept and len(ran) == 6 - kept and len(run.outcomes) == 3


def wait_until(what, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
