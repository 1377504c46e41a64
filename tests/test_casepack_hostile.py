"""A stranger's zip unpacks whole and right or not at all: names, kinds, sizes, records, bombs."""

from __future__ import annotations

import os
import stat
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from case_factory import make_case, make_generated
from hostile_zip import (
    BAD_NAMES,
    CENTRAL,
    END,
    LOCAL,
    Member,
    below,
    file_of,
    folder_of,
    members,
    overwrite,
    refused,
    with_mode,
    zip_of,
)

from harness import casepack
from harness.case import Case
from harness.casefile import DOCUMENT, TENSORS, write_case
from harness.casepack import pack_case, unpack_case
from harness.errors import CaseError


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(make_case("calib", 2, id="small", title="t"), tmp_path_factory.mktemp("original") / "small")


@pytest.fixture(scope="module")
def packed(original: Case, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return pack_case(folder_of(original), tmp_path_factory.mktemp("packed") / "small.zip").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows' zipfile writes no name with a backslash for it to refuse")
@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_names_that_are_refused(original: Case, tmp_path: Path, name: str) -> None:
    for files in ([(name, b"{}")], [*members(original)[1:], (name, file_of(original, DOCUMENT))]):
        error = refused(tmp_path, zip_of(files))
        assert error.field == name
        assert BAD_NAMES[name] in error.reason


def test_a_member_without_a_name(original: Case, packed: bytes, tmp_path: Path) -> None:
    end = packed.index(END)
    name = f"small/{TENSORS}".encode()
    nameless = overwrite(packed[: end - len(name)] + packed[end:], CENTRAL, 28, b"\0\0", which=1)
    data = overwrite(nameless, END, 12, struct.pack("<L", end - len(name) - packed.index(CENTRAL)))
    assert "is not ID" in refused(tmp_path, data).reason


def test_a_nul_in_a_name(original: Case, tmp_path: Path) -> None:
    data = zip_of([("small/case.json.exe", b""), *members(original)[1:]]).replace(b"case.json.exe", b"case.json\0exe")
    assert "NUL" in refused(tmp_path, data).reason


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_members_that_are_no_files(original: Case, tmp_path: Path, kind: int) -> None:
    document, tensors = members(original)
    error = refused(tmp_path, zip_of([document, (with_mode(f"small/{TENSORS}", kind | 0o777), b"/etc/passwd")]))
    assert error.field == f"small/{TENSORS}"
    assert error.reason == ("is a link" if kind == stat.S_IFLNK else "is not a regular file")
    flagged = with_mode(f"small/{DOCUMENT}", stat.S_IFREG)
    flagged.external_attr |= 0x10  # a folder in MS-DOS' words
    assert "regular" in refused(tmp_path, zip_of([(flagged, document[1]), tensors])).reason


@pytest.mark.skipif(os.name == "nt", reason="compares names by their slashes")
def test_wrong_sets_of_members(original: Case, tmp_path: Path) -> None:
    document, tensors = members(original)
    cases: dict[str, list[Member]] = {
        "0 members": [],
        "17 members": [document, tensors, *((f"{i}.txt", b"") for i in range(15))],
        "is not ID/case.json": [document, tensors, ("small/readme.txt", b"")],
        "holds 0 folders": [("readme.txt", b"")],
        "2 folders": [document, *members(original, "other")[1:]],
        "twice": [document, document],
        "is missing": [tensors],
        "the case is small": members(original, "other"),
    }
    with pytest.warns(UserWarning, match="Duplicate name"):
        archives = {reason: zip_of(files) for reason, files in cases.items()}
    for reason, data in archives.items():
        assert reason in refused(tmp_path, data).reason
    missing = refused(tmp_path, zip_of([document]))
    assert missing.file.endswith(f"stranger.zip/small/{TENSORS}")


def test_values_beside_a_generated_case(original: Case, tmp_path: Path) -> None:
    made = write_case(make_generated(2, id="small"), tmp_path / "made")
    data = zip_of([(f"small/{DOCUMENT}", file_of(made, DOCUMENT)), members(original)[1]])
    (tmp_path / "clean").mkdir()
    assert refused(tmp_path / "clean", data).field == "generator"


def test_members_that_differ_from_what_the_case_says(original: Case, tmp_path: Path) -> None:
    document, tensors = members(original)
    assert refused(tmp_path, zip_of([document, (tensors[0], tensors[1][:-1] + b"\7")])).field == "sha256"
    assert refused(tmp_path, zip_of([(document[0], b"{"), tensors])).field == "json"
    assert refused(tmp_path, zip_of([(document[0], b""), tensors])).field == "json"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(original: Case, tmp_path: Path, method: int) -> None:
    assert "compressed by method" in refused(tmp_path, zip_of(members(original), method)).reason


# Fields of the records, written over


def test_encrypted_members(packed: bytes, tmp_path: Path) -> None:
    for flag in (1, 0x40, 0x2000):
        data = overwrite(overwrite(packed, LOCAL, 6, struct.pack("<H", flag)), CENTRAL, 8, struct.pack("<H", flag))
        assert refused(tmp_path, data).reason == "is encrypted"


def test_a_wrong_checksum(packed: bytes, tmp_path: Path) -> None:
    for which in (0, 1):
        error = refused(tmp_path, overwrite(packed, CENTRAL, 16, b"\0\0\0\0", which))
        assert "CRC" in error.reason
        assert error.field == f"small/{(DOCUMENT, TENSORS)[which]}"


@pytest.mark.parametrize("size", [0, 1, 100, (1 << 20) + 1, (1 << 31) + 1, (1 << 32) - 1])
@pytest.mark.parametrize("which", [0, 1])
def test_a_wrong_declared_size(packed: bytes, tmp_path: Path, size: int, which: int) -> None:
    value = struct.pack("<L", size)
    for offset in (20, 24):
        data = overwrite(packed, CENTRAL, offset, value, which)
        assert refused(tmp_path, data).field == f"small/{(DOCUMENT, TENSORS)[which]}"


@pytest.mark.parametrize("offset", [1, 1 << 20, (1 << 32) - 2, (1 << 32) - 1])
def test_a_wrong_place_of_a_member(packed: bytes, tmp_path: Path, offset: int) -> None:
    refused(tmp_path, overwrite(packed, CENTRAL, 42, struct.pack("<L", offset)))


def test_two_members_in_one_place(packed: bytes, tmp_path: Path) -> None:
    refused(tmp_path, overwrite(packed, CENTRAL, 42, struct.pack("<L", 0), which=1))


def test_ends_that_are_refused(original: Case, packed: bytes, tmp_path: Path) -> None:
    for data in (
        b"", b"PK", b"PK\x05\x06", b"not a zip" * 100, END + b"\0" * 18, packed + b"\0", b"\0" + packed, packed + packed,
        zip_of(members(original), comment=b"hello"), b"\x1f\x8b" + packed, packed[:-22] + b"PK\x06\x07" + b"\0" * 16 + packed[-22:],
        overwrite(packed, END, 8, struct.pack("<HH", 60_000, 60_000)), overwrite(packed, END, 4, b"\1\0"),
        overwrite(packed, END, 8, b"\1\0"), overwrite(packed, END, 12, struct.pack("<L", 0xFFFFFFFF)),
        overwrite(packed, END, 16, struct.pack("<L", 0xFFFFFFFF)), overwrite(packed, END, 16, b"\0\0\0\0"),
    ):  # fmt: skip
        assert refused(tmp_path, data).field == "archive"


def test_a_64_bit_end_hidden_in_a_comment(original: Case, tmp_path: Path) -> None:
    """``zipfile`` would take its directory from there, of any size."""
    document, (name, tensors) = members(original)
    last = zipfile.ZipInfo(str(name))
    last.comment = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 1)
    assert "64-bit" in refused(tmp_path, zip_of([document, (last, tensors)])).reason


# Bombs


def test_a_bomb_that_says_its_size(original: Case, tmp_path: Path) -> None:
    document = members(original)[0]
    data = zip_of([document, (f"small/{TENSORS}", bytes(64 << 20))], zipfile.ZIP_DEFLATED)
    start = time.perf_counter()
    assert "the limit is" in refused(tmp_path, data).reason
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("which", [0, 1])
def test_a_bomb_that_lies_stops_at_what_it_said(original: Case, tmp_path: Path, which: int) -> None:
    files = members(original)
    name = str(files[which][0])
    files[which] = (name, bytes(64 << 20))
    data = zip_of(files, zipfile.ZIP_DEFLATED)
    data = overwrite(data, CENTRAL, 24, struct.pack("<L", 1000), which)
    tracemalloc.start()
    try:
        assert refused(tmp_path, data).field == name
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_the_stream_is_counted_whatever_zipfile_lets_through(
    original: Case, packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a member were longer than its header says: ``zipfile`` cuts there, and nothing here relies on it."""
    handed_out = 0

    def endless(self: zipfile.ZipExtFile, n: int = -1) -> bytes:
        nonlocal handed_out
        handed_out += n
        return bytes(n)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", endless)
    assert "more than" in refused(tmp_path, packed).reason
    assert handed_out <= (1 << 20) + casepack._CHUNK


def test_an_archive_of_impossible_size(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    os.truncate(tmp_path / "a.zip", 3 << 30)
    with pytest.raises(CaseError, match="the limit is"):
        unpack_case(tmp_path / "a.zip", tmp_path)
    os.truncate(tmp_path / "a.zip", (1 << 31) - 1)
    with pytest.raises(CaseError, match="not a zip"):
        unpack_case(tmp_path / "a.zip", tmp_path)
    assert below(tmp_path) == {"a.zip"}


@pytest.mark.skipif(os.name == "nt", reason="made of POSIX files")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ["link", "pipe", "folder", "zero"])
def test_archives_that_are_no_files(packed: bytes, tmp_path: Path, what: str) -> None:
    (tmp_path / "a.zip").write_bytes(packed)
    stranger = tmp_path / "b.zip"
    make: dict[str, Callable[[], Any]] = {
        "link": lambda: stranger.symlink_to("a.zip"), "pipe": lambda: os.mkfifo(stranger),
        "folder": stranger.mkdir, "zero": lambda: stranger.symlink_to("/dev/zero"),
    }  # fmt: skip
    make[what]()
    with pytest.raises(CaseError, match=r"regular|link"):
        unpack_case(stranger, tmp_path / "into")
    assert below(tmp_path) == {"a.zip", "b.zip"}
