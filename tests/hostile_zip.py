"""What the tests of packed cases share: ways to make zips that nobody here packed, and what must come of them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from case_factory import assert_same

from harness.case import Case
from harness.casefile import DOCUMENT, TENSORS, read_case
from harness.casepack import unpack_case
from harness.errors import CaseError

Member = tuple[zipfile.ZipInfo | str, bytes]

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"

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


def folder_of(case: Case) -> Path:
    assert case.path is not None
    return case.path


def file_of(case: Case, name: str) -> bytes:
    return (folder_of(case) / name).read_bytes()


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


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


def overwrite(data: bytes, signature: bytes, offset: int, value: bytes, which: int = 0) -> bytes:
    changed = bytearray(data)
    start = -1
    for _ in range(which + 1):
        start = data.index(signature, start + 1)
    changed[start + offset : start + offset + len(value)] = value
    return bytes(changed)
