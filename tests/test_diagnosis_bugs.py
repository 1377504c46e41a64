"""A run's failures come down to its distinct bugs; a recording is read as an outcome; documents of strangers are checked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import case_factory
import pytest
from diagnosis_evidence import (
    INV_SYMBOL,
    audit,
    cuda_error,
    finding,
    found,
    off,
    oracle,
    outcome,
    probe,
    raised,
    rung,
    seed,
    unavailable,
)
from problem_factory import random_case

from harness.case import Case, Recorded
from harness.diagnosis.blocking import read_blocking
from harness.diagnosis.bugs import diagnosed, distinct_bugs
from harness.diagnosis.documents import Documents, FatBinary, read_audit, read_doctor, read_documents, read_probe, read_sweep
from harness.diagnosis.inputs import input_facts
from harness.diagnosis.recorded import raised_line, recorded_outcome
from harness.errors import ResultError
from harness.outcome import Kind, Outcome
from harness.run import read_object

NONE = Documents()


def bugs(*outcomes: Outcome, documents: Documents = NONE) -> list[Any]:
    return list(distinct_bugs(outcomes, [oracle()], documents))


def test_one_crash_in_many_cases_on_two_systems_is_one_bug() -> None:
    crashes = [seed(139, case=f"c{i}") for i in range(5)] + [seed(0xC0000005, windows=True, case="w", solver="mast3r-slam:C:/x")]
    [bug] = bugs(*crashes, outcome(Kind.OK), documents=Documents(audits=(audit(INV_SYMBOL),)))
    assert (bug.diagnosis.cause, bug.diagnosis.confidence, bug.failure) == ("host-symbol-collision", "proven", True)
    assert (len(bug.outcomes), len(bug.cases), bug.solvers) == (6, 6, ("lietorch", "mast3r-slam:C:/x"))


def test_an_error_and_the_finding_that_explains_it_are_one_bug() -> None:
    [bug] = bugs(cuda_error(716), found(finding("misaligned")), found(finding("misaligned"), memory="exact"))
    assert (bug.diagnosis.cause, bug.diagnosis.confidence) == ("misaligned", "proven")
    assert [how for _, _, how in bug.outcomes] == ["memcheck", "memcheck+exact", "none"]


def test_with_two_findings_of_that_cause_nobody_can_say_which() -> None:
    elsewhere = finding("misaligned", kernel="pack(float*)")
    assert len(bugs(cuda_error(716), found(finding("misaligned"), elsewhere))) == 3


def test_two_findings_of_one_run_are_two_bugs() -> None:
    two = bugs(found(finding("misaligned"), finding("race")))
    assert {bug.diagnosis.cause for bug in two} == {"misaligned", "race"}
    assert all(bug.outcomes == (("seed", "mine", "memcheck"),) for bug in two)


def test_two_solvers_that_are_off_are_two_bugs_and_failures_come_first() -> None:
    gone = unavailable("cannot import name 'SO3' from 'lietorch' (/x)")
    found_ = bugs(gone, unavailable("no GPU"), off(), off(solver="other"), off(solver="other", case="more"))
    assert [(bug.failure, bug.diagnosis.cause, bug.solvers) for bug in found_] == [
        (True, "wrong-pose", ("other",)), (True, "wrong-pose", ("mine",)), (False, "wrong-lietorch", ("mine",)),
    ]  # fmt: skip


def test_diagnosed_outcomes_know_their_siblings() -> None:
    own, tool = diagnosed([cuda_error(716), found(finding("misaligned"))], [], NONE)
    assert own.diagnosis is not None and "residual.cuh:88" in own.diagnosis.sentence
    assert own.signature.startswith("cuda | 716") and tool.signature.startswith("finding | misaligned")


# Recordings.


def case_with(recorded: Recorded, **tensors: Any) -> Case:
    case = case_factory.make_case()
    return dataclasses.replace(case, document=case.document.model_copy(update={"recorded": recorded}))


FORMATTED = """Traceback (most recent call last):
  File "/me/tracker.py", line 70, in opt_pose_ray_dist_sim3
    h = torch.linalg.cholesky(H)
torch.AcceleratorError: CUDA error: the provided PTX was compiled with an unsupported toolchain.
CUDA kernel errors might be asynchronously reported at some other API call.
"""


def test_the_exception_that_the_tracker_hid_is_diagnosed() -> None:
    own = recorded_outcome(case_with(Recorded(event="raised", exception=FORMATTED)))
    assert own.kind is Kind.CUDA_ERROR and own.cuda is not None and own.cuda.code == 222
    [bug] = bugs(own)
    assert (bug.diagnosis.cause, bug.failure) == ("toolkit-newer-than-driver", True)
    assert raised_line(FORMATTED).startswith("torch.AcceleratorError: CUDA error")


def test_a_call_that_never_came_back_is_unknown_until_probe_and_audit_speak() -> None:
    own = recorded_outcome(case_with(Recorded(event="never_returned")))
    [bug] = bugs(own)
    assert (bug.diagnosis.cause, bug.diagnosis.confidence, bug.failure) == ("never-returned", "unknown", True)
    on_gpu = dataclasses.replace(own, input=own.input | {"devices": ["cuda:0"], "versions": {"lietorch": "0.2"}})
    ladder = probe(rung("inv", "crash"), rung("inv", "ok", device="cpu"))
    [bug] = bugs(on_gpu, documents=Documents(audits=(audit(INV_SYMBOL),), probe=ladder))
    assert (bug.diagnosis.cause, bug.diagnosis.confidence) == ("host-symbol-collision", "likely")
    assert (
        bugs(own, documents=Documents(audits=(audit(INV_SYMBOL),), probe=ladder))[0].diagnosis.cause == "never-returned"
    )  # on a CPU


def test_a_call_that_came_back_is_nothing_and_one_without_a_finite_pose_is() -> None:
    assert bugs(recorded_outcome(case_with(Recorded(event="returned")))) == []
    [bug] = bugs(recorded_outcome(case_with(Recorded(event="returned", exception="returned a pose that is not finite"))))
    assert bug.failure


def test_what_the_case_holds_is_counted() -> None:
    case = random_case("ray_dist", 1)
    values = {name: value.copy() for name, value in case.values.items()}
    for name in ("Xf", "Xk"):
        values[name][...] = 1
    values["valid_opt"][...] = True
    sound = input_facts(dataclasses.replace(case, values=values))
    assert sound["n_valid"] == sound["n_points"] == len(values["Xf"])
    assert (sound["masked_nonfinite"], sound["masked_at_origin"], sound["valid_nonfinite"], sound["all_zero"]) == (0, 0, 0, False)
    values["valid_opt"][:3] = False
    values["Xf"][0] = float("nan")
    values["Xk"][1] = 0
    values["Xf"][5] = float("inf")
    facts = input_facts(dataclasses.replace(case, values=values))
    assert (facts["masked_nonfinite"], facts["masked_at_origin"], facts["valid_nonfinite"]) == (1, 1, 1)
    assert json.loads(json.dumps(facts)) == facts


# Documents.

GOOD: dict[str, Any] = {
    "audit": {
        "files": [{"path": "a.o"}, "b.o"],
            "collisions": [{"symbol": "_Z3inv", "demangled": INV_SYMBOL, "host_file": "a", "cuda_file": "b"}],
        "architectures": [
            {"file": "b.o", "section": ".nv_fatbin", "offset": 0, "arch": "sm_90", "kernels": 3},
            {"file": "b.o", "section": ".nv_fatbin", "offset": 0, "arch": "compute_90", "kernels": None},
            {"file": "b.o", "section": ".nv_fatbin", "offset": 64, "arch": "sm_80", "kernels": 0},
            {"file": "b.o", "section": "__nv_relfatbin", "offset": 0, "relocatable": True, "arch": "sm_70", "kernels": 3},
            {"file": "c.o", "section": ".nv_fatbin", "offset": 0, "arch": "sm_75", "kernels": 1},
        ],
        "undefined_torch": [
            {"symbol": "_ZN3c10E", "exported_by": ""}, {"symbol": "_ZN2atE", "exported_by": "libtorch_cpu.so"},
            {"symbol": "_ZN5torchE", "exported_by": None},
        ],
        "verdicts": [{"check": "collisions", "state": "fail", "what": "one", "fix": ""}],
    },
    "probe": {"target": "lietorch", "rungs": [{"op": "inv", "device": "cuda:0", "batch": 1, "result": "crash",
        "exit": {"name": "SIGSEGV"}}]},
    "doctor": {"checks": [{"name": "lietorch", "state": "fail", "detail": "PyPI's", "fix": "x"}]},
    "sweep": {"case": "c", "solver": "s", "tool": "none", "rule": "", "layouts": [
        {"layout": "shift-4", "outcome": "CRASHED", "tensors": {"Xf": {"mod16": 4}}},
            {"layout": "x", "outcome": "OK", "faulted": None}]},
    "blocking": {"run": "r", "environment": {"variables": {"CUDA_LAUNCH_BLOCKING": "1"}},
                 "outcomes": [json.loads(json.dumps(outcome(Kind.OK).to_json()))]},
}  # fmt: skip
READ = {"audit": read_audit, "probe": read_probe, "doctor": read_doctor, "sweep": read_sweep, "blocking": read_blocking}


def test_documents_are_read(tmp_path: Path) -> None:
    read = {}
    for name, document in GOOD.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
        read[name] = READ[name](tmp_path / f"{name}.json")
    assert read["audit"].files == ("a.o", "b.o") and read["audit"].fat_binaries == (
        FatBinary("b.o", ("sm_90", "compute_90")),
        FatBinary("c.o", ("sm_75",)),
    )
    assert (read["audit"].undefined_torch, read["audit"].resolved_torch) == (("_ZN3c10E",), ("_ZN2atE",))
    assert not read["audit"].clean_of_collisions
    assert (read["probe"].rungs[0].exit_name, read["probe"].rungs[0].batch) == ("SIGSEGV", "1")
    assert [it.faulted for it in read["sweep"].layouts] == [True, None]
    assert read["blocking"] == (outcome(Kind.OK),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("name", GOOD)
def test_a_document_that_windows_powershell_wrote_is_read(tmp_path: Path, name: str, encoding: str) -> None:
    plain, saved = tmp_path / "plain" / f"{name}.json", tmp_path / f"{name}.json"
    plain.parent.mkdir()
    plain.write_text(json.dumps(GOOD[name]))
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    saved.write_bytes((mark + json.dumps(GOOD[name]).replace("\n", "\r\n")).encode(encoding))
    assert READ[name](saved) == READ[name](plain)
    assert read_object(saved) == GOOD[name]


@pytest.mark.parametrize("data", [b"\xff\xfe{", b"\xff\xfe\x00\xd8", b"\xef\xbb\xbf\xff", b"\xfe\xff", b"\xff"])
def test_a_damaged_one_of_theirs_names_file_and_field(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "audit.json").write_bytes(data)
    for read in (read_audit, read_object):
        with pytest.raises(ResultError, match=r"audit\.json: json"):
            read(tmp_path / "audit.json")


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("audit", "{", "json"), ("audit", "[]", "json"), ("audit", "{}", "collisions"), ("probe", '{"rungs": 3}', "rungs"),
        ("probe", '{"rungs": [3]}', "rungs[0]"), ("probe", '{"rungs": [{"op": 3}]}', "rungs[0].op"),
            ("doctor", '{"checks": [{}]}', "checks[0].name"),
        ("audit", '{"collisions": [{"symbol": null}]}', "collisions[0].symbol"),
            ("sweep", '{"layouts": [{"layout": "x", "tensors": []}]}', "tensors"),
        ("doctor", '{"checks": NaN}', "json"), ("probe", "[" * 100_000, "json"), ("sweep", "\x00", "json"),
            ("doctor", '{"a": 1, "a": 2}', "json"),
    ],
)  # fmt: skip
def test_a_damaged_document_names_file_and_field(tmp_path: Path, name: str, text: str, field: str) -> None:
    file = tmp_path / f"{name}.json"
    file.write_text(text)
    with pytest.raises(ResultError, match=f"{name}.json") as caught:
        READ[name](file)
    assert field in caught.value.field


def test_one_damaged_file_beside_a_run_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("{")
    (tmp_path / "doctor.json").write_text(json.dumps(GOOD["doctor"]))
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "c__s__none.json").write_text(json.dumps(GOOD["sweep"]))
    documents, problems = read_documents(tmp_path, {})
    assert documents.audits == () and documents.doctor is not None and len(documents.sweeps) == 1
    assert len(problems) == 1 and "audit.json: json" in problems[0]


def test_a_missing_document_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"none\.json: file: "):
        read_audit(tmp_path / "none.json")


def test_raised_line_of_odd_texts() -> None:
    assert raised_line("") == "" and raised_line("no traceback at all") == "no traceback at all"
    assert raised_line("Traceback ...\nKeyError") == "KeyError"
    own = recorded_outcome(case_with(Recorded(event="raised", exception="KeyError")))
    assert own.exception is not None and own.exception.type == "KeyError" and raised("E", "").exception
