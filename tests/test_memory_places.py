"""Where memory modes put tensors, what they see of what was touched, and that nothing a dead child wrote is believed."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from case_factory import layouts, make_case
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import Case, TensorSpec
from harness.jsonfile import write_json
from harness.layout import POISON, arrays, groups
from harness.memory import guardpages, heap
from harness.memory.agreement import agree
from harness.memory.arena import AFTER, BEFORE, END, GAP, START, HostArena, covered, seal, touched
from harness.memory.evidence import with_memory
from harness.outcome import ExceptionInfo, Exit, Kind, Outcome
from harness.sanitizer.finding import KEYS, finding
from harness.worker_files import FAULT, MEMORY

ROOT = Path(__file__).parent.parent


# --- places -----------------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(case=layouts(), side=st.sampled_from([START, END, None]))
def test_any_layout_in_any_place_has_its_bits_and_lies_against_the_page(case: Case, side: str | None) -> None:
    arena = HostArena("test", side)
    rebuilt = arrays(case, arena.allocate)
    for name, spec in case.document.tensors.items():
        array = rebuilt[name]
        assert np.ascontiguousarray(array).tobytes() == case.values[name].tobytes()
        assert array.ctypes.data % spec.itemsize == 0 or not array.size
        if side is None and array.size:
            assert array.ctypes.data % 512 == spec.data_ptr_mod_512
    for group, names in groups(case.document.tensors).items():
        room, largest = arena.rooms[group], max(case.document.tensors[name].itemsize for name in names)
        gap = {START: room.start, END: len(room.memory) - room.start - room.n_bytes, None: 0}[side]
        assert gap < largest
        if len({case.document.tensors[name].itemsize for name in names}) == 1:
            assert gap == 0
    seal(arena)
    assert touched(arena, case.document.tensors, "test") == ({}, [])


@settings(max_examples=60, deadline=None)
@given(case=layouts(max_n=4), data=st.data())
def test_any_byte_written_is_told_where_it_is(case: Case, data: st.DataObject) -> None:
    arena = HostArena("test")
    arrays(case, arena.allocate)
    group = data.draw(st.sampled_from(sorted(arena.rooms)))
    room = arena.rooms[group]
    # Where the room lies differs from run to run; what is drawn may not.
    at = data.draw(st.integers(0, (1 << 32) - 1)) % len(room.memory) - room.start
    seal(arena)
    room.memory[room.start + at] ^= 0x55
    found, notes = touched(arena, case.document.tensors, "test")
    names = groups(case.document.tensors)[group]
    mask = covered(case.document.tensors, names, room.n_bytes)
    region = BEFORE if at < 0 else AFTER if at >= room.n_bytes else "tensor" if mask[at] else GAP
    assert list(found) == ([] if region == "tensor" else [(group, region)])
    assert bool(notes) is (region == "tensor")
    for one in found.values():
        assert (one["size"], one["address"]) == (1, room.address + room.start + at)
        assert one["nearest_allocation"]["distance"] == {BEFORE: -at, AFTER: at - room.n_bytes + 1, GAP: 0}[region]


def test_guard_pages_are_there(tmp_path):
    """Looked at from a process of their own: what they must do is end it."""
    program = (
        "import sys, ctypes; from harness.memory import guardpages; address, size = guardpages.allocate(10)\n"
        "at = {'end': address + size, 'far': address + size + guardpages.GUARD_BYTES - 1, 'start': address - 1, 'in': address}\n"
        "ctypes.string_at(at[sys.argv[1]], 1); print('lived')"
    )
    for where in ("in", "end", "far", "start"):
        done = subprocess.run([sys.executable, "-c", program, where], cwd=ROOT, capture_output=True, text=True)
        assert ("lived" in done.stdout) is (where == "in"), (where, done)


def test_memory_that_is_not_there_is_a_memory_error():
    with pytest.raises(MemoryError):
        guardpages.allocate(1 << 62)
    address, size = guardpages.allocate(0)
    ctypes.memset(address, POISON, size)


def test_what_malloc_gives_is_filled():
    if not heap.fill(None):
        pytest.skip("only glibc fills what malloc gives")
    program = (
        "import numpy as np, sys; from harness.memory import heap\n"
        "for byte in (255, 0, 90):\n"
        "    heap.fill(byte); found = set(np.empty(300_000, np.uint8)); heap.fill(None); assert found == {byte}, found"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_what_torch_gives_is_nan_and_then_is_not():
    program = (
        "import torch; from harness.memory import heap\n"
        "heap.fill_torch(True); assert torch.empty(1000).isnan().all(); heap.fill_torch(False)\n"
        "assert not torch.are_deterministic_algorithms_enabled(); import sys; assert 'torch._inductor.config' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_results_that_agree():
    one = {"status": "CONVERGED", "T_WCf": [1.0] * 8, "T_CkCf": [1e6, 0, 0, 0, 0, 0, 1, 1]}
    near = one | {"T_CkCf": [1e6 + 10, 0, 0, 0, 0, 0, 1, 1]}
    assert agree(one, one) and agree(one, near)
    assert not agree(one, one | {"T_CkCf": [1e6 + 1000, 0, 0, 0, 0, 0, 1, 1]})
    assert not agree(one, one | {"T_WCf": [float("nan")] * 8})
    assert agree(*[one | {"T_WCf": [float("nan")] * 8}] * 2)
    assert not agree(one, one | {"status": "MAX_ITERATIONS"})
    assert not agree(one, {"exception": {"type": "ValueError"}})
    assert agree({"exception": {"type": "ValueError"}}, {"exception": {"type": "ValueError"}})


# --- what a child may leave behind ------------------------------------------------------------------------------------------------


WINDOW = {"tensors": ["Xf"], "address": 0x1000, "size": 32, "room": [0x1000, 4096], "guarded": True, "kept": ""}


def left(folder: Path, document: object, fault: bytes = b"b 1 1023 2 \n", **fields) -> Outcome:
    """An outcome of exact memory whose child left ``document`` and ``fault``."""
    if isinstance(document, bytes):
        (folder / MEMORY).write_bytes(document)
    elif document is not None:
        write_json(folder / MEMORY, document)
    (folder / FAULT).write_bytes(fault)
    given = {"kind": Kind.CRASHED, "exit": Exit(-11, "SIGSEGV", "", True, "SIGSEGV"), "memory": "exact"} | fields
    given = {"tool": "none"} | given
    return with_memory(Outcome("c", "s", stage="solving", seconds=0.1, repeat="", **given), folder)


def test_the_address_of_a_death_becomes_a_finding(tmp_path):
    document = {"mode": "exact", "attempt": "end", "windows": [WINDOW], "findings": [], "notes": []}
    outcome = left(tmp_path, document)
    (found,) = outcome.findings
    assert found["message"] == "wrote 4 bytes past the end of Xf" and found["address"] == 0x1023
    assert left(tmp_path, document, b"b 1 101f 2 \n").findings == ()  # inside
    assert left(tmp_path, document, b"b 1 ffff1023 2 \n").findings == ()  # far away
    assert left(tmp_path, document, b"b 80 0 1 \n").findings == ()
    assert left(tmp_path, document | {"windows": [WINDOW | {"guarded": False}]}).findings == ()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"address": 0x1020, "direction": "read"}, "read 1 byte past the end of Xf: SEGV on unknown address 0x1020"),
        ({"address": 0xFFF, "direction": None}, "touched memory 1 byte before the start of Xf: SEGV on unknown address 0x1020"),
        ({"address": 0x101F, "direction": "read"}, "SEGV on unknown address 0x1020"),
        ({"address": 0xFFFF1020, "direction": "read"}, "SEGV on unknown address 0x1020"),
        ({"address": None, "direction": "read"}, "SEGV on unknown address 0x1020"),
        ({"address": 0x1020, "kind": "use-after-free"}, "SEGV on unknown address 0x1020"),
    ],
)
def test_a_tool_that_keeps_the_signal_to_itself_gives_the_address(tmp_path, told, message):
    document = {"mode": "exact", "attempt": "end", "windows": [WINDOW], "findings": [], "notes": []}
    known = {
        "kind": "invalid-access",
        "message": "SEGV on unknown address 0x1020",
        "where": {"path": "a.c", "line": 3},
    } | told
    outcome = left(tmp_path, document, b"", tool="asan", tool_state="findings", findings=(finding("asan", **known),))
    (found,) = outcome.findings
    assert found["message"] == message and found["where"] == known["where"] and set(found) == set(KEYS)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"address": 0x1010, "size": 4}, "wrong-device"),
        ({"address": 0x1010, "size": 16}, "wrong-device"),
        ({"address": 0x1014, "size": 16}, "out-of-bounds"),  # begins inside, ends past it
        ({"address": 0x1020, "size": 4}, "out-of-bounds"),
        ({"address": 0xFFC, "size": 4}, "out-of-bounds"),
        ({"address": 0x1010, "size": 4, "kind": "misaligned"}, "misaligned"),
        ({"address": None, "size": 4}, "out-of-bounds"),
    ],
)
def test_memory_that_is_there_and_yet_out_of_bounds_is_another_gpus(tmp_path, told, kind):
    document = {"mode": "exact", "attempt": "end", "windows": [WINDOW | {"guarded": False}], "findings": [], "notes": []}
    known = {
        "kind": "out-of-bounds",
        "message": "Invalid __global__ read",
        "space": "global",
        "direction": "read",
        "count": 7,
    } | told
    outcome = left(tmp_path, document, b"", tool="memcheck", tool_state="findings", findings=(finding("memcheck", **known),))
    (found,) = outcome.findings
    assert (found["kind"], found["count"], "in Xf" in found["message"]) == (kind, 7, kind == "wrong-device")


def test_windows_tells_the_address_in_an_exception(tmp_path):
    document = {"mode": "exact", "attempt": "end", "windows": [WINDOW], "findings": [], "notes": []}
    error = ExceptionInfo("OSError", "exception: access violation writing 0x0000000000001020", "")
    outcome = left(tmp_path, document, b"", kind=Kind.RAISED, exit=Exit(0, "exit 0", "", False), exception=error)
    assert outcome.kind is Kind.FINDINGS and outcome.findings[0]["message"] == "wrote 1 byte past the end of Xf"


@pytest.mark.parametrize(
    "document",
    [
        b"", b"\xff\xfe", b"[]", b"null", b'{"mode": "exact"', b"[" * 100_000, b'{"findings": 3, "notes": [], "windows": []}',
        {"mode": "exact", "attempt": "end", "windows": [WINDOW | {"address": "x"}], "findings": [], "notes": []},
        {"mode": "exact", "attempt": "end", "windows": [WINDOW | {"tensors": [3]}], "findings": [], "notes": []},
        {"mode": "exact", "attempt": "end", "windows": [WINDOW | {"room": None}], "findings": [], "notes": []},
        {"mode": "exact", "attempt": "end", "windows": [{}], "findings": [], "notes": []},
        {"mode": "exact", "attempt": "end", "windows": [], "findings": [{"kind": "race"}], "notes": []},
        {"mode": "exact", "attempt": "end", "windows": [], "findings": [], "notes": [7]},
        {"mode": "exact", "attempt": None, "windows": [], "findings": [], "notes": []},
    ],
)  # fmt: skip
@pytest.mark.parametrize("fault", [b"", b"\x00" * 50, b"b 1", b"not a number at all\n", b"b 1 " + b"f" * 5000])
def test_what_an_overrun_child_wrote_is_not_believed(tmp_path, document, fault):
    outcome = left(tmp_path, document, fault)
    assert outcome.kind is Kind.CRASHED and outcome.findings == ()
    assert any("cannot be read" in note for note in outcome.notes)


def test_a_huge_account_is_not_read(tmp_path):
    with open(tmp_path / MEMORY, "wb") as file:
        file.truncate(1 << 30)
    assert "was not read" in left(tmp_path, None).notes[0]


def test_pool_outcomes_are_left_as_they_are(tmp_path):
    outcome = Outcome("c", "s", "none", Kind.OK, "written", 0.1, "", status="CONVERGED")
    assert with_memory(outcome, tmp_path) is outcome
    gone = dataclasses.replace(outcome, kind=Kind.UNAVAILABLE, reason="no GPU", memory="exact")
    assert with_memory(gone, tmp_path) is gone


def test_windows_of_mixed_elements_keep_what_can_be_kept() -> None:
    specs = {
        "Xf": TensorSpec(dtype="float64", shape=(5, 3), stride=(3, 1), alias_group="g"),
        "valid_opt": TensorSpec(
            dtype="bool", shape=(5, 1), stride=(1, 1), storage_offset=120, data_ptr_mod_512=120, alias_group="g"
        ),
    }
    arena = HostArena("test", END)
    rebuilt = arrays(make_case(specs=specs), arena.allocate)
    room = arena.rooms["g"]
    assert rebuilt["Xf"].ctypes.data % 8 == 0 and len(room.memory) - room.start - room.n_bytes == 3
    assert json.dumps(room.to_json(["Xf"]))
