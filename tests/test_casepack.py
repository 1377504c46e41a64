"""One zip per case: the same bytes for the same case, whole or not there at all."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from case_factory import assert_same, make_case, make_generated
from hostile_zip import below, file_of, folder_of, members, zip_of

from harness import casepack
from harness.case import Case, TensorSpec
from harness.casefile import DOCUMENT, TENSORS, read_case, write_case
from harness.casepack import pack_case, unpack_case
from harness.errors import CaseError


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(make_case("calib", 2, id="small", title="t"), tmp_path_factory.mktemp("original") / "small")


@pytest.fixture(scope="module")
def packed(original: Case, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return pack_case(folder_of(original), tmp_path_factory.mktemp("packed") / "small.zip").read_bytes()


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


def test_a_case_too_large_for_a_zip(original: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casepack, "MAX_ARCHIVE_BYTES", 1000)
    with pytest.raises(CaseError, match="more than 1000 bytes"):
        pack_case(folder_of(original), tmp_path / "a.zip")
    assert below(tmp_path) == set()


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
