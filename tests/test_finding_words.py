"""A finding says what was accessed, how far from what and where; a diagnosis says whose it is, and names no line it has not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from diagnosis_evidence import died, evidence, found, outcome
from diagnosis_evidence import finding as row

from harness.diagnosis.engine import diagnose
from harness.outcome import Diagnosis, Kind
from harness.sanitizer.finding import finding
from harness.sanitizer.words import access, distance, in_words, place
from harness.verdict import describe

ALLOCATION = {"address": 0x6000, "size": 396, "distance": 1}
PAST = finding(
    "asan", "out-of-bounds", "heap-buffer-overflow on address 0x618c", direction="read", size=4, space="heap", address=0x618C,
    nearest_allocation=ALLOCATION, where={"path": "src/copy.cpp", "line": 39, "snippet": []},
)  # fmt: skip
EXACT = finding("exact", "out-of-bounds", "read 1 byte past the end of Xf", direction="read", space="heap", address=0x618C)
POISON = finding("poison", "uninitialized", "its result depends on memory of its own that it has not written", direction="read")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (PAST, "out-of-bounds read of 4 bytes in heap memory, 1 byte past the end of an allocation of 396 bytes, "
               "at src/copy.cpp:39 (heap-buffer-overflow on address 0x618c)"),
        (finding("memcheck", "misaligned", "Invalid read", direction="read", size=16, space="global", address=0x204,
                 kernel="void residual<float>(float const*, int)", where={"path": "r.cuh", "line": 88}),
         "misaligned read of 16 bytes in global memory, in residual<float>, at r.cuh:88 (Invalid read)"),
        (finding("memcheck", "out-of-bounds", "Invalid write.", direction="write", size=1, address=0x5FFC,
                 nearest_allocation={"address": 0x6000, "size": 1, "distance": 4}),
         "out-of-bounds write of 1 byte, 4 bytes before the start of an allocation of 1 byte (Invalid write)"),
        (finding("asan", "use-after-free", "", direction="read", size=4, address=0x6004,
                 nearest_allocation=ALLOCATION | {"distance": 0}),
         "use-after-free read of 4 bytes, inside an allocation of 396 bytes"),
        (EXACT, "read 1 byte past the end of Xf"),
        (EXACT | {"tool": "asan", "where": {"path": "copy.cpp", "line": 39}}, "read 1 byte past the end of Xf, at copy.cpp:39"),
        (finding("poison", "out-of-bounds", "overwrote 4 bytes past the end of Xf", size=4, direction="write"),
         "overwrote 4 bytes past the end of Xf"),
        (finding("ubsan", "undefined", "signed integer overflow: 1 + 2", where={"path": "a.c", "line": 3}),
         "signed integer overflow: 1 + 2, at a.c:3"),
        (finding("memcheck", "api-error", "cuLaunchKernel returned an error\nmore"), "cuLaunchKernel returned an error"),
        ({"kind": "race"}, "race"),
        ({"kind": None, "size": "x", "where": [], "nearest_allocation": {"address": "x"}}, "a fault without a kind"),
        ({"kind": "race", "where": {"path": "a.cu", "line": None}, "space": "shared"}, "race access in shared memory, at a.cu"),
    ],
)  # fmt: skip
def test_a_finding_in_words(given: dict[str, Any], said: str) -> None:
    assert in_words(given) == said


def test_the_parts_are_empty_where_nothing_is_known() -> None:
    assert (access({}), distance({}), place({})) == ("", "", "")


def test_the_verdict_says_where_and_what() -> None:
    told = describe(outcome(Kind.FINDINGS, tool="asan", findings=(PAST, POISON)))
    assert told == f"mine on seed: asan found 2 faults, the first: {in_words(PAST)}."
    told = describe(outcome(Kind.FINDINGS, memory="poison", findings=(POISON,)))
    assert told == f"mine on seed: poison found 1 fault: {POISON['message']}."
    assert describe(died(-11, tool="asan", memory="exact", findings=(PAST,))).endswith(f" asan: {in_words(PAST)}.")
    assert describe(died(-11, memory="exact", findings=(EXACT,))).endswith(" exact: read 1 byte past the end of Xf.")


# --- in a diagnosis ---------------------------------------------------------------------------------------------------------------


def of_mode(device: str | None, **more: Any) -> Diagnosis:
    one = outcome(Kind.FINDINGS, memory="poison", findings=(POISON,), device=device)
    said = diagnose(evidence(dataclasses.replace(one, **more)))
    assert said is not None
    return said


@pytest.mark.parametrize(("device", "side"), [("cpu", "Host"), ("cuda:0", "Device")])
def test_a_memory_mode_tells_nothing_of_the_side_and_the_device_does(device: str, side: str) -> None:
    said = of_mode(device)
    assert said.sentence == f"{side}: a read of memory that nobody wrote: {POISON['message']}."
    odd = of_mode(device, findings=(POISON | {"kind": "an-oddity"},))
    assert (odd.cause, odd.sentence.partition(":")[0]) == ("unnamed-finding", side)


def test_without_a_device_that_of_the_case_counts() -> None:
    assert of_mode(None, input={"devices": ["cuda:0"]}).sentence.startswith("Device: ")
    assert of_mode(None, input={}).sentence.startswith("Host: ")


def test_no_line_is_spoken_of_where_none_is_known() -> None:
    said = diagnose(evidence(died(-11, device="cpu", memory="exact", findings=(EXACT,))))
    assert said is not None
    assert said.sentence == "Host: an access outside every allocation: it read 1 byte past the end of Xf."
    assert said.refute == "exact memory finds nothing when the case is run again" and said.test.endswith("--memory exact")
    assert "line" not in said.fix + said.refute and "--tool" not in said.test


def test_where_a_line_is_known_it_is_named() -> None:
    said = diagnose(evidence(found(row("out-of-bounds"))))
    assert said is not None
    assert said.sentence.endswith("at /home/me/kernels/residual.cuh:88.") and "(read of 16 bytes in global memory)" in said.sentence
    assert said.refute == "memcheck finds nothing at that line when the case is run again" and "at that line" in said.fix
