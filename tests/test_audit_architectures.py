"""Which GPUs a fat binary runs on, by NVIDIA's rules of compatibility."""

from __future__ import annotations

import pytest

from harness.audit.architectures import parse_gpu, runs, verdicts
from harness.audit.model import Binary, FatBinary, Image
from harness.errors import UsageError


def image(arch: str, kernels: tuple[str, ...] | None = ("k",)) -> Image:
    prefix, _, number = arch.partition("_")
    suffix = number[-1] if number[-1] in "af" else ""
    kind = {"sm": "cubin", "compute": "ptx", "lto": "lto-ir"}[prefix]
    return Image(kind, int(number.removesuffix(suffix)), suffix, 100, "9.0", None, kernels)


def binary(*containers: tuple[str, ...], relocatable: bool = False) -> Binary:
    fats = tuple(FatBinary(".nv_fatbin", 0, relocatable, tuple(map(image, archs))) for archs in containers)
    return Binary("x.so", "ELF", "x86-64", True, True, (".nv_fatbin",), (), (), fats)


@pytest.mark.parametrize(
    ("arch", "yes", "no"),
    [
        ("sm_80", (80, 86, 89), (75, 90, 120)),
        ("sm_86", (86, 89), (80, 87)),  # 87 is a Tegra: its binaries are its own
        ("sm_87", (87,), (86, 89)),
        ("sm_90a", (90,), (100, 89)),
        ("sm_100f", (100, 103), (110, 120, 90)),
        ("sm_100a", (100,), (103,)),
        ("compute_75", (75, 80, 90, 120), (70,)),
        ("compute_90a", (90,), (100,)),
        ("compute_100f", (100, 103), (120, 90)),
        ("lto_80", (), (80, 86)),
    ],
)
def test_what_runs_where(arch: str, yes: tuple[int, ...], no: tuple[int, ...]) -> None:
    assert {gpu for gpu in (*yes, *no) if runs(image(arch), gpu)} == set(yes)


@pytest.mark.parametrize(("text", "gpu"), [("sm_120", 120), ("12.0", 120), ("120", 120), ("SM_90a", 90), ("8.6", 86)])
def test_names_of_a_gpu(text: str, gpu: int) -> None:
    assert parse_gpu(text) == gpu


@pytest.mark.parametrize("text", ["", "rtx5090", "sm_", "9", "12.", "sm_-1", "1200", "\u0661\u0662.0"])
def test_what_is_no_gpu(text: str) -> None:
    with pytest.raises(UsageError, match="--gpu"):
        parse_gpu(text)


def test_no_kernel_image_is_a_failure_with_the_flag_that_cures_it() -> None:
    (verdict,) = verdicts([binary(("sm_80", "sm_86"))], 120)
    assert verdict.state == "fail" and "no kernel image" in verdict.what and "sm_80, sm_86" in verdict.what
    assert 'TORCH_CUDA_ARCH_LIST="12.0+PTX"' in verdict.fix


def test_ptx_alone_is_a_warning_that_speaks_of_the_driver() -> None:
    (verdict,) = verdicts([binary(("sm_80", "compute_80"))], 120)
    assert verdict.state == "warn" and "PTX 9.0" in verdict.what and "222" in verdict.fix


def test_code_for_it_is_ok() -> None:
    assert verdicts([binary(("sm_80", "sm_120"))], 120)[0].state == "ok"


def test_one_translation_unit_without_code_is_enough_to_fail() -> None:
    (verdict,) = verdicts([binary(("sm_80", "sm_120"), ("sm_80",))], 120)
    assert verdict.state == "fail" and "1 of its 2 fat binaries" in verdict.what


def test_what_is_never_launched_is_not_judged() -> None:
    assert verdicts([binary(("sm_80",), relocatable=True)], 120) == []
    empty = FatBinary(".nv_fatbin", 0, False, (image("sm_80", ()),))  # what a device link adds when there is nothing to link
    full = FatBinary(".nv_fatbin", 64, False, (image("sm_120"),))
    (verdict,) = verdicts([Binary("x.so", "ELF", "x86-64", True, True, (), (), (), (empty, full))], 120)
    assert verdict.state == "ok"
    unknown = FatBinary(".nv_fatbin", 0, False, (image("sm_80", None),))  # names that could not be read: it may have kernels
    assert verdicts([Binary("x.so", "ELF", "x86-64", True, True, (), (), (), (unknown,))], 120)[0].state == "fail"


def test_without_a_gpu_in_mind_it_says_what_there_is() -> None:
    (verdict,) = verdicts([binary(("sm_80",))], None)
    assert verdict.state == "ok" and "no PTX" in verdict.what
