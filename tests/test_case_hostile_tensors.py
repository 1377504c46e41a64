"""A stranger's tensors.safetensors: the values in it, or a refusal."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from case_factory import set_tensors
from hostile_case import NESTED, assert_as_the_library_reads, bytes_of, change_at, put, refused, spots
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import Case
from harness.casefile import TENSORS

pytestmark = pytest.mark.usefixtures("quick_disk")  # what survives a power cut is not at issue here


def test_every_truncation_of_the_tensors(original: Case, place: Path) -> None:
    data = bytes_of(original, TENSORS)
    for n in range(len(data)):
        assert refused(put(place, original, tensors=data[:n])).field == "sha256"


def test_every_bit_flip_of_the_tensors(original: Case, place: Path) -> None:
    data = bytes_of(original, TENSORS)
    put(place, original)
    for i in range(len(data)):
        for bit in range(8) if i % 8 == 0 else (i % 8,):
            flipped = bytearray(data)
            flipped[i] ^= 1 << bit
            (place / TENSORS).write_bytes(flipped)
            assert refused(place).field == "sha256"


def test_truncations_with_a_mended_hash(original: Case, place: Path) -> None:
    data = bytes_of(original, TENSORS)
    put(place, original)
    assert not any(assert_as_the_library_reads(place, data[:n]) for n in range(0, len(data), 3))


def test_bit_flips_with_a_mended_hash(original: Case, place: Path) -> None:
    data, rng = bytes_of(original, TENSORS), random.Random(2)
    put(place, original)
    header_end = 8 + int.from_bytes(data[:8], "little")
    survivors = 0
    for i in range(0, len(data), 2):
        flipped = bytearray(data)
        flipped[i] ^= 1 << rng.randrange(8)
        survived = assert_as_the_library_reads(place, bytes(flipped))
        survivors += survived
        assert not (survived and i < 8)
    assert survivors <= (len(data) - header_end)


def rebuilt(original: Case, change: Callable[[dict[str, Any]], Any] | None = None, body: bytes | None = None) -> bytes:
    """The original's tensor file with a changed header or body, put together by hand."""
    data = bytes_of(original, TENSORS)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    if change is not None:
        change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + (data[end:] if body is None else body)


def entry(name: str, **change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(change)


HEADERS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("Xf.dtype", entry("Xf", dtype="F64")),
    ("Xf.dtype", entry("Xf", dtype="I32")),
    ("Xf.dtype", entry("Xf", dtype="F8_E4M3")),
    ("Xf.dtype", entry("Xf", dtype="PICKLE")),
    ("Xf.dtype", entry("Xf", dtype=None)),
    ("Xf.dtype", entry("Xf", dtype=["F32"])),
    ("Xf.shape", entry("Xf", shape=[3, 2])),
    ("Xf.shape", entry("Xf", shape=[6])),
    ("Xf.shape", entry("Xf", shape=[1] * 100)),
    ("Xf.shape", entry("Xf", shape=[1 << 63, 0])),
    ("Xf.shape", entry("Xf", shape=[-2, -3])),
    ("Xf.shape", entry("Xf", shape=[2.0, 3.0])),
    ("Xf.shape", entry("Xf", shape=["2", "3"])),
    ("Xf.shape", entry("Xf", shape={"0": 2})),
    ("Xf.shape", entry("Xf", shape=None)),
    ("Xf.data_offsets", entry("Xf", data_offsets=[0, 1 << 70])),
    ("Xf.data_offsets", entry("Xf", data_offsets=[-24, 0])),
    ("Xf.data_offsets", entry("Xf", data_offsets=[24, 0])),
    ("Xf.data_offsets", entry("Xf", data_offsets=[0])),
    ("Xf.data_offsets", entry("Xf", data_offsets=[0, 24, 24])),
    ("Xf.data_offsets", entry("Xf", data_offsets=[0.0, 24.0])),
    ("Xf.data_offsets", entry("Xf", data_offsets=[False, 24])),
    ("Xf.data_offsets", entry("Xf", data_offsets="0:24")),
    ("Xf", lambda header: header.pop("Xf")),
    ("Xf", lambda header: header.update(Xf=[])),
    ("Xf", lambda header: header["Xf"].pop("shape")),
    ("Xf", entry("Xf", more=1)),
    ("extra", lambda header: header.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})),
    ("Xk.data_offsets", lambda header: header["Xk"].update(data_offsets=header["Xf"]["data_offsets"])),
]


@pytest.mark.parametrize(("field", "change"), HEADERS, ids=[f"{field}-{i}" for i, (field, _) in enumerate(HEADERS)])
def test_hostile_headers(original: Case, place: Path, field: str, change: Callable[[dict[str, Any]], Any]) -> None:
    set_tensors(put(place, original), rebuilt(original, change))
    error = refused(place)
    assert (Path(error.file).name, error.field) == (TENSORS, field)


@pytest.mark.parametrize("length", [0, 1, 7, 1 << 20, (1 << 20) + 1, 1 << 31, 1 << 62, (1 << 64) - 1])
def test_hostile_header_lengths(original: Case, place: Path, length: int) -> None:
    data = struct.pack("<Q", length) + bytes_of(original, TENSORS)[8:]
    set_tensors(put(place, original), data)
    assert refused(place).field == "header"


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b"{", b"[" * NESTED, b'{"Xf":NaN}', b"\xff\xfe", b'{"Xf":1,"Xf":1}', b'{"a":' * NESTED, b"{1:2}"]
)
def test_headers_that_are_none(original: Case, place: Path, text: bytes) -> None:
    set_tensors(put(place, original), struct.pack("<Q", len(text)) + text)
    assert refused(place).field == "header"


def test_values_before_between_and_after_the_tensors(original: Case, place: Path) -> None:
    put(place, original)
    body = bytes_of(original, TENSORS)[8 + int.from_bytes(bytes_of(original, TENSORS)[:8], "little") :]

    def shift(header: dict[str, Any]) -> None:
        for one in header.values():
            one["data_offsets"] = [offset + 8 for offset in one["data_offsets"]]

    for data in (rebuilt(original, body=body + b"\0"), rebuilt(original, shift, b"\0" * 8 + body)):
        set_tensors(place, data)
        assert refused(place).field.endswith(("file", "data_offsets"))


def test_a_mask_of_other_bytes_than_0_and_1(original: Case, place: Path) -> None:
    data = bytearray(bytes_of(original, TENSORS))
    data[-1] = 2
    set_tensors(put(place, original), bytes(data))
    assert refused(place).field == "valid_opt"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fuzzed_headers(original: Case, place: Path, data: st.DataObject) -> None:
    put(place, original)
    raw = bytes_of(original, TENSORS)
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    text = json.dumps(change_at(header, data.draw(st.sampled_from(spots(header))), data)).encode()
    assert_as_the_library_reads(place, struct.pack("<Q", len(text)) + text + raw[end:])
