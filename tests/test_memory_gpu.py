"""Memory modes and layout sweeps on a GPU: the planted kernels are found and named, the shipped solvers are healthy.

``python -m pytest tests/test_memory_gpu.py -v`` on a machine with an NVIDIA GPU; two tests also need compute-sanitizer on PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from problem_factory import shipped
from test_torch_layout import assert_rebuilt

from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.layout import POISON, groups
from harness.memory.arena import seal, touched
from harness.memory.device import DeviceArena
from harness.outcome import Kind
from harness.process import child_environment, open_launcher
from harness.registry import resolve
from harness.replay import Request, replay
from harness.sweep.files import read_sweeps
from harness.torch_layout import tensors

ROOT = Path(__file__).parent.parent
FAULTS = Path(__file__).with_name("memory_cuda_faults.py")
CASES = ("layout-offset-views", "layout-misaligned", "layout-column-slice", "layout-expanded", "layout-aliased", "degenerate-n-0",
         "degenerate-n-33", "degenerate-calib-nan-invalid", "real-fr1-desk-0-8-ray", "synthetic-room-calib")  # fmt: skip
SANITIZER = shutil.which("compute-sanitizer")

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]


def replayed(out: Path, *solvers: str, cases: tuple[str, ...] = ("layout-column-slice",), **more):
    limits = Limits(timeout_s=120, device="cuda")
    return replay(
        Request(tuple(ROOT / "cases" / c for c in cases), solvers, limits=limits, jobs=1, out=out, command="test", **more)
    )


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("layout-")])
def test_recorded_layouts_are_kept_in_every_mode(name, exact):
    """An exact allocation on a GPU keeps the recorded address modulo 512, strides and bits; it ends with the window."""
    case, device = shipped(name), torch.device("cuda:0")
    arena = DeviceArena("test", 0, exact=exact)
    rebuilt = tensors(case, device, arena)
    for tensor_name, spec in case.document.tensors.items():
        tensor = rebuilt[tensor_name]
        assert tensor.data_ptr() % 512 == spec.data_ptr_mod_512 and tensor.stride() == spec.stride
        assert tensor.cpu().contiguous().numpy().tobytes() == case.values[tensor_name].tobytes()
    for group in groups(case.document.tensors):
        room = arena.rooms[group]
        assert (len(room.memory) == room.start + room.n_bytes) is exact
        assert (room.bytes()[: room.start] == POISON).all()
    assert_rebuilt(case, device)


def test_writes_on_a_gpu_are_seen():
    case, device = shipped("layout-column-slice"), torch.device("cuda:0")
    arena = DeviceArena("test", 0)
    rebuilt = tensors(case, device, arena)
    seal(arena)
    assert touched(arena, case.document.tensors, "poison") == ({}, [])
    rebuilt["Xf"].as_strided((1,), (1,), 3).fill_(1.5)  # the gap after the first row
    found, notes = touched(arena, case.document.tensors, "poison")
    assert list(found) == [("=Xf", "gap")] and found["=Xf", "gap"]["space"] == "global" and not notes


def test_solvers_do_the_same_in_every_mode(tmp_path):
    run = replayed(tmp_path, "cuda", "torch", cases=CASES, memories=("pool", "exact", "poison"))
    assert len(run.outcomes) == len(CASES) * 2 * 3
    assert all(o.expected is True and not o.findings for o in run.outcomes), [o.verdict for o in run.outcomes if not o.expected]
    assert {o.device for o in run.outcomes} == {"cuda:0"}


def test_solvers_are_healthy_in_every_layout(tmp_path):
    run = replayed(tmp_path, "cuda", "torch", cases=("layout-offset-views", "synthetic-room-calib"), sweep=True)
    assert {sweep["state"] for sweep in read_sweeps(run.folder)} == {"healthy everywhere"}


def test_a_wide_load_is_named_by_the_sweep(tmp_path):
    run = replayed(tmp_path, f"{FAULTS}:wide_load", sweep=True)
    (sweep,) = read_sweeps(run.folder)
    assert sweep["rule"] == "faults exactly when T_WCk mod 16 != 0"
    assert {e["signature"] for e in sweep["layouts"] if e["faulted"]} == {"CUDA_ERROR cudaErrorMisalignedAddress"}


def test_a_write_past_the_end_is_caught_by_poison_alone(tmp_path):
    run = replayed(tmp_path, f"{FAULTS}:write_past", memories=("pool", "poison"))
    pool, poison = run.outcomes
    assert pool.kind is Kind.OK and poison.kind is Kind.FINDINGS
    (found,) = poison.findings
    assert (found["kind"], found["direction"], found["space"]) == ("out-of-bounds", "write", "global")
    assert found["nearest_allocation"]["distance"] == 1 and "T_WCk" in found["message"]


def memcheck(folder: Path, memory: str) -> str:
    """What memcheck says of the planted read with the tensors in ``memory``: the child itself under the tool."""
    document = read_document(ROOT / "cases" / "layout-column-slice")
    task = Task(ROOT / "cases" / "layout-column-slice", document, resolve(f"{FAULTS}:read_past"), memory=memory)
    launcher = open_launcher(folder / "log", preload=(), threads=1)
    try:  # writes job.json, and proves that without the tool nothing is seen
        outcome = run_isolated(task, Limits(timeout_s=120, device="cuda", fresh_interpreter=True), folder / "job", launcher)
    finally:
        launcher.close()
    assert outcome.kind is Kind.OK, outcome.verdict or outcome.exception
    argv = [
        SANITIZER,
        "--tool",
        "memcheck",
        "--report-api-errors",
        "no",
        sys.executable,
        "-P",
        "-m",
        "harness.worker",
        str(folder / "job"),
    ]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | child_environment(1), capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


@pytest.mark.skipif(SANITIZER is None, reason="needs compute-sanitizer")
def test_a_read_past_the_end_is_hidden_by_the_pool(tmp_path):
    said = memcheck(tmp_path, "pool")
    assert "ERROR SUMMARY: 0 errors" in said, said[-3000:]


@pytest.mark.skipif(SANITIZER is None, reason="needs compute-sanitizer")
def test_a_read_past_the_end_is_found_in_exact_memory_under_memcheck(tmp_path):
    said = memcheck(tmp_path, "exact")
    assert re.search(r"Invalid __global__ read of size 4 bytes", said), said[-3000:]
    assert "load" in said and re.search(r"1 bytes after the nearest allocation", said), said[-3000:]
