"""What one linked library still shows of a collision: a hint, and nothing where nothing can be seen."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from audit_specimens import KERNEL, assembled, fat_binary, linked, needs_elf, pair_objects, with_fat_binary

from harness.audit import linked as linked_files
from harness.audit.binary import read_binaries
from harness.audit.model import Binary, FatBinary, Function, Image

pytestmark = needs_elf


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return pair_objects(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def cured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return pair_objects(tmp_path_factory.mktemp("cured"), cured=True)


def read(file: Path) -> Binary:
    (binary,) = read_binaries(file)
    return binary


ROUTES = {
    "call": "call cudaLaunchKernel; ret",
    "jmp": "jmp cudaLaunchKernel",
    "short": "jmp near_stub\nnear_stub: jmp cudaLaunchKernel",
    "plt": "call cudaLaunchKernel@PLT; ret",
    "got": "jmp *cudaLaunchKernel@GOTPCREL(%rip)",
    "nothing": "ret",
    "another": "call elsewhere@PLT; ret",
}


@pytest.mark.parametrize("static_runtime", [True, False])
@pytest.mark.parametrize("route", ROUTES)
def test_every_way_to_a_launch_is_followed(route: str, static_runtime: bool, tmp_path: Path) -> None:
    """The runtime in the library itself (its functions local then) or in another."""
    lines = (
        ROUTES[route]
        .replace("near_stub:", ".type __wrapper__device_stub_k, @function\n__wrapper__device_stub_k:")
        .replace("near_stub", "__wrapper__device_stub_k")
    )
    if route == "short":
        lines += "\n.size __wrapper__device_stub_k, . - __wrapper__device_stub_k"
    launch = ".type cudaLaunchKernel, @function\n.hidden cudaLaunchKernel\n.globl cudaLaunchKernel\ncudaLaunchKernel: ret\n"
    if not static_runtime:
        launch = ""
        lines = lines.replace("call cudaLaunchKernel;", "call cudaLaunchKernel@PLT;").replace(
            "jmp cudaLaunchKernel", "jmp cudaLaunchKernel@PLT"
        )
        lines = lines.replace("@PLT@", "@")
    body = f".text\n{launch}.globl {KERNEL}\n.type {KERNEL}, @function\n{KERNEL}: {lines}\n.size {KERNEL}, . - {KERNEL}\n"
    stub = assembled(tmp_path, body, name="stub.o")
    fat = with_fat_binary(tmp_path, fat_binary())
    binary = read(linked(tmp_path, stub, fat))
    (kernel,) = [f for f in binary.functions if f.name == KERNEL]
    if route in ("nothing", "another") and not static_runtime:
        assert kernel.launches is None  # a file in which nothing launches: nobody can say
    else:
        assert kernel.launches is (route not in ("nothing", "another"))


def test_two_functions_of_a_kernels_name_are_no_fold() -> None:
    """Where both are still there, nothing was folded, whatever their code looks like."""
    function = Function(KERNEL, "local", 16, 1, False, False)
    image = Image("cubin", 80, "", 1, "1.8", None, (KERNEL,))
    fat = FatBinary(".nv_fatbin", 0, False, (image,))
    one = Binary("x.so", "ELF", "x86-64", True, True, (".nv_fatbin",), (function,), (), (fat,))
    assert linked_files.folded_kernels(one) == (KERNEL,)
    assert linked_files.folded_kernels(replace(one, functions=(function, replace(function, binding="weak", address=32)))) == ()


def test_a_linked_file_gives_a_hint(pair: dict[str, Path], cured: dict[str, Path], tmp_path: Path) -> None:
    fat = with_fat_binary(tmp_path, fat_binary())
    folded = linked(tmp_path, pair["cpu"], pair["gpu_stand_in"], pair["device"], fat, name="folded.so")
    whole = linked(tmp_path, cured["cpu"], cured["gpu_stand_in"], cured["device"], fat, name="whole.so")
    kept = linked(
        tmp_path, pair["gpu_stand_in"], pair["cpu"], pair["device"], fat, name="kept.so"
    )  # the stub came first and was kept
    states = {file.name: linked_files.verdicts([read(file)])[0] for file in (folded, whole, kept)}
    assert {name: v.state for name, v in states.items()} == {"folded.so": "fail", "whole.so": "ok", "kept.so": "ok"}
    assert all("hint, not proof" in v.what for v in states.values())
    assert KERNEL in states["folded.so"].what and "object files" in states["folded.so"].fix


def test_a_stripped_library_does_not_pass_for_a_good_one(pair: dict[str, Path], tmp_path: Path) -> None:
    fat = with_fat_binary(tmp_path, fat_binary())
    library = linked(tmp_path, pair["cpu"], pair["gpu_stand_in"], pair["device"], fat, name="stripped.so")
    subprocess.run(["strip", str(library)], check=True)
    (verdict,) = linked_files.verdicts([read(library)])
    assert verdict.state == "warn" and "stripped" in verdict.what
