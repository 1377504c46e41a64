"""Bisect and minimize of faults that only a GPU has: a misaligned load, planted in the shipped kernel and in a specimen."""

from __future__ import annotations

import pytest
from minimize_cases import run
from solver_history import ROOT, Edit, write_history

from harness.bisect.drive import Request, bisect
from harness.casefile import read_document
from harness.isolation import Limits
from harness.sanitizer import locate

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
CASE = ROOT / "cases" / "real-fr1-desk-0-8-ray"
RESULT = "    write_result(state, end);\n"
MISALIGNED = Edit(
    "kernels/gauss_newton.cu",
    RESULT,
    RESULT + "    end.cost = *reinterpret_cast<const volatile double*>(reinterpret_cast<const char*>(result) + 4);\n",
)
AT = 7


@pytest.fixture(params=["none", pytest.param("memcheck", marks=pytest.mark.slow)])
def tool(request):
    if request.param == "memcheck":
        try:
            locate.find()
        except locate.SanitizerMissing as missing:
            pytest.skip(str(missing))
    return request.param


def test_the_commit_that_misaligned_a_load_in_the_kernel_is_found(tmp_path, monkeypatch, tool):
    shas = write_history(tmp_path / "repository", {AT: MISALIGNED}, n=12)
    monkeypatch.chdir(tmp_path / "repository")
    asked = Request(CASE, "main~11", "main", solver="cuda", tool=tool, limits=Limits(timeout_s=120.0), out=tmp_path / "out")
    _, document = bisect(asked)
    assert document.decided and document.first_bad.sha == shas[AT] and document.before.sha == shas[AT - 1]
    assert "misaligned" in document.target.lower()
    assert "reinterpret_cast<const volatile double*>" in document.diff


def test_a_misaligned_load_is_minimized_to_the_row_that_shows_it(tmp_path, tool):
    solver = f"{ROOT / 'tests' / 'specimens' / 'gpu_memory.py'}:float4_load"
    found = run(CASE, solver, tmp_path, tool=tool, timeout=120, tries=1, max_runs=60)
    assert "misaligned" in found.failure.lower() and found.verified
    assert 1 <= found.after.points <= 3 < read_document(CASE).n_points  # row 0 alone is aligned
