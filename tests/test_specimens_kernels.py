"""The faults of the CUDA specimens are in the code that NVRTC makes: no compiler has mended one on the way. Needs no GPU."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

nvrtc = pytest.importorskip("cuda.bindings.nvrtc")

FOLDER = Path(__file__).parent / "specimens"
ARCHITECTURES = ("75", "90", "120")


@pytest.fixture(scope="module")
def ptx() -> dict[str, str]:
    """Kernel -> its PTX; the device function it calls is under its own name."""
    source = (FOLDER / "kernels.cu").read_bytes()
    program = _value(nvrtc.nvrtcCreateProgram(source, b"kernels.cu", 0, [], []))
    _value(nvrtc.nvrtcCompileProgram(program, 2, [b"--gpu-architecture=compute_90", b"-std=c++17"]))
    text = b" " * _value(nvrtc.nvrtcGetPTXSize(program))
    _value(nvrtc.nvrtcGetPTX(program, text))
    bodies = re.split(r"^\s*(?:\.visible )?\.(?:entry|func)\b", text.decode().rstrip("\0"), flags=re.M)[1:]
    found: dict[str, str] = {}
    for body in bodies:
        name = re.search(r"(specimen_\w+|_Z\d+median_between\w*)", body)
        if name and "{" in body:
            found[name[1]] = body[: body.rindex("}")]
    return found


def _value(returned):
    status, *values = returned
    assert int(status) == 0, status
    return values[0] if values else None


def test_the_wide_load_is_wide(ptx: dict[str, str]) -> None:
    assert re.search(r"ld\.global\S*\.v4", ptx["specimen_float4_load"])


def test_no_barrier_where_one_is_missing(ptx: dict[str, str]) -> None:
    body = ptx["specimen_missing_barrier"]
    assert "bar.sync" not in body and "barrier.sync" not in body
    assert "st.shared" in body and "ld.shared" in body


def test_the_divergent_barrier_is_behind_the_branch(ptx: dict[str, str]) -> None:
    body = ptx["specimen_divergent_barrier"]
    assert len(re.findall(r"bar(?:rier)?\.sync", body)) == 1
    assert body.index("bra") < body.index(".sync")


def test_the_old_reduction_has_its_five_steps_and_no_synchronisation(ptx: dict[str, str]) -> None:
    body = ptx["specimen_old_warp_sum"]
    assert len(re.findall(r"ld\.volatile\.shared", body)) == 11
    assert "shfl" not in body and "bar." not in body


def test_the_accumulator_is_read_before_it_is_written(ptx: dict[str, str]) -> None:
    body = ptx["specimen_uninitialised_sum"]
    assert len(re.findall(r"ld\.global", body)) == 2 and len(re.findall(r"st\.global", body)) == 1


def test_the_recursion_is_one(ptx: dict[str, str]) -> None:
    own = [name for name in ptx if "median_between" in name]
    assert own and all(re.search(r"call[^;]*median_between", ptx[name], re.S) for name in own)
    assert all(".local" in ptx[name] for name in own)


def test_the_endless_wait_has_a_loop_that_reads_anew(ptx: dict[str, str]) -> None:
    assert re.search(r"ld\.volatile\.global", ptx["specimen_endless_wait"])


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_they_compile_for_every_gpu(arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM3SOLVE_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(str(FOLDER))
    pytest.importorskip("torch")
    import gpu_launch

    try:
        cubin = gpu_launch.compile_cubin(arch)
    finally:
        sys.modules.pop("gpu_launch", None)
    data = cubin.read_bytes()
    assert data.startswith(b"\x7fELF") and b"specimen_float4_load" in data
    assert b"kernels.cu" in data  # so that a finding's line can be shown
