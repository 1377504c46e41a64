"""Whether a shared library asks for functions of some name: read from its dynamic string table alone."""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNSYM, _STRTAB = 11, 3
_LARGEST_TABLE = 64 << 20


def asks_for(file: Path, name: bytes) -> bool:
    """Whether any dynamic symbol's name starts with ``name``. False for what is no 64-bit little-endian ELF file."""
    try:
        with open(file, "rb") as handle:
            fields = _HEADER.unpack(handle.read(_HEADER.size))
            ident, at, entry_size, count = fields[0], fields[6], fields[11], fields[12]
            if ident[:6] != b"\x7fELF\x02\x01" or entry_size != _SECTION.size:
                return False
            handle.seek(at)
            table = handle.read(entry_size * count)
            sections = list(_SECTION.iter_unpack(table[: len(table) // entry_size * entry_size]))
            for section in sections:
                linked = section[6]
                if section[1] == _DYNSYM and linked < len(sections) and sections[linked][1] == _STRTAB:
                    handle.seek(sections[linked][4])
                    return b"\0" + name in handle.read(min(sections[linked][5], _LARGEST_TABLE))
    except (OSError, struct.error, OverflowError, ValueError):
        return False
    return False
