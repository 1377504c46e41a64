"""Damaged and random archives: the same case, or a refusal that leaves nothing behind."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from case_factory import make_case
from hostile_zip import BAD_NAMES, CENTRAL, END, LOCAL, Member, file_of, folder_of, members, unpacked_or_refused, with_mode, zip_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.case import Case
from harness.casefile import DOCUMENT, TENSORS, write_case
from harness.casepack import pack_case


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(make_case("calib", 2, id="small", title="t"), tmp_path_factory.mktemp("original") / "small")


@pytest.fixture(scope="module")
def packed(original: Case, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return pack_case(folder_of(original), tmp_path_factory.mktemp("packed") / "small.zip").read_bytes()


def offsets(packed: bytes) -> list[int]:
    """Every byte of the zip's own records, and every seventh of the values."""
    records = {i for start in (0, packed.rindex(LOCAL)) for i in range(start, start + 60)} | set(
        range(packed.index(CENTRAL), len(packed))
    )
    return sorted(records | set(range(0, len(packed), 7)))


@pytest.mark.usefixtures("quick_disk")
def test_truncations(packed: bytes, tmp_path: Path, original: Case) -> None:
    assert not any(unpacked_or_refused(tmp_path, packed[:n], original) for n in offsets(packed))


@pytest.mark.usefixtures("quick_disk")
def test_bit_flips(packed: bytes, tmp_path: Path, original: Case) -> None:
    """Either refused or, where the bit does not matter (a date, a version), the same case."""
    rng = random.Random(3)
    survivors = 0
    for i in offsets(packed):
        flipped = bytearray(packed)
        flipped[i] ^= 1 << rng.randrange(8)
        survivors += unpacked_or_refused(tmp_path, bytes(flipped), original)
    assert 0 < survivors < 150


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_fuzzed_archives(original: Case, packed: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    changed = bytearray(packed)
    directory = packed.index(CENTRAL)
    anywhere = st.one_of(st.integers(0, len(packed)), st.integers(directory, len(packed)), st.integers(0, 80))
    extreme = st.sampled_from([b"\0", b"\xff", b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"PK\x01\x02"])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(anywhere)
        value = data.draw(st.binary(max_size=12) | extreme)
        changed[start : start + data.draw(st.sampled_from([len(value), len(value), 0, 3]))] = value
    unpacked_or_refused(tmp_path_factory.mktemp("fuzz"), bytes(changed), original)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
@example(END + bytes(18))
def test_random_bytes(original: Case, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    assert not unpacked_or_refused(tmp_path_factory.mktemp("random"), data, original)


names = (
    st.text(st.sampled_from("ab./\\:\0 \u00e9CON"), max_size=8) | st.sampled_from(sorted(BAD_NAMES)) | st.just(f"small/{TENSORS}")
)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=100, deadline=None)
@given(found=st.lists(names, max_size=2, unique=True), mode=st.integers(0, 0xFFFF))
def test_fuzzed_names(original: Case, tmp_path_factory: pytest.TempPathFactory, found: list[str], mode: int) -> None:
    folder = tmp_path_factory.mktemp("names")
    files: list[Member] = [(with_mode(name, mode), file_of(original, TENSORS)) for name in found]
    unpacked_or_refused(folder, zip_of([members(original)[0], *files]), original)
    assert not (folder.parent / DOCUMENT).exists()
