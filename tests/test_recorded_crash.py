"""From the user's own tracker to a named cause: a real death is recorded, replayed and diagnosed, however little was left of it."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tarfile
from pathlib import Path

import pytest
from diagnosis_evidence import LIETORCH_STACK_WINDOWS
from dying_tracker import SEGFAULT, recorded, told
from run_cli import harness

from harness.casefile import read_case, read_document
from harness.diagnosis.ofrun import recordings_of
from harness.exitcode import decode
from harness.outcome import Kind
from harness.record import store
from harness.record.ending import completed, read_recording
from harness.record.settings import JOURNALS
from harness.recorded import RecordedExit
from harness.run import read_run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the deaths are POSIX's")
SEED = Path(__file__).parent / "recordings" / "seed-lietorch-collided.tar.xz"


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A tracker's folder with the recording of its death in it, and what ``harness record`` said."""
    folder = tmp_path_factory.mktemp("slam")
    return folder, recorded(folder, SEGFAULT)


def test_the_case_itself_says_how_the_process_ended_where_and_whose_code_it_was(crash: tuple[Path, dict]) -> None:
    folder, document = crash
    died = document["calls"][-1]
    case = read_document(died["case"])
    assert case.recorded.exit is not None and (case.recorded.exit.code, case.recorded.exit.name) == (-11, "SIGSEGV")
    assert "in opt_pose_ray_dist_sim3" in case.recorded.stack and case.recorded.stack.startswith("Fatal Python error")
    assert case.recorded.tracker == str(folder / "mast3r_slam" / "tracker.py")
    assert died["exit"]["name"] == "SIGSEGV" and died["tracker"] == case.recorded.tracker
    assert [read_document(call["case"]).recorded.exit for call in document["calls"][:2]] == [None, None]
    run = json.loads(next((folder / "rec" / JOURNALS).glob("*.json")).read_text())
    assert run["exit"]["name"] == "SIGSEGV" and run["ended"] and run["command"] == [sys.executable, "main.py"]


def test_the_command_that_record_prints_reproduces_the_death_and_the_diagnosis_sees_one_bug(
    crash: tuple[Path, dict], tmp_path: Path
) -> None:
    folder, document = crash
    words = shlex.split(document["replay"])
    assert words[:4] == ["python", "-m", "harness", "replay"]
    assert words[4:] == [document["calls"][-1]["case"], "--solver", f"mast3r-slam:{folder}", "--solver", "torch"]
    done = harness("replay", *words[4:], "--out", str(tmp_path), "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert [(o["solver"], o["outcome"]) for o in said["outcomes"]] == [(f"mast3r-slam:{folder}", "CRASHED"), ("torch", "OK")]
    assert said["not_reproduced"] == []
    done = harness("diagnose", str(tmp_path / "latest"), "--json")
    (bug,) = json.loads(done.stdout)["bugs"]
    assert bug["cause"] == "access-violation" and sorted(bug["solvers"]) == sorted([f"mast3r-slam:{folder}", "recorded"])
    assert bug["signature"] == "crash | access-violation | __init__.string_at < tracker.solve < tracker.opt_pose_ray_dist_sim3"


def test_where_no_solver_reproduces_it_replay_report_and_diagnosis_say_so(crash: tuple[Path, dict], tmp_path: Path) -> None:
    folder, document = crash
    case = document["calls"][-1]
    done = harness("replay", str(folder / "rec"), "--solver", "native", "--out", str(tmp_path))
    assert done.returncode == 0 and "3 of 3 as expected" in done.stdout  # the replays are
    sentence = (
        f"The recorded call of {case['id']} never came back: the process died of SIGSEGV in __init__.string_at, and no solver here "
        f"reproduces it (its own tracker was not among them: harness replay {case['case']} --solver mast3r-slam:{folder})."
    )
    assert f"recording: {sentence}" in done.stdout and "their causes: python -m harness diagnose" in done.stdout
    run = read_run(tmp_path / "latest")
    assert [(it.case, it.kind) for it in recordings_of(run)] == [(case["id"], Kind.CRASHED)]
    html = (run.folder / "index.html").read_text()
    assert (
        sentence in html
        and "the process died because it read or wrote memory that it must not touch, in __init__.string_at" in html
    )
    assert '<header class="unsure">' in html  # as expected, and yet nobody may call it good
    done = harness("export", str(run.folder), "--markdown", "-")
    assert "no solver here reproduces it" in done.stdout
    done = harness("diagnose", str(run.folder))
    assert done.returncode == 1 and "nothing is wrong here" not in done.stdout
    assert "shown by    recorded on" in done.stdout and f"fact        {sentence}" in done.stdout


def altered(case: Path, folder: Path, device: str, **recorded: object) -> Path:
    """A copy of a recorded case of a program with lietorch, with its tensors on another device and another end."""
    document = read_document(case)
    tensors = {name: spec.model_copy(update={"device": device}) for name, spec in document.tensors.items()}
    source = document.provenance.model_copy(update={"versions": document.provenance.versions | {"lietorch": "0.3"}})
    update = {"tensors": tensors, "provenance": source, "recorded": document.recorded.model_copy(update=recorded)}
    document = document.model_copy(update=update)
    copy = folder / case.name
    copy.mkdir()
    (copy / "tensors.safetensors").write_bytes((case / "tensors.safetensors").read_bytes())
    store.update(copy, document, sync=False)
    return copy


@pytest.fixture(scope="module")
def measured_audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("seed")
    with tarfile.open(SEED) as archive:
        archive.extractall(into, filter="data")
    return into / "run" / "audit.json"


ACCESS_VIOLATION = RecordedExit(**vars(decode(0xC0000005, windows=True)))


def test_the_seeds_evidence_on_a_gpu_tracker_is_the_collision_and_with_the_audit_proven(
    crash: tuple[Path, dict], tmp_path: Path, measured_audit: Path
) -> None:
    died = Path(crash[1]["calls"][-1]["case"])
    seed = altered(died, tmp_path, "cuda:0", exit=ACCESS_VIOLATION, stack=LIETORCH_STACK_WINDOWS)
    bug = told(seed)
    assert (bug.diagnosis.cause, bug.diagnosis.confidence) == ("host-symbol-collision", "likely")
    assert bug.diagnosis.sentence.startswith("Host: the GPU path of inv runs the CPU function of the same name")
    assert bug.signature == "crash | access-violation | group_ops.forward < groups.apply_op < groups.inv"
    done = harness("diagnose", str(seed), "--audit", str(measured_audit), "--json")
    (bug,) = json.loads(done.stdout)["bugs"]
    assert (bug["cause"], bug["confidence"]) == ("host-symbol-collision", "proven") and "144 kernels" in bug["sentence"]
    # Replayed where there is no GPU: what was recorded there still leads to the cause.
    done = harness("replay", str(seed), "--solver", "native", "--out", str(tmp_path / "runs"))
    assert "it was recorded on a GPU, and none was used here" in done.stdout and "(host-symbol-collision, likely)" in done.stdout
    done = harness("diagnose", str(tmp_path / "runs" / "latest"), "--audit", str(measured_audit), "--json")
    (bug,) = json.loads(done.stdout)["bugs"]
    assert (bug["cause"], bug["confidence"], bug["solvers"]) == ("host-symbol-collision", "proven", ["recorded"])


def test_of_a_recorder_that_was_killed_the_stack_beside_the_case_is_enough(
    crash: tuple[Path, dict], tmp_path: Path, measured_audit: Path
) -> None:
    died = Path(crash[1]["calls"][-1]["case"])
    bare = altered(died, tmp_path, "cuda:0", exit=None, stack="")
    assert told(bare).diagnosis.cause == "never-returned"
    (tmp_path / JOURNALS).mkdir()
    (tmp_path / JOURNALS / f"{died.name.rpartition('-')[0]}.stacks").write_text(LIETORCH_STACK_WINDOWS)
    case = read_recording(bare).document.recorded
    assert case.exit is not None and case.exit.name == "STATUS_ACCESS_VIOLATION" and "told by the stack" in case.exit.meaning
    assert (told(bare).diagnosis.cause, told(bare).diagnosis.confidence) == ("host-symbol-collision", "likely")
    assert told(bare, measured_audit).diagnosis.confidence == "proven"


def test_a_gpu_tracker_that_died_without_a_stack_is_the_collision_only_with_a_probe_that_dies(
    crash: tuple[Path, dict], tmp_path: Path, measured_audit: Path
) -> None:
    """The program used faulthandler itself, so its stack is on its own stderr; no operation was seen to die: nothing is proven."""
    died = Path(crash[1]["calls"][-1]["case"])
    bare = altered(died, tmp_path, "cuda:0", stack="")
    assert told(bare).diagnosis.cause == told(bare, measured_audit).diagnosis.cause == "access-violation"
    probe = measured_audit.with_name("probe.json")
    done = harness("diagnose", str(bare), "--audit", str(measured_audit), "--probe", str(probe), "--json")
    (bug,) = json.loads(done.stdout)["bugs"]
    assert (bug["cause"], bug["confidence"]) == ("host-symbol-collision", "likely")


def test_what_lies_beside_a_strangers_case_is_never_waited_for_nor_believed_when_damaged(
    crash: tuple[Path, dict], tmp_path: Path
) -> None:
    died = Path(crash[1]["calls"][-1]["case"])
    bare = altered(died, tmp_path, "cpu", exit=None, stack="")
    document = read_case(bare).document
    beside = tmp_path / JOURNALS
    beside.mkdir()
    run, pid = died.name.split("-")[0] + "-" + died.name.split("-")[1], died.name.split("-")[2]
    os.mkfifo(beside / f"{run}-{pid}.stacks")
    for text in ("{", "[]", '{"processes": []}', f'{{"processes": {{"{pid}": 3}}}}',
                 f'{{"processes": {{"{pid}": {{"exit": {{"code": "x"}}}}}}}}'):  # fmt: skip
        (beside / f"{run}.json").write_text(text)
        assert completed(bare, document) == document
    (beside / f"{run}-{pid}.stacks").unlink()
    (beside / f"{run}-{pid}.stacks").write_text("Fatal Python error: Segmentation fault\n" + "x" * 100_000)
    assert len(completed(bare, document).recorded.stack) == 20_000
    (beside / f"{run}.json").write_text(f'{{"processes": {{"{pid}": {{"lives": true, "exit": null}}}}}}')
    assert completed(bare, document).recorded.exit is None  # it goes on still, whatever was caught in it
