"""Every compiler lays the structs out as sim3solve/abi.py says: sizes and the offsets of all fields."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import pytest

from sim3solve import abi, compiler, native
from sim3solve.build import KERNELS, inline_sources

STRUCTS = {"Problem": abi.ProblemStruct, "Options": abi.OptionsStruct, "Result": abi.ResultStruct, "Step": abi.StepStruct}


def assertions(shift: int = 0) -> str:
    """problem.cuh, and what abi.py says of it. ``shift`` falsifies every size."""
    lines = [inline_sources("problem.cuh")]
    for name, struct in {**STRUCTS, "View": abi.View, "Mask": abi.Mask}.items():
        lines.append(f'static_assert(sizeof({name}) == {ctypes.sizeof(struct) + shift}, "{name}");')
        for field, *_ in struct._fields_:
            offset = getattr(struct, field).offset
            lines.append(f'static_assert(__builtin_offsetof({name}, {field}) == {offset}, "{name}.{field}");')
    return "\n".join(lines) + "\n"


def test_sizes_are_those_stated():
    assert {name: ctypes.sizeof(struct) for name, struct in STRUCTS.items()} == abi.SIZES


def compile_with(argv: list[str], source: str, folder) -> subprocess.CompletedProcess:
    file = folder / ("abi.cu" if "nvcc" in argv[0] else "abi.cpp")
    file.write_text(source)
    return subprocess.run([*argv, str(file)], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def found() -> compiler.Compiler:
    try:
        return compiler.find()
    except compiler.CompilerMissing as error:
        pytest.skip(str(error))


def test_the_host_compiler_agrees(tmp_path, found):
    if found.style != "gnu":
        pytest.skip("needs __builtin_offsetof; the library's own sizes are checked when it is loaded")
    argv = [*found.command, "-std=c++17", "-c", "-o", "abi.o"]
    done = compile_with(argv, assertions(), tmp_path)
    assert done.returncode == 0, done.stderr
    assert compile_with(argv, assertions(shift=8), tmp_path).returncode != 0  # so the test can fail


def test_the_device_compiler_agrees(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on PATH")
    done = compile_with([nvcc, "-std=c++17", "-arch=sm_90", "-cubin", "-o", "abi.cubin"], assertions(), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("found")
def test_the_loaded_library_agrees():
    sizes = (ctypes.c_int32 * 4)()
    native.library().sim3solve_host_sizes(sizes)
    assert dict(zip(abi.SIZES, sizes, strict=True)) == abi.SIZES


@pytest.mark.usefixtures("found")
def test_a_library_of_other_structs_is_refused(monkeypatch):
    file = compiler.shared_library(inline_sources("host.cpp"))
    monkeypatch.setitem(abi.SIZES, "Step", 64)
    with pytest.raises(native.NativeUnavailable, match="its structs have"):
        native.load(file)


def test_statuses_have_the_numbers_of_the_enum():
    text = (KERNELS / "problem.cuh").read_text(encoding="utf-8")
    for number, status in enumerate(abi.STATUSES):
        assert f"{status.value} = {number}" in text
