"""A stranger's case: read right, or refused with file and field. No other exception, no waiting, no values nobody wrote."""

from __future__ import annotations

import copy
import json
import os
import random
import socket
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from case_factory import edit_document, make_case, make_generated, same_bits, set_tensors, written
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import casefile, jsonfile, layout
from harness.case import Case, TensorSpec
from harness.casefile import DOCUMENT, MAX_DOCUMENT_BYTES, TENSORS, read_case, write_case
from harness.errors import CaseError

FULL: dict[str, Any] = {
    "kind": "calib", "n": 2, "seed": 3, "title": "t", "tags": ("a",), "truth_T_CkCf": (0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.25),
    "options": {"img_size": (96, 128), "sigma_ray": 0.004, "max_iters": 9},
    "expect": {"outcomes": ("OK",), "statuses": ("CONVERGED",)},
    "recorded": {"event": "raised", "exception": "E"},
    "specs": {"Qk": TensorSpec(dtype="float16", shape=(2, 1), stride=(3, 1), storage_offset=2, data_ptr_mod_512=36, device="cuda:0",
                               alias_group=None, original_storage_offset=7)},
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A case on disk with most optional fields set. Tests change copies of it."""
    return write_case(make_case(**FULL), tmp_path_factory.mktemp("original") / "c")


@pytest.fixture(scope="module")
def original_op(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(make_case("op", 2, op="mul"), tmp_path_factory.mktemp("original") / "c")


@pytest.fixture(scope="module")
def original_generated(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(make_generated(4), tmp_path_factory.mktemp("original") / "c")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # what survives a power cut is not at issue here


def put(place: Path, original: Case, document: bytes | None = None, tensors: bytes | None = None) -> Path:
    assert original.path is not None
    for name, data in ((DOCUMENT, document), (TENSORS, tensors)):
        if data is not None or (original.path / name).exists():
            (place / name).write_bytes((original.path / name).read_bytes() if data is None else data)
    return place


def bytes_of(original: Case, name: str) -> bytes:
    assert original.path is not None
    return (original.path / name).read_bytes()


def attempt(folder: Path) -> Case | None:
    """The case, or None after a ``CaseError`` that says where."""
    try:
        case = read_case(folder)
    except CaseError as error:
        assert Path(error.file).parent == folder or Path(error.file) == folder
        assert error.field
        assert error.reason
        assert str(error).isprintable()
        return None
    layout.arrays(case)
    return case


def refused(folder: Path) -> CaseError:
    with pytest.raises(CaseError) as caught:
        read_case(folder)
    return caught.value


def assert_as_written(case: Case, original: Case) -> None:
    """The original's bits, and a document that says what the file says and nothing else."""
    assert set(case.values) == set(original.values)
    for name, values in original.values.items():
        assert same_bits(case.values[name], values), name
    assert case.path is not None
    stated = json.loads((case.path / DOCUMENT).read_text())
    assert case.document.model_dump(mode="json", by_alias=True, exclude_unset=True) == stated


# case.json: bytes


def test_every_truncation_of_the_document(original: Case, place: Path) -> None:
    text = bytes_of(original, DOCUMENT)
    for n in range(len(text) - 2):
        assert attempt(put(place, original, document=text[:n])) is None


def test_bit_flips_of_the_document(original: Case, place: Path) -> None:
    text, rng = bytes_of(original, DOCUMENT), random.Random(1)
    survivors = 0
    for i in range(len(text)):
        flipped = bytearray(text)
        flipped[i] ^= 1 << rng.randrange(8)
        case = attempt(put(place, original, document=bytes(flipped)))
        if case is not None:
            survivors += 1
            assert_as_written(case, original)
    assert 0 < survivors < len(text) / 2


NESTED = 100_000


@pytest.mark.parametrize(
    "text",
    {
        "empty": b"", "space": b" " * MAX_DOCUMENT_BYTES, "nul": b"\0", "null": b"null", "list": b"[]", "object": b"{}",
        "string": b'"x"', "trailing": b"{} {}", "comment": b"{} // x",
        "bom": b"\xef\xbb\xbf{}", "utf16": "{}".encode("utf-16"), "latin1": b'{"id": "\xe9"}', "overlong": b'{"id": "\xc0\x80"}',
        "surrogate bytes": b'{"id": "\xed\xa0\x80"}', "surrogate escape": b'{"id": "\\ud800"}', "surrogate key": b'{"\\ud800": 1}',
        "deep lists": b"[" * NESTED, "deep objects": b'{"a":' * NESTED, "deep and closed": b"[" * NESTED + b"]" * NESTED,
        "nan": b'{"id": NaN}', "infinity": b'{"id": -Infinity}', "overflow": b'{"id": 1e999}',
        "huge int": b'{"id": ' + b"9" * 900_000 + b"}", "huge exponent": b'{"id": 1e' + b"9" * 900_000 + b"}",
        "twice": b'{"id": "a", "id": "a"}', "many keys": b"{" + b",".join(b'"k%d":0' % i for i in range(80_000)) + b"}",
        "long key": b'{"' + b"k" * 900_000 + b'": 0}', "escape": b'{"\\u001b[2J\\u001b[31m": 0}',
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_documents_that_are_none(original: Case, place: Path, text: tuple[str, bytes]) -> None:
    error = refused(put(place, original, document=text[1]))
    assert Path(error.file).name == DOCUMENT
    assert str(error).isprintable()
    assert len(str(error)) < 3000


def test_a_repeated_key_deep_inside_is_refused(original: Case, place: Path) -> None:
    text = bytes_of(original, DOCUMENT).replace(b'"dtype": "float32"', b'"dtype": "float32", "dtype": "float32"', 1)
    assert "twice" in refused(put(place, original, document=text)).reason


def test_endless_numbers_are_refused_whatever_the_interpreter_allows() -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        start = time.perf_counter()
        with pytest.raises(ValueError, match="digits"):
            jsonfile.parse(b"9" * 1_000_000)
        assert time.perf_counter() - start < 0.5
    finally:
        sys.set_int_max_str_digits(limit)


# case.json: values

anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(-(10**90), 10**90),
        st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
        st.sampled_from([1 << 24, (1 << 24) + 1, 1 << 31, 1 << 63, 1 << 64, -1, 0, 511, 512, 2.0, 1e308, 5e-324, -0.0]),
        st.sampled_from(["float32", "bool", "cpu", "cuda:9", "calib", "op", "inv", "room", "CONVERGED", "0" * 64]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(spot for key, item in items for spot in spots(item, (*path, key)))]


def change_at(fields: Any, path: tuple[Any, ...], data: st.DataObject) -> Any:
    """``fields`` with the value at ``path`` replaced, removed, or given a member more."""
    if not path:
        return data.draw(anything)
    changed = copy.deepcopy(fields)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    what = data.draw(st.sampled_from(["replace", "replace", "remove", "add", "near"]))
    if what == "remove":
        del parent[path[-1]]
    elif what == "add" and isinstance(parent, dict):
        parent[data.draw(st.sampled_from(["generator", "op", "alias_group", "dtype", "x"]) | st.text(max_size=5))] = data.draw(
            anything
        )
    elif what == "near" and type(parent[path[-1]]) in (int, float):
        parent[path[-1]] += data.draw(st.integers(-3, 3))
    else:
        parent[path[-1]] = data.draw(anything)
    return changed


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_fuzzed_documents(original: Case, place: Path, data: st.DataObject) -> None:
    fuzz_document(original, place, data)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_fuzzed_op_documents(original_op: Case, place: Path, data: st.DataObject) -> None:
    fuzz_document(original_op, place, data)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_fuzzed_generated_documents(
    original_generated: Case, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    fuzz_document(original_generated, tmp_path_factory.mktemp("generated"), data)


def fuzz_document(original: Case, place: Path, data: st.DataObject) -> None:
    fields = json.loads(bytes_of(original, DOCUMENT))
    for _ in range(data.draw(st.integers(1, 2))):
        fields = change_at(fields, data.draw(st.sampled_from(spots(fields))), data)
        if not isinstance(fields, dict):
            break
    case = attempt(put(place, original, document=json.dumps(fields).encode()))
    if case is not None:
        assert_as_written(case, original)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
def test_random_bytes_as_a_document(original: Case, place: Path, data: bytes) -> None:
    assert attempt(put(place, original, document=data)) is None


def tensor(name: str, **change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["tensors"][name].update(change)


def top(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update(change)


def both(*changes: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def apply(fields: dict[str, Any]) -> None:
        for change in changes:
            change(fields)

    return apply


BIG = 1 << 24
WRONG: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("schema", top(schema="sim3solve-case/2")),
    ("schema", lambda fields: fields.pop("schema")),
    ("id", top(id="../x")),
    ("id", top(id="a/b")),
    ("id", top(id="a\n")),
    ("id", top(id="nul")),
    ("kind", top(kind="pickle")),
    ("title", top(title="x" * 301)),
    ("title", top(title=3)),
    ("surprise", top(surprise=1)),
    ("tags", top(tags=["x"] * 33)),
    ("tags.0", top(tags=["x" * 61])),
    ("requires.0", top(requires=["root"])),
    ("truth_T_CkCf.7", top(truth_T_CkCf=[1.0] * 7)),
    ("expect.statuses.0", top(expect={"statuses": [[]]})),
    ("expect.statuses.0", top(expect={"statuses": [{}]})),
    ("expect.statuses.1", top(expect={"statuses": ["CONVERGED", "WELL"]})),
    ("expect.parity", top(expect={"parity": 1})),
    ("options.huber", top(options={"img_size": [1, 1], "huber": 0.0})),
    ("options.huber", top(options={"img_size": [1, 1], "huber": "1"})),
    ("options.huber", top(options={"img_size": [1, 1], "huber": True})),
    ("options.max_iters", top(options={"img_size": [1, 1], "max_iters": 10_001})),
    ("options.max_iters", top(options={"img_size": [1, 1], "max_iters": 10**90})),
    ("options.img_size", top(options={})),
    ("options.img_size", top(options={"img_size": [0, 5]})),
    ("options.img_size.1", top(options={"img_size": [5, 1 << 21]})),
    ("recorded.event", top(recorded={"event": "lost"})),
    ("recorded.T_WCf.3", top(recorded={"T_WCf": [0, 0, 0, "nan", 0, 0, 1, 1]})),
    ("tensors_sha256", top(tensors_sha256="0" * 63)),
    ("tensors_sha256", top(tensors_sha256="G" * 64)),
    ("op", top(op={"name": "inv"})),
    ("op.name", top(op={"name": "system"})),
    ("op", top(kind="op")),
    ("generator", top(generator={"scene": "room", "n_points": 2, "seed": 1})),
    ("generator.scene", top(generator={"scene": "/etc/passwd", "n_points": 2, "seed": 1})),
    ("generator.n_points", top(generator={"scene": "room", "n_points": BIG + 1, "seed": 1})),
    ("generator.seed", top(generator={"scene": "room", "n_points": 2, "seed": 1 << 63})),
    ("tensors", top(tensors=[])),
    ("tensors", top(tensors={str(i): {"dtype": "float32", "shape": [1], "stride": [1]} for i in range(33)})),
    ("tensors.Xf", lambda fields: fields["tensors"].pop("Xf")),
    ("tensors.Zf", lambda fields: fields["tensors"].update(Zf=fields["tensors"]["Xf"])),
    ("tensors.Xf.dtype", tensor("Xf", dtype="complex64")),
    ("tensors.Xf.dtype", tensor("Xf", dtype="int64")),
    ("tensors.Xf.dtype", tensor("Xf", dtype="bool")),
    ("tensors.valid_opt.dtype", tensor("valid_opt", dtype="uint8")),
    ("tensors.Xk.shape", tensor("Xk", shape=[3, 3])),
    ("tensors.Xk.shape.0", tensor("Xk", shape=[-2, 3])),
    ("tensors.Xk.shape.0", tensor("Xk", shape=[BIG + 1, 3])),
    ("tensors.Xk.shape.0", tensor("Xk", shape=[10**90, 3])),
    ("tensors.Xk.shape", tensor("Xk", shape=[1] * 5, stride=[1] * 5)),
    ("tensors.Xk.stride", tensor("Xk", stride=[3])),
    ("tensors.Xk.stride.0", tensor("Xk", stride=[-3, 1])),
    ("tensors.Xk.stride.0", tensor("Xk", stride=[(1 << 31) + 1, 1])),
    ("tensors.Xk.stride", tensor("Xk", stride=[1 << 31, 1])),
    ("tensors.Xk.stride", tensor("Xk", stride=[1 << 29, 1])),
    ("tensors.Xk.stride", tensor("Xk", storage_offset=1 << 30)),
    ("tensors.Xk.stride", tensor("Xk", shape=[BIG, BIG, BIG, BIG], stride=[0, 0, 0, 0])),
    ("tensors", both(tensor("Xk", stride=[1 << 28, 1]), tensor("Xf", stride=[1 << 28, 1]))),
    ("tensors", both(tensor("Xk", storage_offset=1 << 28), tensor("Xf", storage_offset=1 << 28))),
    ("tensors.Xk.storage_offset", tensor("Xk", storage_offset=-1)),
    ("tensors.Xk.storage_offset", tensor("Xk", storage_offset=1.0)),
    ("tensors.Xk.original_storage_offset", tensor("Xk", original_storage_offset=1 << 63)),
    ("tensors.Xk.data_ptr_mod_512", tensor("Xk", data_ptr_mod_512=512)),
    ("tensors.Xk.data_ptr_mod_512", tensor("Xk", data_ptr_mod_512=2)),
    ("tensors.Xk.device", tensor("Xk", device="cuda:\u0663")),
    ("tensors.Xk.device", tensor("Xk", device="cpu\n")),
    ("tensors.Xk.alias_group", tensor("Xk", alias_group="=Xf")),
    ("tensors.Xk.alias_group", tensor("Xk", alias_group="")),
    ("tensors.Xk.data_ptr_mod_512", both(tensor("Xf", alias_group="g"), tensor("Xk", alias_group="g", data_ptr_mod_512=4))),
    ("tensors.Xk.data_ptr_mod_512", both(tensor("Xf", alias_group="g"), tensor("Xk", alias_group="g", storage_offset=1))),
    ("tensors.Xk.device", both(tensor("Xf", alias_group="g"), tensor("Xk", alias_group="g", device="cuda"))),
    ("tensors.Xf", both(tensor("Xf", alias_group="g"), tensor("Xk", alias_group="g"))),
    ("tensors.Xk", tensor("Xk", stride=[0, 1])),
    ("Xk.dtype", tensor("Xk", dtype="float16")),
    ("tensors_sha256", top(tensors_sha256=None)),
    ("provenance", lambda fields: fields.pop("provenance")),
    ("provenance.versions.a", top(provenance={"source": "", "licence": "", "versions": {"a": 1}})),
]


@pytest.mark.parametrize(("field", "change"), WRONG, ids=[f"{field}-{i}" for i, (field, _) in enumerate(WRONG)])
def test_a_wrong_field_is_named(original: Case, place: Path, field: str, change: Callable[[dict[str, Any]], Any]) -> None:
    edit_document(put(place, original), change)
    tracemalloc.start()
    try:
        error = refused(place)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.field == field
    assert peak < 4 << 20


def test_an_alias_group_cannot_take_another_tensors_own_window() -> None:
    assert layout.groups(make_case().document.tensors).keys() == {"=Xf", "=Xk", "=T_WCf", "=T_WCk", "=Qk", "=valid_opt"}


def test_a_wide_window_costs_nothing_to_check(original: Case, place: Path) -> None:
    edit_document(put(place, original), tensor("Xk", stride=[1 << 28, 1]))
    tracemalloc.start()
    try:
        case = read_case(place)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert_as_written(case, original)


def test_running_out_of_memory_is_a_case_error(original: Case, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(casefile, "_read_tensors", exhausted)
    assert refused(put(place, original)).field == "tensors"


# tensors.safetensors


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


def assert_as_the_library_reads(place: Path, data: bytes) -> bool:
    """After the attacker mended the hash: refused, or the values that the safetensors library finds in the same bytes."""
    set_tensors(place, data)
    case = attempt(place)
    if case is None:
        return False
    read = dict(safetensors.deserialize(data))
    assert set(read) == set(case.values)
    for name, values in case.values.items():
        assert bytes(read[name]["data"]) == values.tobytes()
        assert tuple(read[name]["shape"]) == values.shape
    return True


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


# Files that are no files


def make_hostile(path: Path, what: str, original: Case) -> None:
    if what == "missing":
        return
    if what == "link":
        assert original.path is not None
        path.symlink_to(original.path / path.name)
    elif what == "dangling":
        path.symlink_to(path.with_name("nowhere"))
    elif what == "loop":
        path.symlink_to(path)
    elif what == "zero":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif what == "device":
        try:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("no permission to make a device")
    elif what == "sparse":
        path.touch()
        os.truncate(path, 3 << 30)


@pytest.mark.skipif(os.name == "nt", reason="made of POSIX files")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", [DOCUMENT, TENSORS])
@pytest.mark.parametrize("what", ["missing", "link", "dangling", "loop", "zero", "folder", "pipe", "socket", "device", "sparse"])
def test_files_that_are_no_files(original: Case, tmp_path: Path, name: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    folder = Path()
    put(folder, original)
    (folder / name).unlink()
    make_hostile(folder / name, what, original)
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    start = time.perf_counter()
    error = refused(folder)
    assert time.perf_counter() - start < 1
    assert (Path(error.file).name, error.field) == (name, "file")
    if before:
        assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize("extra", [1, 2 << 20])
def test_a_tensor_file_longer_than_its_document_allows(original: Case, place: Path, extra: int) -> None:
    put(place, original)
    os.truncate(place / TENSORS, len(bytes_of(original, TENSORS)) + extra)
    assert refused(place).field == ("sha256" if extra == 1 else "file")


def test_a_file_that_grows_while_it_is_read(original: Case, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, original)
    look = os.fstat

    def look_and_grow(descriptor: int) -> os.stat_result:
        state = look(descriptor)
        with (place / DOCUMENT).open("ab") as file:
            file.write(b" ")
        return state

    monkeypatch.setattr(os, "fstat", look_and_grow)
    assert "changed" in refused(place).reason


def test_a_file_exchanged_for_a_pipe_after_it_was_looked_at(
    original: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, original)
    look = os.lstat

    def look_and_exchange(path: Any, **rest: Any) -> os.stat_result:
        state = look(path, **rest)
        if Path(path).name == DOCUMENT:
            Path(path).unlink()
            os.mkfifo(path)
        return state

    monkeypatch.setattr(os, "lstat", look_and_exchange)
    assert "regular" in refused(tmp_path).reason


@pytest.mark.parametrize("path", ["nowhere", "n" * 300, "a\0b", "file", "file/below", "\udcff", ""])
def test_folders_that_are_none(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    error = refused(tmp_path / path)
    assert error.field == "file"
    assert str(error).isprintable()


# Generated cases


def test_a_generator_must_make_what_the_tensors_say(tmp_path: Path) -> None:
    """Refused before a point is made: the stranger's number of points costs nothing."""
    write_case(make_generated(4), tmp_path / "c")
    edit_document(tmp_path / "c", lambda fields: fields["generator"].update(n_points=BIG))
    start = time.perf_counter()
    assert refused(tmp_path / "c").field == "generator.n_points"
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("change", [{"seed": 8}, {"scene": "plane"}])
def test_a_generator_that_makes_other_values(tmp_path: Path, change: dict[str, Any]) -> None:
    write_case(make_generated(4), tmp_path / "c")
    edit_document(tmp_path / "c", lambda fields: fields["generator"].update(change))
    assert refused(tmp_path / "c").field == "tensors_sha256"


def test_a_generator_that_makes_other_types(tmp_path: Path) -> None:
    write_case(make_generated(4), tmp_path / "c")
    edit_document(tmp_path / "c", tensor("Xf", dtype="float64"))
    assert refused(tmp_path / "c").field == "Xf"


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["file", "folder", "link"])
def test_a_generated_case_with_values_too(tmp_path: Path, make: Callable[[Path], None]) -> None:
    write_case(make_generated(4), tmp_path / "c")
    make(tmp_path / "c" / TENSORS)
    assert refused(tmp_path / "c").field == "generator"


def test_an_error_carries_no_terminal_commands(tmp_path: Path) -> None:
    written(tmp_path / "c", kind="op", n=1)
    edit_document(tmp_path / "c", top(**{"\x1b[2J\x9b": 1}))
    assert "\\x1b[2J" in str(refused(tmp_path / "c"))


def test_numbers_are_what_they_look_like() -> None:
    assert np.dtype(np.float32).newbyteorder("<") == np.dtype(np.float32), "the format is little endian; so must be the machine"
