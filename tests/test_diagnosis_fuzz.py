"""Whatever a child or a stranger left: no rule fails on it, and many outcomes take seconds."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
from diagnosis_evidence import LIETORCH_STACK, oracle, outcome, seed
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import cudaerror, exitcode
from harness.diagnosis.bugs import diagnosed, distinct_bugs
from harness.diagnosis.documents import Documents
from harness.diagnosis.rule import SIDES
from harness.jsonfile import dumps
from harness.outcome import TOOL_STATES, ExceptionInfo, Kind, Outcome

NONE = Documents()
ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.lists(st.integers(), max_size=3))
KEYS = ("kind", "message", "kernel", "where", "size", "address_mod_size", "space", "direction", "host_stack", "count")
FACTS = ("recorded", "versions", "dtypes", "devices", "n_points", "batch", "all_zero", "max_tangent", "op", "masked_nonfinite")
WORDS = st.sampled_from([
    "", "CUDA error: misaligned address", "Cholesky failed", "undefined symbol: _ZN3c10E", "max iters reached 0", LIETORCH_STACK,
    "ERROR SUMMARY: 0 errors", "No module named 'x'", "\x1b[2J\x00", "Device not supported", "x" * 5000,
    "process didn't terminate successfully",
])  # fmt: skip
FIELDS = st.fixed_dictionaries({
    "kind": st.sampled_from(Kind),
    "findings": st.lists(st.dictionaries(st.sampled_from(KEYS), ODD, max_size=6), min_size=1, max_size=3),
    "exception": st.builds(ExceptionInfo, WORDS, WORDS, WORDS), "reason": WORDS, "stderr": WORDS, "stdout": WORDS,
    "faulthandler": WORDS,
    "cuda": st.sampled_from([0, 1, 9, 209, 700, 716, 5000]).map(cudaerror.by_code),
    "exit": st.builds(lambda code, windows: exitcode.decode(code, windows=windows),
                      st.sampled_from([0, 1, 3, -11, -6, -64, 0xC0000005]), st.booleans()),
    "expected": st.sampled_from([None, True, False]), "tool": st.sampled_from(["none", "memcheck", "ubsan"]),
    "tool_state": st.sampled_from([None, *TOOL_STATES]), "device": st.sampled_from([None, "cpu", "cuda:1", "cuda:x"]),
    "solver": st.sampled_from(["mine", "recorded", "lietorch"]), "input": st.dictionaries(st.sampled_from(FACTS), ODD),
    "parity": st.sampled_from([None, {}, {"within": False, "op_error": "nan"}]),
})  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(fields=FIELDS)
def test_no_evidence_makes_a_rule_fail(fields: dict) -> None:
    own = outcome(**fields | {"findings": tuple(fields["findings"]), "status": "NON_FINITE", "limit_s": 1.0})
    sibling = dataclasses.replace(own, tool="initcheck", memory="poison")
    for bug in distinct_bugs([own, sibling], [oracle()], NONE):
        assert bug.diagnosis.facts and bug.diagnosis.sentence.split(":")[0].split(",")[0] in SIDES
        assert bug.signature and bug.signature.isprintable()
    diagnosed([own, sibling], [oracle()], NONE)


@pytest.mark.parametrize("field", ["stderr", "parity", "input", "findings", "diagnosis"])
def test_an_outcome_of_a_stranger_is_checked(field: str) -> None:
    document = json.loads(dumps(seed().to_json()))
    assert Outcome.from_json(document).signature == ""
    with pytest.raises((TypeError, KeyError, ValueError)):
        Outcome.from_json(document | {field: ["text"]})


def test_many_outcomes_take_seconds() -> None:
    many = [seed(case=f"c{i}", solver=f"s{i % 7}", stderr="line\n" * 200) for i in range(2_000)]
    start = time.perf_counter()
    assert len(distinct_bugs(many, [], NONE)) == 1
    assert time.perf_counter() - start < 30
