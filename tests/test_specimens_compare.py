"""What counts as found: the outcome with its payload, the right name for the fault, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.outcome import CudaError, Diagnosis, ExceptionInfo, Exit, Kind, Outcome
from harness.specimens import compare
from harness.specimens.look import Look
from harness.specimens.table import Clean, Sight, Specimen, read_table

TABLE = read_table()
SIGHTS = [(specimen, sight) for specimen in TABLE.specimen for sight in specimen.sight]
RIGHT, WRONG = {"within": True}, {"within": False}


def outcome(kind: Kind, **fields: Any) -> Outcome:
    payload: dict[Kind, dict[str, Any]] = {
        Kind.OK: {"status": "CONVERGED", "parity": RIGHT},
        Kind.SOLVER_STATUS: {"status": "NON_FINITE"},
        Kind.RAISED: {"exception": ExceptionInfo("ValueError", "no")},
        Kind.CRASHED: {"exit": Exit(-11, "SIGSEGV", "", True, "SIGSEGV")},
        Kind.CUDA_ERROR: {"cuda": CudaError(700, "cudaErrorIllegalAddress", True)},
        Kind.TIMEOUT: {"limit_s": 5.0},
        Kind.FINDINGS: {"findings": ({"kind": "leak"},)},
        Kind.INCONCLUSIVE: {"reason": "who knows"},
        Kind.UNAVAILABLE: {"reason": "no GPU"},
    }
    given = {"case": "c", "solver": "s", "tool": "none", "stage": "solving", "seconds": 1.0, "repeat": "again"}
    return Outcome(kind=kind, **(given | payload[kind] | fields))


def named(cause: str, confidence: str = "proven") -> Diagnosis:
    return Diagnosis(cause, confidence, "Host: it is so.", (), "no", "test", "fix")


def as_must_be(sight: Sight, kind: Kind) -> Outcome:
    """An outcome of one of the kinds that a sight allows, with just what it asks for."""
    fields: dict[str, Any] = {}
    if kind is Kind.CRASHED and sight.signal:
        fields["exit"] = Exit(-1, sight.signal[-1], "", True, sight.signal[-1])
    if kind is Kind.CUDA_ERROR and sight.cuda:
        fields["cuda"] = CudaError(sight.cuda[-1], "x", True)
    if kind is Kind.SOLVER_STATUS and sight.status:
        fields["status"] = sight.status[-1]
    if kind is Kind.RAISED:
        fields["exception"] = ExceptionInfo("E", " ".join(sight.says))
    if kind is Kind.OK:
        fields["parity"] = WRONG if sight.pose == "wrong" else RIGHT
    if kind is Kind.FINDINGS:
        one = {"kind": (*sight.kind, "leak")[0], "space": sight.space, "direction": sight.direction, "size": sight.size}
        fields["findings"] = ({"kind": "leak", "space": "heap", "direction": None, "size": 1}, one)
    fields["diagnosis"] = named(sight.cause) if sight.cause else None
    return outcome(kind, **fields)


@pytest.mark.parametrize(("specimen", "sight"), SIGHTS, ids=lambda it: getattr(it, "name", getattr(it, "how", "")))
def test_each_sight_takes_its_own_outcome_and_no_other(specimen: Specimen, sight: Sight) -> None:
    for kind in Kind:
        assert compare.sees(sight, as_must_be(sight, kind)) is (kind in sight.outcome), kind
    assert all(kind.value in compare.must(sight) for kind in sight.outcome)
    assert Look(specimen, sight.how, sight).is_found(outcome(Kind.UNAVAILABLE)) is None


@pytest.mark.parametrize("name", ["kind", "space", "direction", "size"])
def test_a_finding_with_another_name_is_not_the_one(name: str) -> None:
    sight = Sight(how="memcheck", outcome=("FINDINGS",), kind=("misaligned",), space="global", direction="read", size=16)
    good = {"kind": "misaligned", "space": "global", "direction": "read", "size": 16}
    assert compare.sees(sight, outcome(Kind.FINDINGS, findings=(good,)))
    other = 8 if name == "size" else "other"
    assert not compare.sees(sight, outcome(Kind.FINDINGS, findings=(good | {name: other},)))
    assert not compare.sees(sight, outcome(Kind.FINDINGS, findings=(good | {name: None},)))


@pytest.mark.parametrize(
    ("sight", "bad"),
    [
        ({"outcome": "CRASHED", "signal": "SIGBUS"}, outcome(Kind.CRASHED)),
        ({"outcome": "CRASHED", "kind": "misaligned"}, outcome(Kind.CRASHED, findings=({"kind": "race"},))),
        ({"outcome": "CUDA_ERROR", "cuda": (716,)}, outcome(Kind.CUDA_ERROR)),
        ({"outcome": "SOLVER_STATUS", "status": "TOO_FEW_MATCHES"}, outcome(Kind.SOLVER_STATUS)),
        ({"outcome": "RAISED", "says": "Overrun"}, outcome(Kind.RAISED)),
        ({"outcome": "OK", "pose": "wrong"}, outcome(Kind.OK)),
        ({"outcome": "OK", "pose": "right"}, outcome(Kind.OK, parity=WRONG)),
        ({"outcome": "OK", "pose": "wrong"}, outcome(Kind.OK, parity=None)),
    ],
)
def test_another_payload_is_not_it(sight: dict[str, Any], bad: Outcome) -> None:
    assert not compare.sees(Sight(how="none", **sight), bad)


def test_a_tool_that_was_not_there_makes_nothing_clean() -> None:
    assert compare.is_clean(outcome(Kind.OK)) and compare.is_clean(outcome(Kind.OK, tool="memcheck", tool_state="clean"))
    for state in ("findings", "never attached", "timed out", "tool failed", "unsupported", "kernel not launched"):
        assert not compare.is_clean(outcome(Kind.OK, tool="memcheck", tool_state=state))
    assert not compare.is_clean(outcome(Kind.OK, findings=({"kind": "race"},)))
    for kind in Kind:
        assert compare.is_clean(outcome(kind)) is (kind is Kind.OK)


def test_under_other_tools_no_wrong_name() -> None:
    specimen = next(specimen for specimen in TABLE.specimen if specimen.name == "past-the-end")
    assert compare.may_be(specimen, outcome(Kind.OK))
    assert compare.may_be(specimen, outcome(Kind.FINDINGS, findings=({"kind": "uninitialized"},)))
    assert not compare.may_be(specimen, outcome(Kind.FINDINGS, findings=({"kind": "uninitialized"}, {"kind": "race"})))
    assert not compare.may_be(specimen, outcome(Kind.CRASHED))
    assert not compare.may_be(specimen, outcome(Kind.OK, findings=({"kind": "race"},)))
    assert not compare.may_be(specimen, outcome(Kind.INCONCLUSIVE))


def test_a_solver_without_a_fault_must_be_clean() -> None:
    look = Look(Clean(solver="native", how=("none",)), "none")
    assert look.is_found(outcome(Kind.OK)) is True
    assert look.is_found(outcome(Kind.OK, parity=WRONG)) is False
    assert look.is_found(outcome(Kind.FINDINGS)) is False
    assert look.must == "OK right pose"


@pytest.mark.parametrize("diagnosis", [None, named("access-violation"), named("host-symbol-collision", "possible")])
def test_a_fault_that_is_not_called_by_its_cause_is_not_found(diagnosis: Diagnosis | None) -> None:
    sight = Sight(how="none", outcome=("CRASHED",), cause="host-symbol-collision")
    assert compare.sees(sight, outcome(Kind.CRASHED, diagnosis=named("host-symbol-collision")))
    assert not compare.sees(sight, outcome(Kind.CRASHED, diagnosis=diagnosis))
    assert compare.must(sight) == "CRASHED; cause host-symbol-collision"


def test_what_was_seen_in_words() -> None:
    assert (
        compare.seen(outcome(Kind.CRASHED, diagnosis=named("misaligned", "likely"))) == "CRASHED SIGSEGV; cause misaligned, likely"
    )
    assert compare.seen(outcome(Kind.CRASHED, diagnosis=named("misaligned", "possible"))) == "CRASHED SIGSEGV"
    assert compare.seen(outcome(Kind.UNAVAILABLE, diagnosis=named("not-on-this-machine"))) == "UNAVAILABLE no GPU"
    finding = {"kind": "misaligned", "space": "global", "direction": "read", "size": 16}
    found = outcome(Kind.FINDINGS, findings=(finding, finding), tool_state="findings")
    assert compare.seen(found) == "FINDINGS misaligned global read 16"
    assert compare.seen(outcome(Kind.OK, tool_state="never attached")) == "OK right pose (never attached)"
    assert compare.seen(outcome(Kind.CUDA_ERROR)) == "CUDA_ERROR 700"
    assert compare.seen(outcome(Kind.CRASHED)) == "CRASHED SIGSEGV"
    assert compare.seen(outcome(Kind.CRASHED, exit=Exit(1, "X", "", True))) == "CRASHED X"
    assert compare.seen(outcome(Kind.TIMEOUT)) == "TIMEOUT 5 s"
    assert compare.seen(replace(outcome(Kind.OK), parity=WRONG)) == "OK wrong pose"
