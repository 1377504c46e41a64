"""Kernels with a long in their parameters, Itanium and MSVC names."""

from __future__ import annotations

import pytest

from harness.audit import signatures
from harness.audit.model import Binary, FatBinary, Image


@pytest.mark.parametrize(
    ("symbol", "parameters"),
    [
        ("_Z1kPfl", ("long",)),
        ("_Z1kPfm", ("unsigned long",)),
        ("_Z1kPlPKm", ("long*", "unsigned long const*")),
        ("_Z1kPfx", ()),  # long long has 64 bits everywhere
        ("_Z1kPfy", ()),
        ("_Z1kIlEvPKT_PS0_i", ("long const*", "long*")),  # through the template's argument
        ("_Z1kIfEvPKT_PS0_i", ()),
        ("_Z1kIlEvPfi", ()),  # a template argument that is no parameter
        ("_Z1kN3ns14ViewIlLi2EEE", ("ns1::View<long, 2>",)),
        ("_Z1k9long_walk", ()),  # a type whose name only begins so
        ("_Z1kPFvlE", ("void (*)(long)",)),
        ("_Z1ke", ()),  # long double
        ("??$k@J@@YAXPEBJPEAJH@Z", ("long const *", "long *")),
        ("??$k@_J@@YAXPEB_JPEA_JH@Z", ()),
        ("plain", ()),
        ("_Z", ()),
        ("_Z1k" + "P" * 200_000 + "l", ()),  # would overflow the demangler's stack
    ],
)
def test_long_parameters(symbol: str, parameters: tuple[str, ...]) -> None:
    assert signatures.long_parameters(symbol) == parameters


def with_kernels(format: str, *kernels: str) -> Binary:
    image = Image("cubin", 80, "", 1, "1.8", None, kernels)
    return Binary("x", format, "x86-64", True, True, (), (), (), (FatBinary(".nv_fatbin", 0, False, (image,)),))


def test_on_linux_it_may_be_an_int64_t_and_that_is_said() -> None:
    binaries = [with_kernels("ELF", "_Z1kPfl")]
    verdict = signatures.verdict(binaries, signatures.find(binaries))
    assert verdict is not None and verdict.state == "warn" and "int64_t" in verdict.what


def test_on_windows_it_has_32_bits() -> None:
    binaries = [with_kernels("PE", "_Z1kPfl")]
    verdict = signatures.verdict(binaries, signatures.find(binaries))
    assert verdict is not None and verdict.state == "warn" and "32 bits here" in verdict.what and "int64_t" in verdict.fix


def test_without_kernels_nothing_is_claimed() -> None:
    assert signatures.verdict([with_kernels("ELF")], []) is None
    assert signatures.verdict([with_kernels("ELF", "_Z1kPf")], []) is not None
