"""A run loses nothing that is finished: not to a crash, to Ctrl-C, to kill -9 or to a damaged file; and it is taken up again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import CaseError, HarnessError, UsageError
from harness.isolation import Limits
from harness.jsonfile import write_json
from harness.outcome import Kind
from harness.replay import Request, replay
from harness.run import read_run

ROOT = Path(__file__).parent.parent
CASES = ROOT / "cases"
FAULTS = Path(__file__).with_name("faults.py")
SMALL = ("degenerate-n-33", "degenerate-n-0", "degenerate-nan-valid")


def request(out, *names, solvers=("torch", "skip"), **more):
    return Request(tuple(CASES / name for name in names or SMALL), tuple(solvers), out=out, command="test", **more)


def test_outcomes_are_judged_against_an_oracle_nobody_asked_for(tmp_path):
    run = replay(request(tmp_path))
    assert [o.key for o in run.outcomes] == [(name, solver, "none") for name in SMALL for solver in ("torch", "skip")]
    assert all(o.expected is True for o in run.outcomes)
    torch_33 = run.outcomes[0]
    assert torch_33.parity["within"] and torch_33.parity["status_oracle"] == "CONVERGED"
    assert torch_33.parity["oracle"]["d_sigma"] < 0.05
    assert torch_33.trace and torch_33.stage == "written"
    assert not any(o.solver == "reference" for o in run.outcomes)
    assert len(list((run.folder / "yardsticks").iterdir())) == len(SMALL)


def test_a_limit_meant_for_the_solvers_does_not_end_the_oracle_that_judges_them(tmp_path):
    run = replay(request(tmp_path, "degenerate-n-33", solvers=("skip",), limits=Limits(timeout_s=20)))
    asked, yardstick = (
        json.loads(next(run.folder.glob(f"jobs/{where}*33*/job.json")).read_text()) for where in ("", "yardsticks/")
    )
    assert (asked["limit_s"], yardstick["limit_s"]) == (20, 300)


def test_reference_is_its_own_yardstick(tmp_path):
    run = replay(request(tmp_path, "degenerate-n-33", solvers=("reference",)))
    assert run.outcomes[0].parity["oracle"]["d_sigma"] < 1e-9
    assert run.outcomes[0].parity["optimum"]["d_sigma"] < 0.5  # the rule stops a little before the optimum
    assert not list((run.folder / "yardsticks").iterdir())


def test_faults_are_failures_and_the_others_are_finished(tmp_path):
    faults = [f"{FAULTS}:{name}" for name in ("segfault", "wrong_pose", "exception")]
    run = replay(request(tmp_path, "degenerate-n-33", solvers=(*faults, "torch")))
    kinds = [(o.kind, o.expected) for o in run.outcomes]
    assert kinds == [(Kind.CRASHED, False), (Kind.OK, False), (Kind.RAISED, False), (Kind.OK, True)]
    assert "SIGSEGV" in run.outcomes[0].verdict
    assert "rotation_deg" in run.outcomes[1].verdict


def test_a_finished_run_is_not_taken_up_but_an_unfinished_one_is(tmp_path):
    first = replay(request(tmp_path))
    assert replay(request(tmp_path)).id != first.id
    unfinish(first.folder)
    victim = first.folder / "outcomes" / "degenerate-n-0__torch__none.json"
    kept = first.folder / "outcomes" / "degenerate-n-33__torch__none.json"
    victim.write_text('{"case": "degenerate-n-0", "so')  # cut short by a full disk, say
    kept_seconds = json.loads(kept.read_text())["seconds"]
    ran = []
    again = replay(request(tmp_path), lambda outcome, done, total: ran.append(outcome.key))
    assert again.id == first.id
    assert ran == [("degenerate-n-0", "torch", "none")]
    assert json.loads(kept.read_text())["seconds"] == kept_seconds
    assert again.finished and len(again.outcomes) == 6
    assert (tmp_path / "latest").resolve() == first.folder.resolve()


def test_another_plan_or_another_source_is_another_run(tmp_path):
    solver = tmp_path / "mine.py"
    shutil.copy(FAULTS, solver)
    asked = request(tmp_path / "runs", "degenerate-n-33", solvers=(f"{solver}:exception",))
    first = replay(asked)
    unfinish(first.folder)
    solver.write_text(solver.read_text() + "\n# changed\n")
    second = replay(asked)
    assert second.id != first.id
    unfinish(second.folder)
    longer = request(tmp_path / "runs", "degenerate-n-33", solvers=(f"{solver}:exception",), limits=Limits(timeout_s=61))
    assert replay(longer).id not in (first.id, second.id)
    assert replay(asked).id == second.id


def test_fresh_starts_anew(tmp_path):
    first = replay(request(tmp_path, "degenerate-n-0"))
    unfinish(first.folder)
    assert replay(request(tmp_path, "degenerate-n-0", resume=False)).id != first.id


def unfinish(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", document | {"finished": None})


def start(out: Path, *solvers: str) -> subprocess.Popen:
    argv = [sys.executable, "-m", "harness", "replay", *[str(CASES / name) for name in SMALL], "--out", str(out), "--jobs", "1"]
    for solver in solvers:
        argv += ["--solver", solver]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_outcomes(out: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(out.glob("*/outcomes/*.json"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_end_from_outside_loses_nothing_and_the_same_command_goes_on(tmp_path, how):
    solvers = ("skip", f"{FAULTS}:hang")
    process = start(tmp_path, *solvers)
    wait_for_outcomes(tmp_path, 1)
    process.send_signal(how)
    _out, err = process.communicate(timeout=30)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "the same command takes it up again" in err
    folder = next(file.parent for file in tmp_path.glob("*/run.json"))
    before = read_run(folder)
    assert before.finished is None and before.outcomes
    assert all(o.kind is not Kind.INCONCLUSIVE for o in before.outcomes)
    process = start(tmp_path, *solvers)  # takes the same folder up again
    time.sleep(3)
    process.kill()
    process.communicate()
    assert [file.parent for file in tmp_path.glob("*/run.json")] == [folder]


def test_a_run_that_another_process_works_on_is_left_alone(tmp_path):
    first = replay(request(tmp_path, "degenerate-n-0"))
    unfinish(first.folder)
    import psutil

    write_json(first.folder / "alive.json", {"pid": os.getpid(), "created": psutil.Process().create_time()})
    assert replay(request(tmp_path, "degenerate-n-0")).id != first.id


def test_wrong_words_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match="did you mean torch"):
        replay(request(tmp_path, solvers=("torhc",)))
    with pytest.raises(UsageError, match="no file"):
        replay(request(tmp_path, solvers=("nowhere.py:make",)))
    with pytest.raises(CaseError, match="no such folder"):
        replay(request(tmp_path, "no-such-case"))
    with pytest.raises(UsageError, match="two cases are called"):
        replay(request(tmp_path, "degenerate-n-0", "degenerate-n-0"))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot write a run there"):
        replay(request(tmp_path / "file", "degenerate-n-0"))


def test_latest_points_at_the_newest_run(tmp_path):
    replay(request(tmp_path, "degenerate-n-0"))
    second = replay(request(tmp_path, "degenerate-n-0"))
    assert (tmp_path / "latest").resolve() == second.folder.resolve()


def test_a_case_that_changes_during_the_run_is_not_replayed(tmp_path):
    """The child refuses values other than those the plan was made for."""
    from harness.casefile import read_document
    from harness.isolation import Task, run_isolated
    from harness.process import open_launcher
    from harness.registry import resolve

    document = read_document(CASES / "degenerate-n-33").model_copy(update={"tensors_sha256": "0" * 64})
    launcher = open_launcher(tmp_path / "log", threads=1)
    try:
        task = Task(CASES / "degenerate-n-33", document, resolve("skip"))
        outcome = run_isolated(task, Limits(), tmp_path / "job", launcher)
    finally:
        launcher.close()
    assert "changed while the run" in outcome.exception.message


def test_the_repeat_command_does_it_again(tmp_path):
    run = replay(request(tmp_path, "degenerate-n-33", solvers=(f"{FAULTS}:segfault",), limits=Limits(timeout_s=20, device="cpu")))
    words = run.outcomes[0].repeat.split()
    assert words[:4] == ["python", "-m", "harness", "replay"]
    done = subprocess.run([sys.executable, *words[1:], "--out", str(tmp_path / "again"), "--json"], cwd=ROOT, capture_output=True)
    again = json.loads(done.stdout)["outcomes"][0]
    assert (done.returncode, again["outcome"], again["signal"]) == (1, "CRASHED", "SIGSEGV")
    assert again["repeat"] == run.outcomes[0].repeat


def test_the_oracle_runs_whatever_device_the_others_are_asked_to_use(tmp_path):
    """It has no GPU path; asking for one must not take the yardstick away."""
    run = replay(request(tmp_path, "degenerate-n-33", solvers=("torch", "reference"), limits=Limits(device="cuda")))
    on_gpu, oracle = run.outcomes
    assert (oracle.kind, oracle.expected, oracle.device) == (Kind.OK, True, "cpu")
    if on_gpu.kind is Kind.UNAVAILABLE:
        assert "needs an NVIDIA GPU" in on_gpu.reason
    else:
        assert on_gpu.expected is True


def test_a_full_disk_stops_the_run_with_its_reason_and_keeps_what_is_finished(tmp_path, monkeypatch):
    from harness import replay as module

    written = []

    def full_after_two(folder, name, outcome, kind):
        if len(written) == 2:
            raise OSError(28, "No space left on device", str(folder / name))
        written.append(name)
        write_outcome(folder, name, outcome, kind)

    write_outcome = module.write_outcome
    monkeypatch.setattr(module, "write_outcome", full_after_two)
    with pytest.raises(HarnessError, match=r"No space left on device; . of 9 done and kept"):
        replay(request(tmp_path, jobs=1))
    monkeypatch.setattr(module, "write_outcome", write_outcome)
    ran = []
    run = replay(request(tmp_path), lambda outcome, done, total: ran.append(outcome.key))
    assert len(ran) == 7 and len(run.outcomes) == 6
    assert len(list(tmp_path.glob("2*/run.json"))) == 1
