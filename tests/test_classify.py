"""From files and an exit code to an outcome: the rules that planted faults cannot reach one by one."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import classify as module
from harness.classify import classify
from harness.outcome import Kind
from harness.process import Ended

DIED = 0xC0000005 if os.name == "nt" else -11
GOOD = {
    "status": "CONVERGED", "iterations": 1, "cost": 1.0, "T_WCf": [0, 0, 0, 0, 0, 0, 1, 1], "T_CkCf": [0, 0, 0, 0, 0, 0, 1, 1],
    "trace": [], "solve_seconds": 0.1, "device": "cpu", "judged": True, "values": {},
}  # fmt: skip
JOURNAL = '{"stage": "spawned", "time": 10.0, "pid": 1}\n{"stage": "imported", "time": 10.5}\n'


def outcome_of(folder, ended, result=None, journal=JOURNAL):
    (folder / "journal.jsonl").write_text(journal, encoding="utf-8")
    if result is not None:
        (folder / "result.json").write_text(result if isinstance(result, str) else json.dumps(result), encoding="utf-8")
    return classify(folder, ended, 5.0, case="c", solver="s", tool="none", repeat="r")


@pytest.mark.parametrize(
    ("ended", "result", "kind", "word"),
    [
        (Ended(0, 1.0), GOOD, Kind.OK, ""),
        (Ended(DIED, 1.0), GOOD, Kind.CRASHED, "already written"),
        (Ended(-9, 5.0, timed_out=True), None, Kind.TIMEOUT, ""),
        (Ended(-9, 5.0, timed_out=True), GOOD, Kind.TIMEOUT, "already written"),
        (Ended(DIED, 1.0), None, Kind.CRASHED, ""),
        *([(Ended(-9, 1.0), None, Kind.CRASHED, "")] if os.name != "nt" else []),  # killed by someone else
        (Ended(1, 1.0), GOOD, Kind.OK, "code 1"),
        (Ended(1, 1.0), None, Kind.INCONCLUSIVE, "code 1"),
        (Ended(None, 1.0, lost="the supervisor died"), None, Kind.INCONCLUSIVE, "supervisor died"),
        (Ended(-9, 1.0, output_bytes=300 << 20), None, Kind.INCONCLUSIVE, "300 MiB"),
        (Ended(0, 1.0), {"unavailable": "no GPU"}, Kind.UNAVAILABLE, "no GPU"),
        (Ended(0, 1.0), GOOD | {"status": "NON_FINITE"}, Kind.SOLVER_STATUS, ""),
        (Ended(0, 1.0), GOOD | {"T_WCf": ["nan"] * 8}, Kind.SOLVER_STATUS, "not finite"),
        (Ended(0, 1.0), GOOD | {"status": "FINE"}, Kind.INCONCLUSIVE, "FINE"),
    ],
)
def test_rules(tmp_path, ended, result, kind, word):
    outcome = outcome_of(tmp_path, ended, result)
    assert outcome.kind is kind
    assert word in f"{outcome.reason} {outcome.notes}"
    assert outcome.stage == "imported" and outcome.stages == (("spawned", 0.0), ("imported", 0.5))


def test_a_journal_cut_short_keeps_what_came_before(tmp_path):
    outcome = outcome_of(tmp_path, Ended(DIED, 1.0), journal=JOURNAL + '{"stage": "loa')
    assert outcome.stage == "imported"


def test_a_child_that_never_started_has_no_stage(tmp_path):
    outcome = outcome_of(tmp_path, Ended(70, 0.1), journal="")
    assert (outcome.kind, outcome.stage) == (Kind.INCONCLUSIVE, "none")


def test_stderr_of_a_process_that_ended_badly_may_name_the_cuda_error(tmp_path):
    (tmp_path / "stderr").write_text("terminate called\nCUDA error: an illegal memory access was encountered\n")
    assert outcome_of(tmp_path, Ended(1, 1.0)).cuda.code == 700
    assert outcome_of(tmp_path, Ended(0, 1.0)).kind is Kind.INCONCLUSIVE


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "exception", "unavailable", "op_value", "x"]), inner, max_size=6), max_leaves=12)  # fmt: skip  # noqa: E501


@settings(max_examples=60 if os.name == "nt" else 300, deadline=None, derandomize=True)  # a folder each: slow on wine
@given(st.one_of(JSON.map(json.dumps), st.text(max_size=40), st.builds(lambda key, value: json.dumps(GOOD | {key: value}), st.sampled_from(sorted(GOOD)), JSON)))  # fmt: skip  # noqa: E501
def test_no_result_file_can_break_the_harness(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("job")
    outcome = outcome_of(folder, Ended(0, 1.0), text.encode("utf-8", "replace").decode())
    assert isinstance(outcome.kind, Kind)
    assert type(outcome).from_json(json.loads(json.dumps(outcome.to_json(), allow_nan=True))).kind is outcome.kind


def test_long_output_is_cut_in_the_middle(tmp_path):
    (tmp_path / "stdout").write_bytes(b"A" * 100_000 + b"\xff" + b"Z" * 100_000)
    text = module.read_text(tmp_path / "stdout")
    assert text.startswith("AAA") and text.endswith("ZZZ") and "136001 bytes left out" in text
