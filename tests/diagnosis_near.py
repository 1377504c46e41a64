"""More evidence that looks like a cause and is not: one for every condition of a rule that its row in the table does not try."""

from __future__ import annotations

from dataclasses import replace

from diagnosis_evidence import (
    MEMCHECK_OF_THE_SEED,
    OWN_STACK,
    SEED_INPUT,
    SOLVE_INPUT,
    clean,
    cuda_error,
    died,
    evidence,
    finding,
    found,
    off,
    oracle,
    outcome,
    raised,
)  # fmt: skip

from harness.outcome import Kind

_EXP = {**SEED_INPUT, "op": "exp", "max_tangent": 1e-4}
_SMALL = {"parity": {"op_error": 4e-4}}
_DIED_UNDER_MEMCHECK = died(-6, tool="memcheck", tool_state="tool failed", stderr=MEMCHECK_OF_THE_SEED)
_GONE = {"reason": "gone", "expected": False}


def _recorded(event: str) -> dict[str, object]:
    return SOLVE_INPUT | {"recorded": {"event": event, "exception": ""}}


NEAR = {
    "never-returned": [
        evidence(outcome(Kind.INCONCLUSIVE, solver="recorded", input=_recorded("raised"), **_GONE)),
        evidence(outcome(Kind.SOLVER_STATUS, solver="recorded", status="NON_FINITE", input=_recorded("never_returned"))),
    ],
    "spawned-without-tensors": [evidence(died(-11, input=SOLVE_INPUT | {"all_zero": True}))],
    "degenerate-input": [
        evidence(
            outcome(Kind.SOLVER_STATUS, status="NOT_POSITIVE_DEFINITE"),
            oracle=outcome(Kind.SOLVER_STATUS, status="TOO_FEW_MATCHES", solver="reference"),
        )
    ],
    "float32-cancellation": [
        evidence(off(input=_EXP | {"dtypes": ["float64"]}, **_SMALL)),
        evidence(off(input=_EXP | {"op": "inv"}, **_SMALL)),
        evidence(off(input=_EXP, parity={"op_error": 0.7})),
    ],
    "host-dereference": [
        evidence(cuda_error(700), found(finding("host-dereference", kernel=None))),
        evidence(died(-11, faulthandler=OWN_STACK, solver="other"), died(-11, tool="memcheck", stderr=MEMCHECK_OF_THE_SEED)),
    ],
    "caught-access-violation": [evidence(raised("RuntimeError", "exception: access violation reading 0x0000000000000008"))],
    "tool-failed": [
        evidence(died(-11, tool="memcheck", tool_state="tool failed", faulthandler=OWN_STACK)),
        evidence(outcome(Kind.INCONCLUSIVE, reason="process didn't terminate successfully", expected=None)),
        evidence(found(finding("misaligned"), stderr=MEMCHECK_OF_THE_SEED)),
    ],
    "dies-under-the-tool": [
        evidence(replace(_DIED_UNDER_MEMCHECK, tool="asan"), died(-6)),
        evidence(replace(_DIED_UNDER_MEMCHECK, findings=(finding("misaligned"),)), died(-6)),
        evidence(outcome(Kind.TIMEOUT, limit_s=9.0, tool="memcheck", stderr=MEMCHECK_OF_THE_SEED), died(-6)),
    ],
    "poisoned-by-masked-points": [
        evidence(
            outcome(Kind.SOLVER_STATUS, status="TOO_FEW_MATCHES", input=SOLVE_INPUT | {"masked_nonfinite": 3}), oracle=oracle()
        ),
        evidence(outcome(Kind.SOLVER_STATUS, status="NON_FINITE", input={"masked_nonfinite": 3}), oracle=oracle()),
    ],
    "reads-outside-its-tensors": [
        evidence(outcome(Kind.SOLVER_STATUS, status="NON_FINITE", memory="poison"), clean(expected=False))
    ],
    "wrong-update": [evidence(off(iterations=22))],
    "unordered-streams": [
        evidence(off(), outcome(Kind.OK, parity={"within": True})),
        evidence(off(device="cpu"), blocking=(outcome(Kind.OK, parity={"within": True}),)),
        evidence(off(), blocking=(outcome(Kind.OK, parity={"within": True}, solver="other"),)),
        evidence(off(), blocking=(outcome(Kind.OK, parity=None),)),
        evidence(cuda_error(700), blocking=(outcome(Kind.OK, parity={"within": True}),)),
    ],
    "tool-timed-out": [evidence(outcome(Kind.TIMEOUT, limit_s=9.0), outcome(Kind.OK, solver="other"))],
}
