"""The seed crash is the host symbol collision and not alignment; and where evidence contradicts itself nothing is claimed."""

from __future__ import annotations

import pytest
from diagnosis_evidence import (
    INV_SYMBOL,
    MEMCHECK_OF_THE_SEED,
    OWN_STACK,
    audit,
    clean,
    cuda_error,
    died,
    doctor,
    evidence,
    finding,
    found,
    outcome,
    probe,
    raised,
    rung,
    seed,
    sweep,
)  # fmt: skip

from harness.diagnosis import diagnose, signature
from harness.diagnosis.evidence import Evidence
from harness.outcome import Diagnosis, Kind, Outcome

TORCHS = "_ZN3c104impl3cow11cow_deleterEPv"
ON_WINDOWS = seed(0xC0000005, windows=True)
ON_LINUX = seed(139)
CRASHES = pytest.mark.parametrize("crash", [ON_WINDOWS, ON_LINUX, seed(-11)], ids=["0xC0000005", "139", "-11"])
MEMCHECK = seed(tool="memcheck", tool_state="tool failed", stderr=MEMCHECK_OF_THE_SEED)
DEVICE_FINDING = found(finding("misaligned"), solver="lietorch")
EVERYWHERE = sweep(
    "faults in all 4 layouts tried: the layout is not the cause",
    ("recorded", 4, True), ("shift-8", 8, True), ("aligned-512", 0, True), ("strided", 0, True), kind="CRASHED",
)  # fmt: skip


def told(e: Evidence) -> Diagnosis:
    diagnosis = diagnose(e)
    assert diagnosis is not None
    return diagnosis


@CRASHES
def test_without_an_audit_it_is_likely(crash: Outcome) -> None:
    diagnosis = told(evidence(crash))
    assert (diagnosis.cause, diagnosis.confidence) == ("host-symbol-collision", "likely")
    assert diagnosis.sentence.startswith("Host: the GPU path of inv runs the CPU function of the same name")
    assert "harness audit" in diagnosis.test
    assert "-static-global-template-stub=true" in diagnosis.fix
    assert "misaligned" not in diagnosis.sentence
    assert "finds no collision" in diagnosis.refute


@CRASHES
def test_the_audit_confirms_it(crash: Outcome) -> None:
    diagnosis = told(evidence(crash, audits=(audit(INV_SYMBOL),)))
    assert (diagnosis.cause, diagnosis.confidence) == ("host-symbol-collision", "proven")
    assert any(INV_SYMBOL in fact.quote and fact.where == "audit.json: collisions[0]" for fact in diagnosis.facts)


@CRASHES
def test_a_clean_audit_refutes_it(crash: Outcome) -> None:
    diagnosis = told(evidence(crash, audits=(audit(what="no launch stub has a namesake"),)))
    assert (diagnosis.cause, diagnosis.confidence) == ("access-violation", "unknown")
    assert diagnosis.sentence.startswith("Host, cause unknown: ") and "not the symbol collision" in diagnosis.sentence
    assert any(fact.quote == "no launch stub has a namesake" for fact in diagnosis.facts)


def test_an_audit_that_compared_nothing_refutes_nothing() -> None:
    blind = audit(state="warn", what="collisions were not looked for: only host objects were given")
    assert told(evidence(ON_LINUX, audits=(blind,))).confidence == "likely"


@pytest.mark.parametrize(("state", "confidence"), [("fail", "likely"), ("ok", "possible"), ("warn", "likely")])
def test_a_linked_file_is_a_hint_and_no_proof(state: str, confidence: str) -> None:
    hint = audit(check="linked", state=state, what="hint, not proof: the host functions of 144 kernels")
    diagnosis = told(evidence(ON_LINUX, audits=(hint,)))
    assert (diagnosis.cause, diagnosis.confidence) == ("host-symbol-collision", confidence)


def test_memcheck_speaks_for_it() -> None:
    quotes = [fact.quote for fact in told(evidence(ON_LINUX, MEMCHECK)).facts]
    assert any("dereferencing Unified Memory from the host" in quote for quote in quotes)
    assert any("ERROR SUMMARY: 0 errors" in quote for quote in quotes)


def test_under_memcheck_it_is_the_same_bug() -> None:
    diagnosis = told(evidence(MEMCHECK, ON_LINUX))
    assert diagnosis.cause == "host-symbol-collision"
    assert signature(MEMCHECK) == signature(ON_LINUX)


def test_the_probe_and_the_sweep_speak_for_it() -> None:
    ladder = probe(rung("inv", "ok", device="cpu"), rung("inv", "crash"))
    diagnosis = told(evidence(seed(case="seed", solver="mine"), probe=ladder, sweeps=(EVERYWHERE,)))
    assert diagnosis.cause == "host-symbol-collision"
    places = {fact.where.partition(":")[0] for fact in diagnosis.facts}
    assert {"probe.json", "sweeps/seed__mine__none.json"} <= places


def test_a_crash_on_the_cpu_or_before_the_solve_is_none() -> None:
    for other in (seed(device="cpu"), seed(stage="spawned"), cuda_error(716, solver="lietorch"), died(-11, faulthandler=OWN_STACK)):
        assert told(evidence(other)).cause != "host-symbol-collision"


def test_an_audit_of_lietorch_says_nothing_of_another_solver() -> None:
    diagnosis = told(evidence(died(-11, faulthandler=OWN_STACK), audits=(audit(INV_SYMBOL),)))
    assert (diagnosis.cause, diagnosis.confidence) == ("access-violation", "unknown")


def test_a_collision_in_another_extension_is_found_by_the_name_of_its_function() -> None:
    own = OWN_STACK.replace("in launch", "in scale_rows")
    symbol = "void scale_rows<float>(float const*, float*, int)"
    diagnosis = told(evidence(died(-11, faulthandler=own), audits=(audit(symbol),)))
    assert (diagnosis.cause, diagnosis.confidence) == ("host-symbol-collision", "proven")


def test_a_name_within_a_name_is_none() -> None:
    other = audit("void invert_rows<float>(float const*, float*, int)", "void basinv(float*)")
    assert told(evidence(ON_LINUX, audits=(other,))).confidence == "likely"  # collisions, but not of this operation


@pytest.mark.parametrize(
    ("e", "looks_like", "contradicted_by"),
    [
        (evidence(ON_LINUX, DEVICE_FINDING, audits=(audit(INV_SYMBOL),)), "host-symbol-collision", "misaligned in void residual"),
        (evidence(ON_LINUX, audits=(audit(INV_SYMBOL),), probe=probe(rung("inv", "ok"))), "host-symbol-collision", "cuda:0"),
        (evidence(seed(solver="mine"), audits=(audit(INV_SYMBOL),),
                  sweeps=(sweep("faults exactly when T_WCk mod 16 != 0", ("recorded", 4, True), ("aligned-512", 0, False)),)),
         "host-symbol-collision", "T_WCk mod 16 != 0"),
        (evidence(cuda_error(209), audits=(audit(fat_binaries=(("sm_90", "sm_120"),)),),
            environment={"gpus": ["RTX 5090, sm_120, 31 GiB"]}),
         "no-kernel-image", "sm_120"),
        (evidence(cuda_error(222), doctor=doctor("toolkit for driver", "ok", "toolkit 12.4, driver for CUDA up to 13.0")),
         "toolkit-newer-than-driver", "toolkit 12.4"),
        (evidence(raised("ImportError", "cannot import name 'SO3' from 'lietorch' (/x)"),
            doctor=doctor("lietorch", "ok", "Princeton's")),
         "wrong-lietorch", "Princeton's"),
        (evidence(raised("ImportError", f"x.so: undefined symbol: {TORCHS}"),
            audits=(audit(check="torch", state="ok", what="40 symbols wanted of torch", resolved_torch=(TORCHS,)),)),
         "abi-mismatch", "40 symbols wanted of torch"),
    ],
    ids=["device-finding", "probe-ok", "alignment", "architecture", "driver", "lietorch", "torch"],
)  # fmt: skip
def test_contradicting_evidence_is_unknown_and_says_what_contradicts(e: Evidence, looks_like: str, contradicted_by: str) -> None:
    diagnosis = told(e)
    assert (diagnosis.cause, diagnosis.confidence) == ("contradiction", "unknown")
    assert f"cause unknown: it looks like {looks_like}, but this contradicts it: " in diagnosis.sentence
    assert contradicted_by in diagnosis.facts[0].quote


def test_a_device_finding_alone_refutes_it_and_explains_no_dead_process() -> None:
    diagnosis = told(evidence(ON_LINUX, DEVICE_FINDING))
    assert (diagnosis.cause, diagnosis.confidence) == ("access-violation", "unknown")
    assert any("misaligned in void residual" in fact.quote for fact in diagnosis.facts)


def test_four_that_look_alike_are_told_apart() -> None:
    misaligned = cuda_error(716)
    no_image = raised("RuntimeError", "CUDA error: no kernel image is available for execution on the device")
    package = raised("ImportError", "cannot import name 'SO3' from 'lietorch' (/opt/site-packages/lietorch/__init__.py)")
    causes = [told(evidence(it)).cause for it in (misaligned, ON_WINDOWS, no_image, package)]
    assert causes == ["misaligned", "host-symbol-collision", "no-kernel-image", "wrong-lietorch"]


def test_what_went_well_has_no_diagnosis() -> None:
    for fine in (outcome(Kind.OK), clean(), seed(expected=True), outcome(Kind.SOLVER_STATUS, status="NON_FINITE", expected=True)):
        assert diagnose(evidence(fine)) is None


def test_words_on_stderr_alone_prove_nothing() -> None:
    """Anyone can print. What a program says of itself is no finding of the driver, the system or a tool."""
    noise = "RuntimeError: CUDA error: misaligned address\nCholesky failed\nundefined symbol: cublas\nProcess killed: out of memory"
    diagnosis = told(evidence(died(-11, faulthandler=OWN_STACK, stderr=noise, stdout=noise)))
    assert (diagnosis.cause, diagnosis.confidence) == ("access-violation", "unknown")
