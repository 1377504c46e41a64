"""COFF objects (.obj, plain and /bigobj) and PE files (.pyd, .dll), through LIEF.

Imported in the audit's child only: LIEF is native code.
"""

from __future__ import annotations

from typing import Any

import lief

from harness.audit.fatbin import read_fat_binaries
from harness.audit.model import FATBIN_SECTIONS, Binary, FatBinary, Function, reading
from harness.errors import AuditError

lief.logging.disable()  # its complaints go to stderr, where the child's own words are expected

_COMDAT, _CODE = 0x1000, 0x20  # IMAGE_SCN_LNK_COMDAT, IMAGE_SCN_CNT_CODE
_MACHINES = {0x8664: "x86-64", 0x14C: "x86", 0xAA64: "aarch64"}
_ANONYMOUS = b"\0\0\xff\xff"
_BIGOBJ_CLASS = bytes.fromhex("c7a1bad1eebaa94baf20faf66aa4dcb8")
_LAUNCHES = ("cudaLaunchKernel", "__cudaLaunchKernel", "cudaLaunchKernelExC", "__imp_cudaLaunchKernel", "cudaLaunch")
_COFF_HEADER_BYTES, _COFF_SYMBOL_BYTES, _BIG_SYMBOL_BYTES = 20, 18, 20


def is_coff_object(head: bytes) -> bool:
    return int.from_bytes(head[:2], "little") in _MACHINES or (head[:4] == _ANONYMOUS and head[4:6] != b"\0\0")


def is_import_member(head: bytes) -> bool:
    """A member of an import library: a name and a DLL, no code."""
    return head[:4] == _ANONYMOUS and head[4:6] == b"\0\0"


def read_object(data: bytes, name: str) -> Binary:
    """A COFF object. Raises ``AuditError``."""
    _check_size(data, name)
    with reading(name, "COFF headers"):
        coff = lief.COFF.parse(data)
        if coff is None:
            raise AuditError(name, "COFF headers", "malformed or cut off")
        symbols, sections = list(coff.symbols), list(coff.sections)
        announced, got = coff.header.nb_symbols, sum(1 + len(list(symbol.auxiliary_symbols)) for symbol in symbols)
    if got != announced:
        raise AuditError(name, "COFF symbols", f"{announced} are announced, and {got} can be read")
    with reading(name, "COFF symbols"):
        foldable = {i for i, section in enumerate(sections, start=1) if section.characteristics & _COMDAT}
        code = {i for i, section in enumerate(sections, start=1) if section.characteristics & _CODE}
        launching = _launching_sections(sections, symbols)
        functions = tuple(_function(s, foldable, launching) for s in symbols if s.section_idx in code and not _names_section(s))
        undefined = tuple(sorted({_text(s.name) for s in symbols if s.section_idx == 0 and s.is_external and _text(s.name)}))
        names = tuple(_section_name(section) for section in sections)
        machine = _MACHINES.get(int(coff.header.machine.value), "unknown")
    fat = _fat_binaries(data, [(n, s.pointerto_raw_data, s.sizeof_raw_data) for n, s in zip(names, sections, strict=True)], name)
    return Binary(name, "COFF", machine, False, True, names, functions, undefined, fat)


def read_linked(data: bytes, name: str) -> Binary:
    """A PE file. It keeps no symbols of its own functions (MSVC puts them into a PDB), only what it imports and exports."""
    with reading(name, "PE headers"):
        pe = lief.PE.parse(data)
        if pe is None:
            raise AuditError(name, "PE headers", "malformed or cut off")
        imports = {_text(e.name) for library in (*pe.imports, *pe.delay_imports) for e in library.entries if not e.is_ordinal}
        table = pe.get_export()
        exported = {_text(entry.name) for entry in table.entries} if table is not None else set()
        sections = list(pe.sections)
        code = {i for i, section in enumerate(sections, start=1) if section.characteristics & _CODE}
        symbols = [s for s in pe.symbols if s.section_idx in code and not _names_section(s)]
        names = tuple(_section_name(section) for section in sections)
        machine = _MACHINES.get(int(pe.header.machine.value), "unknown")
    own = tuple(_linked_function(s, exported) for s in symbols)
    only_exported = tuple(Function(n, "global") for n in sorted(exported - {f.name for f in own}) if n)
    fat = _fat_binaries(data, [(n, s.offset, s.sizeof_raw_data) for n, s in zip(names, sections, strict=True)], name)
    return Binary(name, "PE", machine, True, bool(own), names, own + only_exported, tuple(sorted(imports - {""})), fat)


def exports(data: bytes, name: str) -> frozenset[str]:
    """Every name that a DLL exports. Raises ``AuditError``."""
    return frozenset(function.name for function in read_linked(data, name).functions if function.exported)


def _check_size(data: bytes, name: str) -> None:
    """LIEF stops in silence where a file does."""
    big = data[:4] == _ANONYMOUS
    header = 56 if big else _COFF_HEADER_BYTES
    if len(data) < header:
        raise AuditError(name, "COFF headers", f"cut off: {len(data)} bytes")
    if big and data[12:28] != _BIGOBJ_CLASS:
        raise AuditError(name, "COFF headers", "compiled with /GL, its symbols come with the link: give an object compiled without")
    at = 48 if big else 8
    start, count = (int.from_bytes(data[i : i + 4], "little") for i in (at, at + 4))
    if not count:
        raise AuditError(name, "COFF symbols", "stripped: give an object as a plain compilation leaves it")
    end = start + count * (_BIG_SYMBOL_BYTES if big else _COFF_SYMBOL_BYTES)
    if end > len(data):
        raise AuditError(name, "COFF symbols", f"{count} symbols at {start:#x} are announced; the file has {len(data)} bytes")


def _function(symbol: Any, foldable: set[int], launching: set[int]) -> Function:
    binding = "local" if not symbol.is_external else "comdat" if symbol.section_idx in foldable else "global"
    # Only a section of its own tells whose launch it is.
    launches = symbol.section_idx in launching if symbol.section_idx in foldable else None
    return Function(_text(symbol.name), binding, exported=binding != "local", launches=launches)


def _linked_function(symbol: Any, exported: set[str]) -> Function:
    name = _text(symbol.name)
    return Function(name, "global" if symbol.is_external else "local", exported=name in exported)


def _launching_sections(sections: list[Any], symbols: list[Any]) -> set[int]:
    """Numbers of the code sections that call the launch of a kernel, by their relocations."""
    stubs = {(s.section_idx, s.value) for s in symbols if "__device_stub_" in _text(s.name)}
    found = set()
    for index, section in enumerate(sections, start=1):
        for relocation in section.relocations if section.characteristics & _CODE else ():
            symbol = relocation.symbol
            if symbol is None:
                continue
            name = _text(symbol.name)
            # A local function may be meant by its section, and the place in it stand in the code.
            offset = int.from_bytes(bytes(section.content[relocation.address : relocation.address + 4]), "little")
            by_section = _names_section(symbol) and (symbol.section_idx, offset) in stubs
            if "__device_stub_" in name or name in _LAUNCHES or by_section:
                found.add(index)
                break
    return found


def _names_section(symbol: Any) -> bool:
    """The symbol that stands for a section (.text$_Z1kPf) rather than for something in it."""
    return _text(symbol.name).startswith(".") and not symbol.is_external


def _section_name(section: Any) -> str:
    string = section.coff_string
    return _text(string.string if string is not None else section.name)


def _fat_binaries(data: bytes, sections: list[tuple[str, int, int]], name: str) -> tuple[FatBinary, ...]:
    found: list[FatBinary] = []
    for section, offset, size in sections:
        if section in FATBIN_SECTIONS and size:
            if offset + size > len(data):
                raise AuditError(name, section, f"{size} bytes at {offset:#x} are announced; the file has {len(data)}")
            found += read_fat_binaries(data[offset : offset + size], name, section)
    return tuple(found)


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
