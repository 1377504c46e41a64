"""What the tests of the audit are made of: device code, fat binaries, objects and libraries, all built from sources of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

COLLISION = Path(__file__).parent / "specimens" / "collision"
sys.path.insert(0, str(COLLISION))
from collision_pair import Pair  # noqa: E402  a file beside the specimen, not a package

MINGW = "x86_64-w64-mingw32-g++"
KERNEL = "_Z14inverse_kernelIfEvPKT_PS0_i"
DEVICE_SOURCE = """
template <class Scalar> __global__ void inverse_kernel(const Scalar* X, Scalar* Y, int n) { Y[0] = X[n]; }
template __global__ void inverse_kernel<float>(const float*, float*, int);
extern "C" __global__ void plain(float* p) { p[0] = 1; }
"""
needs_elf = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="needs g++ on Linux to build ELF objects"
)
needs_mingw = pytest.mark.skipif(shutil.which(MINGW) is None, reason=f"needs {MINGW} (Debian: g++-mingw-w64-x86-64) to build COFF")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc to build the CUDA pair")


@cache
def fat_binary(targets: tuple[str, ...] = ("sm_80", "compute_80"), *options: str, source: str = DEVICE_SOURCE) -> bytes:
    """A fat binary by NVRTC and nvFatbin, without a GPU. Skips the test where they are not installed."""
    nvfatbin = pytest.importorskip("cuda.bindings.nvfatbin", reason="needs cuda-core[cu13], which brings nvFatbin")
    try:
        nvfatbin.version()
    except RuntimeError as error:
        pytest.skip(f"nvFatbin cannot be loaded: {error}")
    handle = nvfatbin.create(list(options), len(options))
    for target in targets:
        code, arch = _compiled(source, target), target.partition("_")[2]
        if target.startswith("sm_"):
            nvfatbin.add_cubin(handle, code, len(code), arch, "specimen")
        else:
            nvfatbin.add_ptx(handle, code, len(code), arch, "specimen", "")
    made = bytearray(nvfatbin.size(handle))
    nvfatbin.get(handle, made)
    return bytes(made)


@cache
def _compiled(source: str, target: str) -> bytes:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    _, program = nvrtc.nvrtcCreateProgram(source.encode(), b"specimen.cu", 0, [], [])
    (status,) = nvrtc.nvrtcCompileProgram(program, 1, [f"--gpu-architecture={target}".encode()])
    assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS, status
    size_of, get = (
        (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN) if target.startswith("sm_") else (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
    )
    code = b" " * size_of(program)[1]
    get(program, code)
    return code


def with_fat_binary(folder: Path, fat: bytes, *, compiler: str = "g++", section: str = ".nv_fatbin", name: str = "fat.o") -> Path:
    """An object that holds a fat binary as nvcc's do, and nothing else."""
    (folder / "fat.bin").write_bytes(fat)
    flags = '"a"' if compiler == "g++" else '"dr"'
    assembly = f'.section {section}, {flags}\n.balign 8\nfatbinData: .incbin "fat.bin"\n'
    return assembled(folder, assembly, compiler=compiler, name=name)


def assembled(folder: Path, assembly: str, *, compiler: str = "g++", name: str) -> Path:
    (folder / "made.s").write_text(assembly, encoding="utf-8")
    subprocess.run([compiler, "-c", "made.s", "-o", name], cwd=folder, check=True)
    return folder / name


def compiled(folder: Path, source: str, *flags: str, compiler: str = "g++", name: str) -> Path:
    """One object or library (``-shared`` in ``flags``) of a source text."""
    file = folder / f"{Path(name).stem}.cpp"
    file.write_text(source, encoding="utf-8")
    compile_only = () if "-shared" in flags else ("-c",)
    subprocess.run([compiler, *flags, *compile_only, str(file), "-o", name], cwd=folder, check=True)
    return folder / name


def pair_objects(folder: Path, *, cured: bool = False, compiler: str = "g++") -> dict[str, Path]:
    """The specimen's objects by source: cpu, gpu, device."""
    folder.mkdir(exist_ok=True)
    suffix = ".o" if compiler == "g++" else ".obj"
    return {made.stem: made for made in Pair((compiler,), "gnu", cured, suffix).objects(folder)}


def linked(folder: Path, *objects: Path, name: str = "linked.so", compiler: str = "g++") -> Path:
    subprocess.run([compiler, "-shared", *map(str, objects), "-o", name], cwd=folder, check=True)
    return folder / name
