"""On a GPU: the shipped solvers are clean under all four tools, and each fault planted in a kernel is found by its tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.casefile import read_document
from harness.isolation import Limits, Task, default_memory, run_isolated
from harness.outcome import Kind
from harness.process import open_launcher
from harness.registry import resolve
from harness.sanitizer import locate, watch
from harness.sanitizer.tools import CUDA_TOOLS

ROOT = Path(__file__).parent.parent
CASE = ROOT / "cases" / "degenerate-n-33"
SPECIMENS = Path(__file__).with_name("specimens")


def why_not() -> str:
    if not watch.has_gpu():
        return "needs an NVIDIA GPU"
    try:
        locate.find()
    except locate.SanitizerMissing as missing:
        return str(missing)
    return ""


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    launcher = open_launcher(folder / "log", preload=(), threads=1)

    def run_task(tool: str, solver: str):
        task = Task(CASE, read_document(CASE), resolve(solver), tool, default_memory(tool))
        return run_isolated(task, Limits(timeout_s=120), folder / task.name, launcher)

    yield run_task
    launcher.close()


@pytest.mark.parametrize("tool", CUDA_TOOLS)
@pytest.mark.parametrize("solver", ["cuda", "torch"])
def test_the_shipped_solvers_are_clean(run, tool, solver):
    outcome = run(tool, solver)
    assert (outcome.kind, outcome.status, outcome.tool_state) == (Kind.OK, "CONVERGED", "clean"), (outcome.reason, outcome.findings)
    assert outcome.device.startswith("cuda") and outcome.values["watched_by"]["launched"]


@pytest.mark.parametrize(("solver", "tool", "kind"), [
    ("gpu_memory.py:float4_load", "memcheck", "misaligned"), ("gpu_memory.py:past_the_end", "memcheck", "out-of-bounds"),
    ("gpu_memory.py:uninitialised_sum", "initcheck", "uninitialized"), ("gpu_barriers.py:missing_barrier", "racecheck", "race"),
    ("gpu_barriers.py:divergent_barrier", "synccheck", "barrier"),
])  # fmt: skip
def test_a_planted_fault_is_found(run, solver, tool, kind):
    outcome = run(tool, f"{SPECIMENS / solver}")
    assert (outcome.kind, outcome.tool_state) == (Kind.FINDINGS, "findings"), (outcome.reason, outcome.notes)
    found = next(it for it in outcome.findings if it["kind"] == kind)
    assert found["where"]["path"] == "tests/specimens/kernels.cu" and found["where"]["snippet"]
    assert found["kernel"].startswith("specimen_")
