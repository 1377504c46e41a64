"""A case as one portable zip, ``<id>/case.json`` and ``<id>/tensors.safetensors``: the same case gives the same bytes.

Beside the case's folder a zip may hold files of its own, as ``harness bundle`` adds them; they are never unpacked here.

Unpacking trusts nothing in the archive: names, kinds, sizes and checksums are checked, what comes out is read as a case, and
only then does it get its name. Whatever is wrong is a ``CaseError``, and nothing is left behind.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from harness import jsonfile, tensorfile
from harness.case import is_valid_id
from harness.casefile import (
    DOCUMENT,
    MAX_DOCUMENT_BYTES,
    MAX_TENSORS_BYTES,
    TENSORS,
    open_regular,
    read_case,
    read_document,
    staging,
)
from harness.errors import CaseError
from sim3solve import held

MAX_ARCHIVE_BYTES = (1 << 31) - 1
"""Above this a zip needs its 64-bit records, which are refused: a case that large is a folder."""

BESIDE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.(txt|json|html|py)")
"""Names of files that may lie beside the case's folder."""

_CHUNK = 1 << 20
_END = struct.Struct("<4s4H2LH")  # the record a zip ends with: signature, disks, entries, directory size and offset, comment
_END64 = b"PK\x06\x07"
_MAX_DIRECTORY_BYTES = 4096
_MAX_MEMBERS = 16
_FILES = (DOCUMENT, TENSORS)
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_DOS_FOLDER = 0x10
# What zipfile and zlib raise on a malformed archive. RuntimeError: a feature they do not know; ValueError: a bad name or offset.
_MALFORMED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError)


def pack_case(folder: Path, archive: Path) -> Path:
    """Write the case as one zip, replacing a file of that name in one step. Returns ``archive``.

    The case is read and checked first. Raises ``CaseError`` when it is not valid or too large, or when the disk refuses.
    """
    folder, archive = Path(folder), Path(archive)
    document = read_case(folder).document
    names = [DOCUMENT] if document.generator is not None else [DOCUMENT, TENSORS]
    temporary = archive.parent / f".{archive.name}.{secrets.token_hex(4)}.tmp"
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w", allowZip64=False) as packed:
                for name in names:
                    with open_regular(folder / name, MAX_TENSORS_BYTES) as (source, size):
                        add(packed, source, size, f"{document.id}/{name}")
            file.flush()
            os.fsync(file.fileno())
        if temporary.stat().st_size > MAX_ARCHIVE_BYTES:
            raise CaseError(archive, "archive", f"would have more than {MAX_ARCHIVE_BYTES} bytes")
        held.replace(temporary, archive)
        with suppress(OSError):  # the archive is whole and in place; at stake is only the rename's surviving a power cut
            jsonfile.sync_folder(archive.parent)
    except zipfile.LargeZipFile:
        raise CaseError(archive, "archive", f"would have more than {MAX_ARCHIVE_BYTES} bytes") from None
    except (OSError, ValueError) as error:
        raise CaseError(archive, "write", getattr(error, "strerror", None) or str(error)) from error
    finally:
        with suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)
    return archive


def unpack_case(archive: Path, into: Path) -> Path:
    """Unpack a zip made by ``pack_case``, or one like it, to ``into/<id>``, which must not exist. Returns that folder.

    Raises ``CaseError`` on anything that is not exactly one valid case, or when the disk refuses.
    """
    archive, into = Path(archive), Path(into)
    with open_regular(archive, MAX_ARCHIVE_BYTES) as (file, size):
        _check_end(archive, file, size)
        try:
            packed = zipfile.ZipFile(file)
        except _MALFORMED as error:
            raise CaseError(archive, "archive", str(error) or "is malformed") from None
        with packed:
            case_id, members = _members(archive, packed.infolist(), size)
            with staging(into / case_id) as temporary:
                try:
                    _extract_case(archive, packed, case_id, members, temporary)
                except CaseError as error:
                    place = error.file.replace(str(temporary), str(archive / case_id))
                    raise CaseError(place, error.field, error.reason) from None
    return into / case_id


def _extract_case(archive: Path, packed: zipfile.ZipFile, case_id: str, members: dict[str, zipfile.ZipInfo], folder: Path) -> None:
    _extract(archive, packed, members[DOCUMENT], folder / DOCUMENT, MAX_DOCUMENT_BYTES)
    document = read_document(folder)
    if document.id != case_id:
        raise CaseError(archive, "id", f"the case is {document.id}, its folder {case_id}")
    if TENSORS in members:
        limit = min(MAX_TENSORS_BYTES, tensorfile.max_bytes(document.tensors))
        _extract(archive, packed, members[TENSORS], folder / TENSORS, limit)
    read_case(folder)


def add(packed: zipfile.ZipFile, source: BinaryIO, size: int, name: str) -> None:
    """Write a member of ``size`` bytes whose header says nothing of when and where it was made."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    # Stored, not deflated: what deflate writes differs between versions of zlib, and float values hardly shrink.
    entry.compress_type = zipfile.ZIP_STORED
    entry.create_system = 3  # Unix, wherever this runs: its permissions are the ones given
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.file_size = size
    with packed.open(entry, "w") as member:
        while chunk := source.read(_CHUNK):
            member.write(chunk)


def _check_end(archive: Path, file: BinaryIO, size: int) -> None:
    """Look at the end record before ``zipfile`` does: it would read a directory of any size into memory."""
    if size < _END.size:
        raise CaseError(archive, "archive", "is not a zip archive")
    start = max(0, size - _END.size - 20)  # 20: the locator of a 64-bit end record, were there one
    file.seek(start)
    tail = file.read(size - start)
    signature, disk, first_disk, entries_here, entries, directory, offset, comment = _END.unpack(tail[-_END.size :])
    if signature != b"PK\x05\x06" or comment != 0:
        raise CaseError(archive, "archive", "is not a zip archive, or not whole")
    if tail.startswith(_END64) or disk or first_disk or entries_here != entries:
        raise CaseError(archive, "archive", "is in parts, or of the 64-bit kind")
    if not 1 <= entries <= _MAX_MEMBERS or directory > _MAX_DIRECTORY_BYTES:
        raise CaseError(archive, "archive", f"has {entries} members and a directory of {directory} bytes: it is not one case")
    if offset + directory + _END.size != size:
        raise CaseError(archive, "archive", "its directory is not where its end says")
    file.seek(0)


def _members(archive: Path, entries: list[zipfile.ZipInfo], size: int) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """The one folder's name, and its members by file name."""
    found: dict[str, zipfile.ZipInfo] = {}
    folders = set()
    for entry in entries:
        if _is_beside(entry):
            continue
        folder, name = _split(archive, entry)
        if name in found and folder in folders:
            raise CaseError(archive, entry.orig_filename, "stands twice")
        _check_member(archive, entry)
        if not 0 <= entry.header_offset <= entry.header_offset + entry.compress_size <= size:
            raise CaseError(archive, entry.orig_filename, "lies outside the archive")
        folders.add(folder)
        found[name] = entry
    if len(folders) != 1:
        raise CaseError(archive, "archive", f"holds {len(folders)} folders, not one")
    if DOCUMENT not in found:
        raise CaseError(archive, DOCUMENT, "is missing")
    return folders.pop(), found


def _is_beside(entry: zipfile.ZipInfo) -> bool:
    """A file of the zip's own, in no folder. Nothing of it is read."""
    return entry.orig_filename != DOCUMENT and BESIDE.fullmatch(entry.orig_filename) is not None


def _split(archive: Path, entry: zipfile.ZipInfo) -> tuple[str, str]:
    name = entry.orig_filename
    parts = name.split("/")
    reason = None
    if "\\" in name or "\0" in name or entry.filename != name:
        reason = "holds a backslash or a NUL"
    elif name.startswith("/") or name[1:2] == ":":
        reason = "is an absolute name"
    elif ".." in parts:
        reason = "leads out of its folder"
    elif name.endswith("/"):
        reason = "is a folder"
    elif len(parts) != 2 or parts[1] not in _FILES:
        reason = f"is not ID/{DOCUMENT} or ID/{TENSORS}"
    elif not is_valid_id(parts[0]):
        reason = "is not in a folder that a case's id can name"
    if reason is not None:
        raise CaseError(archive, name or "archive", reason)
    return parts[0], parts[1]


def _check_member(archive: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if stat.S_ISLNK(kind):
        raise CaseError(archive, name, "is a link")
    if (kind and not stat.S_ISREG(kind)) or entry.external_attr & _DOS_FOLDER:
        raise CaseError(archive, name, "is not a regular file")
    if entry.flag_bits & _ENCRYPTED:
        raise CaseError(archive, name, "is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CaseError(archive, name, f"is compressed by method {entry.compress_type}; only stored and deflated are read")


def _extract(archive: Path, packed: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, limit: int) -> None:
    """Write one member, never more than ``limit`` bytes of it whatever its header says."""
    name = entry.orig_filename
    if entry.file_size > limit:
        raise CaseError(archive, name, f"has {entry.file_size} bytes; the limit is {limit}")
    written = 0
    try:
        with packed.open(entry) as member, target.open("xb") as file:
            while chunk := member.read(_CHUNK):
                written += len(chunk)
                if written > limit:
                    raise CaseError(archive, name, f"has more than {limit} bytes")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except _MALFORMED as error:
        raise CaseError(archive, name, str(error) or "is malformed") from None
    if written != entry.file_size:
        raise CaseError(archive, name, f"has {written} bytes, the archive says {entry.file_size}")
