"""Any file to audit: what it is, told by its first bytes, and everything that the readers find in it."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from harness.audit import archive, elf
from harness.audit.model import Binary
from harness.errors import AuditError

MAX_FILE_BYTES = 8 << 30
MAX_WHOLE_BYTES = 2 << 30  # what is read at once: all but ELF
_ELF, _PE = b"\x7fELF", b"MZ"


def read_binaries(path: Path) -> list[Binary]:
    """The binaries of a file: itself, or the members of an archive. Raises ``AuditError``."""
    name = str(path)
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise AuditError(name, "file", "is no regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise AuditError(name, "size", f"{status.st_size} bytes; the limit is {MAX_FILE_BYTES}")
            if file.read(4) == _ELF:
                return [elf.read_elf(file, status.st_size, name)]
            if status.st_size > MAX_WHOLE_BYTES:
                raise AuditError(name, "size", f"{status.st_size} bytes; the limit for what is not ELF is {MAX_WHOLE_BYTES}")
            file.seek(0)
            return _read_whole(file.read(), name)
    except OSError as error:
        raise AuditError(name, "file", error.strerror or str(error)) from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would have us wait for its other end


def _read_whole(data: bytes, name: str) -> list[Binary]:
    if data.startswith((archive.MAGIC, archive.THIN_MAGIC)):
        found = []
        for member, content in archive.members(data, name):
            binary = _read_member(content, f"{name}({member})")
            if binary is not None:
                found.append(binary)
        if not found:
            raise AuditError(name, "members", "the archive holds no object")
        return found
    from harness.audit import coff

    if data.startswith(_PE):
        return [coff.read_linked(data, name)]
    if coff.is_coff_object(data[:8]):
        return [coff.read_object(data, name)]
    raise _unknown(data, name)


def _read_member(content: bytes, name: str) -> Binary | None:
    if content.startswith(_ELF):
        return elf.read_elf(io.BytesIO(content), len(content), name)
    from harness.audit import coff

    if coff.is_import_member(content[:8]):
        return None
    if coff.is_coff_object(content[:8]):
        return coff.read_object(content, name)
    raise _unknown(content, name)


def _unknown(data: bytes, name: str) -> AuditError:
    starts = data[:4].hex(" ") or "nothing"
    return AuditError(name, "magic", f"starts with {starts}: neither ELF, COFF, PE nor an archive of objects")
