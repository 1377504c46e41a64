"""``harness diagnose`` on real runs: planted faults through the harness, what compute-sanitizer really wrote, hostile output."""

from __future__ import annotations

import dataclasses
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import report_run as made
from diagnosis_evidence import seed
from run_cli import harness

from harness.case import Recorded
from harness.casefile import read_case, write_case
from harness.diagnosis import Evidence, diagnose
from harness.diagnosis.ofrun import diagnosed_run, documents_of
from harness.outcome import Kind, Outcome
from harness.replay import Request, replay
from harness.report.tables import frame
from harness.run import Run, read_run

ROOT = Path(__file__).parent.parent
CASE = ROOT / "cases" / "degenerate-n-33"
FAULTS = Path(__file__).with_name("faults.py")
posix = pytest.mark.skipif(os.name == "nt", reason="the planted faults are POSIX's")

PLANTED = {
    "segfault": ("access-violation", "unknown", "Host, cause unknown: "),
    "abort": ("aborted", "likely", "Host: "),
    "fast_fail": ("aborted", "proven", "Host: "),
    "illegal_instruction": ("illegal-instruction", "possible", "Host: "),
    "killed": ("killed-from-outside", "possible", "Environment: "),
    "hang_native": ("hangs", "unknown", "Host, cause unknown: "),
    "exception": ("raised", "unknown", "Host, cause unknown: "),
    "cuda_error": ("illegal-address", "proven", "Device: "),
    "broken_factory": ("abi-mismatch", "likely", "Environment: "),
    "garbage_result": ("breaks-the-contract", "proven", "Host: "),
    "exit_3_without_result": ("ended-without-a-result", "unknown", "Unknown: "),
    "nan_pose": ("no-pose", "unknown", "Unknown: "),
    "wrong_pose": ("wrong-pose", "unknown", "Unknown: "),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every planted fault through the real harness, once."""
    solvers = tuple(f"{FAULTS}:{name}" for name in PLANTED)
    limits = dataclasses.replace(Request.__dataclass_fields__["limits"].default_factory(), timeout_s=4.0)
    return replay(Request((CASE,), (*solvers, "native"), limits=limits, jobs=2, out=tmp_path_factory.mktemp("runs")))


@posix
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_diagnosed_as_what_it_is(run: Run, fault: str) -> None:
    [outcome] = [it for it in run.outcomes if it.solver.endswith(f":{fault}")]
    cause, confidence, start = PLANTED[fault]
    assert outcome.diagnosis is not None, outcome
    assert (outcome.diagnosis.cause, outcome.diagnosis.confidence) == (cause, confidence), outcome.diagnosis
    assert outcome.diagnosis.sentence.startswith(start)
    assert outcome.diagnosis.facts and outcome.signature


@posix
def test_the_tables_have_the_cause_of_every_failure(run: Run) -> None:
    rows = frame(run).to_dict("records")
    said = [(row["signature"], row["cause"], row["confidence"], row["fix"]) for row in rows]
    failed = [outcome for outcome in run.outcomes if outcome.diagnosis is not None]
    assert len(failed) >= len(PLANTED) - 1 and len({outcome.diagnosis.cause for outcome in failed if outcome.diagnosis}) > 3
    for outcome, words in zip(run.outcomes, said, strict=True):
        known = outcome.diagnosis
        assert words == (
            (outcome.signature, known.cause, known.confidence, known.fix)
            if known
            else (outcome.signature or None, None, None, None)
        )


@posix
def test_each_planted_fault_is_a_bug_of_its_own_and_a_sound_solver_is_none(run: Run) -> None:
    found = diagnosed_run(run, documents_of(run)[0]).bugs
    assert len(found) == len(PLANTED)
    assert not any("native" in bug.solvers for bug in found)


@posix
def test_the_command_prints_one_verdict_per_bug(run: Run) -> None:
    done = harness("diagnose", str(run.folder), "--json")
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["run"] == run.id and document["unreadable"] == []
    assert {bug["cause"] for bug in document["bugs"]} == {cause for cause, _, _ in PLANTED.values()}
    assert set(document["bugs"][0]) == {
        "signature", "failure", "cases", "solvers", "outcomes", "cause", "confidence", "sentence", "facts", "refute", "test", "fix",
    }  # fmt: skip
    page = harness("report", str(run.folder))
    assert page.returncode == 0, page.stderr
    html = (run.folder / "index.html").read_text(encoding="utf-8")
    assert '<h2 id="bugs">Distinct bugs</h2>' in html and "Device: a kernel read or wrote memory that is not allocated." in html


def recorded(folder: Path, what: Recorded) -> Path:
    case = read_case(CASE)
    case = dataclasses.replace(case, document=case.document.model_copy(update={"recorded": what, "generator": None}))
    write_case(case, folder)
    return folder


def test_a_recorded_case_is_diagnosed_by_what_the_tracker_hid(tmp_path: Path) -> None:
    said = (
        "Traceback (most recent call last):\nRuntimeError: CUDA error: no kernel image is available for execution on the device\n"
    )
    done = harness("diagnose", str(recorded(tmp_path / "case", Recorded(event="raised", exception=said))), "--json")
    assert done.returncode == 1, done.stderr
    [bug] = json.loads(done.stdout)["bugs"]
    assert (bug["cause"], bug["confidence"], bug["solvers"]) == ("no-kernel-image", "proven", ["recorded"])


def test_wrong_use_is_one_line_and_2(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("{")
    for words, said in (
        ((str(tmp_path / "none"),), "none"),
        ((str(CASE), "--audit", str(tmp_path / "audit.json")), "audit.json: json"),
        ((str(CASE), "--probe", str(tmp_path / "no.json")), "no.json"),
    ):
        done = harness("diagnose", *words)
        assert done.returncode == 2, done.stdout
        assert said in done.stderr.replace("\n", "") and "Traceback" not in done.stderr


def test_what_could_not_be_tried_is_said_and_is_no_good_news(tmp_path: Path) -> None:
    gone = made.outcome("c", "lietorch", Kind.UNAVAILABLE, reason="needs an NVIDIA GPU, and torch sees none here")
    also = made.outcome("d", "lietorch", Kind.UNAVAILABLE, reason="needs an NVIDIA GPU, and torch sees none here")
    fine = made.outcome("c", "torch", Kind.OK, expected=True)
    nothing = harness("diagnose", str(made.write_run(tmp_path / "nothing", [gone, also])))
    assert nothing.returncode == 0, nothing.stderr
    assert "nothing is wrong" not in nothing.stdout and "nothing was tried, so nothing is known" in nothing.stdout
    assert "2 of 2 outcomes could not be tried:\n   lietorch (2): needs an NVIDIA GPU" in nothing.stdout
    some = harness("diagnose", str(made.write_run(tmp_path / "some", [gone, fine])))
    assert "nothing is wrong in what was tried\n1 of 2 outcomes could not be tried:" in some.stdout
    assert harness("diagnose", str(made.write_run(tmp_path / "all", [fine]))).stdout == "nothing is wrong here\n"
    document = json.loads(harness("diagnose", str(tmp_path / "nothing"), "--json").stdout)
    assert document["not_tried"] == [{"solver": "lietorch", "reason": gone.reason, "outcomes": 2}]


HOSTILE = "\x1b[2J\x1b]0;owned\x07 [red]x[/red] <script>alert(1)</script> \u202e {{7*7}}"


def test_what_a_program_printed_can_move_neither_terminal_nor_page(tmp_path: Path) -> None:
    stack = f'Current thread 0x01 (most recent call first):\n  File "/x/lietorch/groups.py", line 1 in {HOSTILE}\n'
    wild = dataclasses.replace(
        made.outcome("c", "lietorch", Kind.RAISED, expected=False, stage="solving", exception=made.ExceptionInfo(HOSTILE, HOSTILE)),
        stderr=HOSTILE, notes=(HOSTILE,),
    )  # fmt: skip
    crash = seed(case=HOSTILE, solver=HOSTILE, faulthandler=stack, stderr=HOSTILE)
    folder = made.write_run(tmp_path / "run", [wild, crash], ascii_json=True)
    done = harness("diagnose", str(folder))
    assert done.returncode == 1, done.stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout + done.stderr)
    assert "[red]x[/red]" in done.stdout
    assert harness("report", str(folder)).returncode == 0
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in html and not {"\x1b", "\u202e"} & set(html)


def test_a_run_from_before_there_were_diagnoses_is_read(tmp_path: Path) -> None:
    old = made.outcome(
        "c", "torch", Kind.CRASHED, stage="solving", expected=False, exit=made.SEGFAULT, faulthandler=made.PYTHON_CRASH
    )
    folder = made.write_run(tmp_path / "run", [dataclasses.replace(old, device="cuda:0")])
    for file in (folder / "outcomes").glob("*.json"):
        document = json.loads(file.read_text())
        for name in ("input", "diagnosis", "signature"):
            del document[name]
        file.write_text(json.dumps(document))
    found = read_run(folder)
    assert found.outcomes[0].diagnosis is None
    [bug] = diagnosed_run(found, documents_of(found)[0]).bugs
    assert bug.diagnosis.cause == "host-symbol-collision"


RECORDED = {
    "memcheck-misaligned_read": "misaligned", "memcheck-misaligned_write": "misaligned", "memcheck-read_past_end": "out-of-bounds",
    "memcheck-shared_past_end": "out-of-bounds", "memcheck-stack_overflow": "device-stack-overflow",
    "memcheck-leak-checked": "leak",
    "memcheck-api_error": "unchecked-api-error", "memcheck-heap_double_free": "double-free", "memcheck-trap": "device-exception",
    "racecheck-race": "race", "synccheck-divergent_barrier": "divergent-barrier", "initcheck-uninitialised": "uninitialized",
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_what_compute_sanitizer_really_wrote_is_diagnosed(tmp_path: Path, name: str) -> None:
    """Recorded on an H200 by tests/recordings/record.py, parsed by the harness's own parser."""
    from harness.sanitizer.records import read

    archive = next(Path(__file__).with_name("recordings").glob("2025.3.1*.tar.xz"))
    with tarfile.open(archive) as packed:
        xml = packed.extractfile(f"{name}/sanitizer.xml")
        assert xml is not None
        (tmp_path / "sanitizer.xml").write_bytes(xml.read())
    tool = name.partition("-")[0]
    findings: tuple[dict[str, Any], ...] = tuple(read(tmp_path / "sanitizer.xml", tool).findings)
    own = Outcome("c", "mine", tool, Kind.FINDINGS, "written", 1.0, "", findings=findings, tool_state="findings", device="cuda:0")
    diagnosis = diagnose(Evidence(own))
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.confidence) == (RECORDED[name], "proven"), (diagnosis, findings)
    assert diagnosis.sentence.startswith("Device: ")


@pytest.mark.parametrize(
    ("files", "cause"),
    [
        (("lietorch/__init__.py", "lietorch/groups.py", "lietorch/group_ops.py"), "extension-not-built"),
        (("lietorch/__init__.py", "lietorch/bspline.py", "lietorch/generic.py"), "wrong-lietorch"),
        ((), "missing-package"),
    ],
    ids=["not-built", "namesake", "missing"],
)  # fmt: skip
def test_what_the_adapter_says_of_lietorch_is_diagnosed(tmp_path: Path, files: tuple[str, ...], cause: str) -> None:
    from harness.adapters.which_lietorch import which_lietorch

    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    reason = which_lietorch([str(tmp_path)]).reason
    diagnosis = diagnose(Evidence(Outcome("c", "lietorch", "none", Kind.UNAVAILABLE, "imported", 0.1, "", reason=reason)))
    assert diagnosis is not None
    assert diagnosis.cause == cause, reason
