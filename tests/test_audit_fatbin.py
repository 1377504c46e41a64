"""Fat binaries are read for what they are, compressed or not; a damaged one is an error that says where."""

from __future__ import annotations

import struct
import sys

import pytest
from audit_specimens import KERNEL, fat_binary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.audit.fatbin import read_fat_binaries
from harness.audit.model import Image
from harness.errors import AuditError

TARGETS = ("sm_80", "sm_90a", "sm_100f", "compute_90")
KERNELS = {KERNEL, "plain"}


def images(data: bytes, section: str = ".nv_fatbin") -> list[Image]:
    return [image for fat in read_fat_binaries(data, "f.o", section) for image in fat.images]


@pytest.mark.parametrize(
    ("options", "compression"),
    [
        (("-compress=false",), {None}),
        (("-compress-all", "-compress-mode=size"), {"zstd"}),
        (("-compress-all", "-compress-mode=speed"), {"lz4"}),
        ((), {None, "zstd"}),
    ],
)
def test_kinds_architectures_and_kernels(options: tuple[str, ...], compression: set[str | None]) -> None:
    found = images(fat_binary(TARGETS, *options))
    assert [(i.kind, i.arch) for i in found] == [
        ("cubin", "sm_80"), ("cubin", "sm_90a"), ("cubin", "sm_100f"), ("ptx", "compute_90"),
    ]  # fmt: skip
    assert {i.compression for i in found} == compression
    assert all(set(i.kernels or ()) == KERNELS for i in found), [i.reason for i in found]
    assert found[3].isa.startswith("9.")


def test_containers_one_after_the_other_and_relocatable_ones() -> None:
    data = fat_binary() + b"\0" * 24 + fat_binary(("sm_90",))
    assert [[i.arch for i in fat.images] for fat in read_fat_binaries(data, "f.o", ".nv_fatbin")] == [
        ["sm_80", "compute_80"],
        ["sm_90"],
    ]
    assert not read_fat_binaries(data, "f.o", ".nv_fatbin")[0].relocatable
    assert all(fat.relocatable for fat in read_fat_binaries(data, "f.o", "__nv_relfatbin"))


@pytest.mark.parametrize(("mode", "package"), [("size", "zstandard"), ("speed", "lz4.block")])
def test_without_the_package_the_names_are_said_to_be_unknown(mode: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for image in images(fat_binary(TARGETS, "-compress-all", f"-compress-mode={mode}")):
        assert image.kernels is None
        assert image.reason is not None and f"the package {package} is not installed" in image.reason
        assert image.arch and image.size


def test_a_name_in_a_comment_of_ptx_is_no_kernel() -> None:
    data = bytearray(fat_binary(("compute_80",), "-compress=false"))
    at = data.index(b".visible .entry plain")
    data[at : at + 2] = b"//"
    assert images(bytes(data))[0].kernels == (KERNEL,)


def patched(field: str, value: int, options: tuple[str, ...] = ("-compress=false",)) -> bytes:
    """The first image's header with one number changed."""
    data = bytearray(fat_binary(("sm_80", "compute_80"), *options))
    form, at = {"header": ("<I", 20), "size": ("<Q", 24), "compressed": ("<I", 32), "full": ("<Q", 72), "flags": ("<Q", 56)}[field]
    struct.pack_into(form, data, at, value)
    return bytes(data)


@pytest.mark.parametrize("value", [1 << 20, (1 << 64) - 1, (1 << 63) + 16])
def test_a_size_past_the_end_names_the_image(value: int) -> None:
    with pytest.raises(AuditError, match=r"f\.o: \.nv_fatbin\+0x10\.size: "):
        images(patched("size", value))


@pytest.mark.parametrize("value", [0, 63, 0xFFFFFFFF])
def test_a_header_of_impossible_size(value: int) -> None:
    with pytest.raises(AuditError, match=r"\.nv_fatbin\+0x10"):
        images(patched("header", value))


def test_more_compressed_than_stored() -> None:
    with pytest.raises(AuditError, match=r"\.nv_fatbin\+0x10\.size"):
        images(patched("compressed", 0xFFFFFFF0))


@pytest.mark.parametrize("full_size", [0, 1, 1 << 40, (1 << 64) - 1])
@pytest.mark.parametrize("mode", ["size", "speed"])
def test_a_lie_about_the_decompressed_size_costs_only_the_names(full_size: int, mode: str) -> None:
    found = images(patched("full", full_size, ("-compress-all", f"-compress-mode={mode}")))
    assert found[0].kernels is None and found[0].reason is not None
    assert set(found[1].kernels or ()) == KERNELS


def test_a_bomb_is_not_unpacked() -> None:
    zstandard = pytest.importorskip("zstandard")
    bomb = zstandard.ZstdCompressor(level=1).compress(b"\0" * (400 << 20))
    assert len(bomb) < 1_000_000
    bomb += b"\0" * (-len(bomb) % 8)
    entry = struct.pack("<HHIQIIHHIIIQQQ", 2, 0x101, 64, len(bomb), 0, 0, 8, 1, 80, 0, 0, 0x8011, 0, 400 << 20)
    data = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 64 + len(bomb)) + entry + bomb
    (image,) = images(data)
    assert image.kernels is None and "over the limit" in str(image.reason)
    lying = bytearray(data)
    struct.pack_into("<Q", lying, 72, 4096)
    (image,) = images(bytes(lying))
    assert image.kernels is None and "its frame says" in str(image.reason)


def test_a_cubin_that_is_none_is_said_to_be_malformed() -> None:
    data = bytearray(fat_binary(("sm_80",), "-compress=false"))
    data[data.index(b"\x7fELF")] = 0
    (image,) = images(bytes(data))
    assert image.kernels is None and "malformed" in str(image.reason)


def test_a_section_without_a_fat_binary() -> None:
    with pytest.raises(AuditError, match=r"f\.o: \.nv_fatbin: holds no fat binary"):
        images(b"\1" * 64)
    assert images(b"\0" * 64) == []


def test_every_cut_is_an_error_that_names_the_section() -> None:
    data = fat_binary(("sm_80", "compute_80"))
    for length in range(4, len(data), 97):
        with pytest.raises(AuditError, match=r"^f\.o: \.nv_fatbin\+0x"):
            images(data[:length])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8),
    mode=st.sampled_from(["size", "speed"]),
)
def test_any_bytes_give_images_or_an_audit_error(edits: list[tuple[int, int]], mode: str) -> None:
    data = bytearray(fat_binary(("sm_80", "compute_80"), "-compress-all", f"-compress-mode={mode}"))
    for at, value in edits:
        data[at % (len(data) if at % 2 else 160)] = value  # half of them where the headers are
    try:
        images(bytes(data))
    except AuditError as error:
        assert error.field.startswith(".nv_fatbin")
