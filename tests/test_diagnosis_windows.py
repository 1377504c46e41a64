"""What a diagnosis of a run on Windows asks for can be done there."""

from __future__ import annotations

import pytest
from diagnosis_evidence import died, evidence

from harness.diagnosis.engine import diagnose

WINDOWS = {"os": "Windows-10-10.0.19045-SP0"}
BANNER = "Windows fatal exception: code 0xc0000374\n"


@pytest.mark.parametrize("code", [0xC0000374, 0xC0000005, 0xC000001D, 0xC0000094, 0x80000003])
def test_no_sanitizer_that_runs_on_linux_only(code):
    told = evidence(died(code, windows=True), environment=WINDOWS)
    assert "--tool asan" not in asked(told) and "--tool ubsan" not in asked(told)
    alone = evidence(died(code, windows=True, faulthandler=BANNER))
    assert "--tool asan" not in asked(alone) and "--tool ubsan" not in asked(alone)


def test_what_says_most_there_is_asked_for():
    assert asked(evidence(died(0xC0000374, windows=True), environment=WINDOWS)).endswith("--memory exact")
    assert asked(evidence(died(0xC000001D, windows=True), environment=WINDOWS)).endswith("--layouts")
    assert asked(evidence(died(-4), environment={"os": "Linux-6.1"})).endswith("--tool ubsan")


def asked(told) -> str:
    return diagnose(told).test
