"""A stranger's case.json: read right, or refused with file and field. No other exception, no waiting, no values nobody wrote."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import pytest
from case_factory import make_case, make_generated
from hostile_case import NESTED, assert_as_written, attempt, bytes_of, change_at, put, refused, spots
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import jsonfile
from harness.case import Case
from harness.casefile import DOCUMENT, MAX_DOCUMENT_BYTES, write_case


@pytest.fixture(scope="module")
def original_op(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(make_case("op", 2, op="mul"), tmp_path_factory.mktemp("original") / "c")


@pytest.fixture(scope="module")
def original_generated(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(make_generated(4), tmp_path_factory.mktemp("original") / "c")


pytestmark = pytest.mark.usefixtures("quick_disk")  # what survives a power cut is not at issue here

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
