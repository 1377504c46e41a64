"""NVRTC's DLL for Windows makes of the kernels what NVRTC on Linux makes of them. Under wine; nothing is run on a GPU.

Byte for byte the same: machine code, constants, kernels' parameters, registers. Different are only the sections for debuggers: they
name the folder that the compiler ran in, and hold the PTX, whose registers are numbered in another order.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from sim3solve import build, cuda_kernels

core = pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'sim3solve[cu13]'")
PACKAGE = "nvidia-cuda-nvrtc"
SHA256 = {"13.5.37": "e8e6c10b251385707ae3abd7b4ee118de6736fd7678d0f0f4eab4d759f679c21"}
"""Of the wheels for Windows. Another version comes with the package index's own hash, which pip checks."""
DEBUG = ("debug_", "nv_debug_")


def wheel() -> Path:
    """Windows' NVRTC of the very version that compiles here, downloaded once."""
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed: the extra cu13 has it")
    folder = build.cache_folder() / "windows" / "nvrtc" / version
    if not (found := sorted(folder.glob("*.whl"))):
        fetch = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--platform",
            "win_amd64",
        ]
        fresh = folder.with_name(f".{version}.{os.getpid()}")
        done = subprocess.run([*fetch, "-d", str(fresh), f"{PACKAGE}=={version}"], capture_output=True, text=True, timeout=200)
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            pytest.skip(f"{PACKAGE} {version} for Windows cannot be downloaded: {done.stderr.strip()[-200:]}")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
        found = sorted(folder.glob("*.whl"))
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    assert digest == SHA256.get(version, digest), f"{found[0]} is not what was pinned; delete it"
    return found[0]


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """A function that compiles, with Windows' NVRTC, what ``ProgramOptions`` of these arguments say. Returns the cubin's file."""
    wine, compiler = shutil.which("wine"), shutil.which("x86_64-w64-mingw32-gcc")
    if sys.platform != "linux" or wine is None or compiler is None:
        pytest.skip("needs Linux with wine and x86_64-w64-mingw32-gcc")
    folder = tmp_path_factory.mktemp("nvrtc")
    with zipfile.ZipFile(wheel()) as packed:
        for name in (it for it in packed.namelist() if it.endswith(".dll")):
            (folder / Path(name).name).write_bytes(packed.read(name))
    dll = next(folder.glob("nvrtc64_*.dll"))
    source = Path(__file__).parent / "nvrtc_compile.c"
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-o", str(folder / "compile.exe"), str(source)], check=True, timeout=60)
    quiet = {"WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml,winedbg.exe="}
    environment = {**os.environ, "WINEPREFIX": str(folder / "prefix"), **quiet}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([wine, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=240)

    def compiled(text: str, options: dict[str, Any]) -> Path:
        name = f"{options['arch']}-{len(options)}"
        (folder / f"{name}.cu").write_text(text, encoding="utf-8", newline="\n")
        program = core.ProgramOptions(**options)
        (folder / f"{name}.options").write_bytes(b"\n".join(program.as_bytes("nvrtc")))
        done = run("compile.exe", dll.name, f"{name}.cu", program.name, f"{name}.options", f"{name}.cubin")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith(f"NVRTC {'.'.join(importlib.metadata.version(PACKAGE).split('.')[:2])}"), done.stdout
        return folder / f"{name}.cubin"

    run("winecfg", "-v", "win10")
    yield compiled
    subprocess.run(["wineserver", "-k"], env=environment, timeout=60)


def sections(cubin: Path) -> dict[str, bytes]:
    """Name and bytes of every section, in order."""
    with cubin.open("rb") as file:
        return {section.name: section.data() for section in ELFFile(file).iter_sections()}


def for_debuggers(name: str) -> bool:
    return name.removeprefix(".nv.merc").lstrip(".").removeprefix("rela.").removeprefix("rel.").startswith(DEBUG)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("arch", ["90", pytest.param("120", marks=pytest.mark.slow)])
def test_the_kernels_become_the_same_machine_code_as_on_linux(windows, tmp_path, monkeypatch, record_property, arch):
    monkeypatch.setenv("SIM3SOLVE_CACHE", str(tmp_path))
    here = sections(cuda_kernels.compile_cubin(arch))
    there = sections(windows(*cuda_kernels.compiler_input(arch)))
    assert list(here) == list(there)
    differing = [name for name in here if here[name] != there[name]]
    assert [name for name in differing if not for_debuggers(name)] == []
    code = [name for name in here if name.startswith(".text.")]
    assert set(code) >= {f".text.{entry}" for entry in cuda_kernels.ENTRIES}
    record_property(f"sm_{arch}", f"{sum(len(here[name]) for name in code)} bytes of code equal; differing: {' '.join(differing)}")


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_without_line_information_the_whole_file_is_the_same(windows):
    source, options = cuda_kernels.compiler_input("75")
    options = {name: value for name, value in options.items() if name != "lineinfo"}
    here = bytes(core.Program(source, "c++", core.ProgramOptions(**options)).compile("cubin").code)
    assert windows(source, options).read_bytes() == here
