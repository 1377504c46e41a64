"""One zip per case: the same bytes for the same case, and a stranger's zip unpacks whole and right or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import stat
import struct
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from case_factory import assert_same, make_case, make_generated
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import casepack
from harness.case import Case, TensorSpec
from harness.casefile import DOCUMENT, TENSORS, read_case, write_case
from harness.casepack import pack_case, unpack_case
from harness.errors import CaseError

Member = tuple[zipfile.ZipInfo | str, bytes]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(make_case("calib", 2, id="small", title="t"), tmp_path_factory.mktemp("original") / "small")


@pytest.fixture(scope="module")
def packed(original: Case, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return pack_case(folder_of(original), tmp_path_factory.mktemp("packed") / "small.zip").read_bytes()


def folder_of(case: Case) -> Path:
    assert case.path is not None
    return case.path


def file_of(case: Case, name: str) -> bytes:
    return (folder_of(case) / name).read_bytes()


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(folder: Path, data: bytes) -> CaseError:
    """Unpack bytes that must be refused, and check that nothing but the archive is there afterwards."""
    archive = folder / "stranger.zip"
    archive.write_bytes(data)
    with pytest.raises(CaseError) as caught:
        unpack_case(archive, folder / "into" / "here")
    assert below(folder) == {"stranger.zip"}
    assert caught.value.file.startswith(str(archive))
    assert caught.value.field
    assert str(caught.value).isprintable()
    return caught.value


def unpacked_or_refused(folder: Path, data: bytes, original: Case) -> bool:
    archive = folder / "a.zip"
    archive.write_bytes(data)
    before = below(folder)
    try:
        got = unpack_case(archive, folder)
    except CaseError as error:
        assert below(folder) == before
        assert error.field
        assert str(error).isprintable()
        return False
    assert_same(read_case(got), original)
    assert below(folder) - before == {got.name, f"{got.name}/{DOCUMENT}", f"{got.name}/{TENSORS}"}
    for file in (DOCUMENT, TENSORS):
        (got / file).unlink()
    got.rmdir()
    return True


# What is packed comes out


@pytest.mark.parametrize("kind", ["ray_dist", "calib", "op"])
@pytest.mark.parametrize("float_type", ["float16", "bfloat16", "float32", "float64"])
def test_round_trip(tmp_path: Path, kind: str, float_type: str) -> None:
    case = write_case(make_case(kind, 3, float_type=float_type, id="one"), tmp_path / "anywhere")
    assert pack_case(tmp_path / "anywhere", tmp_path / "new" / "a.zip") == tmp_path / "new" / "a.zip"
    got = unpack_case(tmp_path / "new" / "a.zip", tmp_path / "into")
    assert got == tmp_path / "into" / "one"
    assert_same(read_case(got), case)
    for name in (DOCUMENT, TENSORS):
        assert (got / name).read_bytes() == (tmp_path / "anywhere" / name).read_bytes()


def test_a_generated_case_is_its_document(tmp_path: Path) -> None:
    case = write_case(make_generated(9, id="made"), tmp_path / "c")
    with zipfile.ZipFile(pack_case(tmp_path / "c", tmp_path / "a.zip")) as archive:
        assert archive.namelist() == [f"made/{DOCUMENT}"]
    assert_same(read_case(unpack_case(tmp_path / "a.zip", tmp_path / "into")), case)


def test_any_unzip_reads_the_archive(original: Case, packed: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"small/{DOCUMENT}", f"small/{TENSORS}"]
        assert archive.read(f"small/{TENSORS}") == file_of(original, TENSORS)


def test_the_same_case_gives_the_same_bytes(original: Case, packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = write_case(Case(original.document, original.values), tmp_path / "elsewhere")
    for name in (DOCUMENT, TENSORS):
        os.utime(folder_of(copy) / name, (1e9, 1e9))
        (folder_of(copy) / name).chmod(0o600)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(sys, "platform", "win32")  # where zipfile would note another system
    assert pack_case(folder_of(copy), tmp_path / "b.zip").read_bytes() == packed


def test_no_clock_user_or_compressor_leaves_a_mark(packed: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == stat.S_IFREG | 0o644
            assert (entry.create_system, entry.compress_type) == (3, zipfile.ZIP_STORED)
            assert (entry.extra, entry.comment) == (b"", b"")


def test_packing_replaces_a_file_and_refuses_a_folder(original: Case, packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("old")
    assert pack_case(folder_of(original), tmp_path / "a.zip").read_bytes() == packed
    (tmp_path / "folder").mkdir()
    with pytest.raises(CaseError):
        pack_case(folder_of(original), tmp_path / "folder")
    assert below(tmp_path) == {"a.zip", "folder"}


def test_only_a_valid_case_is_packed(original: Case, tmp_path: Path) -> None:
    for name in (DOCUMENT, TENSORS):
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / "c" / name).write_bytes(file_of(original, name))
    (tmp_path / "c" / TENSORS).write_bytes(b"")
    with pytest.raises(CaseError, match="sha256"):
        pack_case(tmp_path / "c", tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "file/a.zip", "/"])
def test_archives_that_cannot_be(original: Case, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CaseError):
        pack_case(folder_of(original), tmp_path / name)
    with pytest.raises(CaseError):
        unpack_case(tmp_path / name, tmp_path)
    assert below(tmp_path) == {"file"}


def test_an_existing_target_is_kept(packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packed)
    for make in (Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")):
        into = tmp_path / f"into{len(below(tmp_path))}"
        into.mkdir()
        make(into / "small")
        with pytest.raises(CaseError, match="exists already"):
            unpack_case(tmp_path / "a.zip", into)
        assert below(into) == {"small"}


def test_a_deflated_archive_is_read_too(original: Case, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of(members(original), compression=zipfile.ZIP_DEFLATED))
    assert_same(read_case(unpack_case(tmp_path / "a.zip", tmp_path)), original)


# Archives nobody here packed


def zip_of(files: list[Member], compression: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data, compress_type=compression)
        archive.comment = comment
    return buffer.getvalue()


def members(case: Case, folder: str = "small") -> list[Member]:
    return [(f"{folder}/{name}", file_of(case, name)) for name in (DOCUMENT, TENSORS)]


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


BAD_NAMES = {
    "/etc/passwd": "absolute", "//small/case.json": "absolute", "C:/case.json": "absolute", "c:case.json": "absolute",
    "../case.json": "leads out", "small/../case.json": "leads out", "small/../../case.json": "leads out", "..": "leads out",
    "small\\case.json": "backslash", "..\\case.json": "backslash", "small/": "folder", "small/sub/": "folder", "/": "absolute",
    "case.json": "is not ID", "small/other": "is not ID", "small/sub/case.json": "is not ID", "small//case.json": "is not ID",
    "small/case.json/x": "is not ID", "small/CASE.JSON": "is not ID", "small/case.json ": "is not ID",
    "small/case.json.": "is not ID", "nul/case.json": "in a folder",
    "./case.json": "in a folder", "small /case.json": "in a folder", ".small/case.json": "in a folder",
    "CON.x/case.json": "in a folder", "a" * 101 + "/case.json": "in a folder", "\x1b[2J/case.json": "in a folder",
    "sm\u0430ll/case.json": "in a folder", "/case.json": "absolute",
}  # fmt: skip


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


def test_wrong_sets_of_members(original: Case, tmp_path: Path) -> None:
    document, tensors = members(original)
    cases: dict[str, list[Member]] = {
        "0 members": [],
        "3 members": [document, tensors, ("small/readme", b"")],
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

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def overwrite(data: bytes, signature: bytes, offset: int, value: bytes, which: int = 0) -> bytes:
    changed = bytearray(data)
    start = -1
    for _ in range(which + 1):
        start = data.index(signature, start + 1)
    changed[start + offset : start + offset + len(value)] = value
    return bytes(changed)


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


def test_a_case_too_large_for_a_zip(original: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casepack, "MAX_ARCHIVE_BYTES", 1000)
    with pytest.raises(CaseError, match="more than 1000 bytes"):
        pack_case(folder_of(original), tmp_path / "a.zip")
    assert below(tmp_path) == set()


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


# Damage


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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


# Failures on the way

ERRORS = [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]


def fail_at(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException) -> list[int]:
    """The step-th of the calls that change the disk fails."""
    made = [0]

    def broken(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **rest: Any) -> Any:
            made[0] += 1
            if made[0] == step:
                raise error
            return call(*args, **rest)

        return wrapped

    for name in ("mkdir", "fsync", "rename", "replace", "open"):
        monkeypatch.setattr(os, name, broken(getattr(os, name)))
    monkeypatch.setattr(zipfile.ZipExtFile, "read", broken(zipfile.ZipExtFile.read))
    return made


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_failed_unpacking_leaves_nothing(
    packed: bytes, original: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "a.zip").write_bytes(packed)
    for step in range(1, 100):
        with monkeypatch.context() as patch:
            made = fail_at(patch, step, error)
            try:
                got = unpack_case(tmp_path / "a.zip", tmp_path / "x" / "y")
            except (CaseError, KeyboardInterrupt) as caught:
                assert isinstance(caught, CaseError) == isinstance(error, OSError)
                got = None
        if got is not None:
            assert made[0] < step
            assert step > 10
            assert_same(read_case(got), original)
            return
        assert below(tmp_path) == {"a.zip"}
    raise AssertionError("never succeeded")


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failed_packing_keeps_what_was_there(
    packed: bytes, original: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, old: bytes | None
) -> None:
    archive = tmp_path / "a.zip"
    if old is not None:
        archive.write_bytes(old)
    kept = 0
    for step in range(1, 100):
        with monkeypatch.context() as patch:
            made = fail_at(patch, step, error)
            try:
                pack_case(folder_of(original), archive)
            except (CaseError, KeyboardInterrupt):
                failed = True
            else:
                failed = False
        assert below(tmp_path) <= {"a.zip"}
        now = archive.read_bytes() if archive.exists() else None
        if made[0] < step:
            assert now == packed
            assert kept > 3
            return
        if now == packed:  # in place, whole: what failed did not matter or came after
            archive.unlink() if old is None else archive.write_bytes(old)
        else:
            assert failed
            assert now == old
            kept += 1
    raise AssertionError("never succeeded")


def test_the_archive_holds_json_and_numbers_only(packed: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert json.loads(archive.read(f"small/{DOCUMENT}"))["id"] == "small"
        header = archive.read(f"small/{TENSORS}")
    assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")]).keys() >= {"Xf", "K"}


def test_a_layout_travels(tmp_path: Path) -> None:
    spec = TensorSpec(dtype="float32", shape=(5, 3), stride=(4, 1), storage_offset=3, data_ptr_mod_512=12, alias_group="g")
    case = write_case(make_case(specs={"Xf": spec}, id="strided"), tmp_path / "c")
    pack_case(tmp_path / "c", tmp_path / "a.zip")
    assert read_case(unpack_case(tmp_path / "a.zip", tmp_path)).document.tensors["Xf"] == case.document.tensors["Xf"] == spec
