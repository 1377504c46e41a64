"""ELF objects, shared libraries and programs, through pyelftools."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, Literal

from elftools.elf.descriptions import describe_e_machine
from elftools.elf.elffile import ELFFile

from harness.audit.callscan import with_launches
from harness.audit.fatbin import read_fat_binaries
from harness.audit.model import FATBIN_SECTIONS, MAX_SECTION_BYTES, Binary, FatBinary, Function, reading
from harness.errors import AuditError

_SYMBOL_BYTES = {32: 16, 64: 24}
_BINDINGS = {"STB_LOCAL": "local", "STB_GLOBAL": "global", "STB_WEAK": "weak"}
_MACHINES = {"EM_X86_64": "x86-64", "EM_AARCH64": "aarch64", "EM_386": "x86", "EM_CUDA": "CUDA"}


def read_elf(stream: BinaryIO, size: int, name: str) -> Binary:
    """Everything the audit wants to know of one ELF file of ``size`` bytes. Raises ``AuditError``."""
    with reading(name, "ELF header"):
        elf = ELFFile(stream)
        linked = elf["e_type"] in ("ET_DYN", "ET_EXEC")
        if not linked and elf["e_type"] != "ET_REL":
            raise AuditError(name, "e_type", f"{elf['e_type']}: neither an object nor a linked file")
        machine = _MACHINES.get(elf["e_machine"], str(describe_e_machine(elf["e_machine"])))
    with reading(name, "section headers"):
        sections = list(elf.iter_sections())
    with reading(name, "symbols"):
        table = _section(sections, ".symtab", size, name)
        dynamic = _section(sections, ".dynsym", size, name)
        symbols = _symbols(elf, table, name) if table is not None else []
        exports = _symbols(elf, dynamic, name) if dynamic is not None else []
    if not linked and (table is None or any(symbol.name == "__gnu_lto_slim" for symbol in symbols)):
        why = "stripped" if table is None else "compiled with -flto, so that they come with the link"
        raise AuditError(name, "symbols", f"{why}: give an object as a plain compilation leaves it")
    with reading(name, "groups"):
        comdat = _comdat_sections(sections, size, name)
    with reading(name, "symbols"):
        functions = _functions(symbols if table is not None else exports, exports, comdat, linked)
        undefined = tuple(sorted({s.name for s in (exports if linked else symbols) if s["st_shndx"] == "SHN_UNDEF" and s.name}))
    fat = _fat_binaries(sections, stream, size, name)
    names = tuple(section.name for section in sections if section.name)
    binary = Binary(name, "ELF", machine, linked, table is not None, names, functions, undefined, fat)
    if linked and machine == "x86-64" and binary.has_symbols and binary.kernels:
        with reading(name, "code"):
            return replace(binary, functions=with_launches(binary, elf))
    return binary


def exports(stream: BinaryIO, name: str) -> Callable[[str], bool]:
    """A function that says whether a shared library defines a symbol, by its hash table. Raises ``AuditError``."""
    with reading(name, "hash table"):
        sections: dict[str, Any] = {section["sh_type"]: section for section in ELFFile(stream).iter_sections()}
        table = sections.get("SHT_GNU_HASH") or sections.get("SHT_HASH")
        if table is None:
            raise AuditError(name, "hash table", "it has none, so what it exports cannot be looked up")

    def defines(symbol: str) -> bool:
        with reading(name, "hash table"):
            found = table.get_symbol(symbol)
            return found is not None and found["st_shndx"] != "SHN_UNDEF"

    return defines


def _section(sections: list[Any], name: str, size: int, file: str) -> Any:
    """The first section of a name with content in the file, or None."""
    found = next((s for s in sections if s.name == name and s["sh_type"] != "SHT_NOBITS"), None)
    if found is not None and (found["sh_offset"] + found["sh_size"] > size or found["sh_size"] > MAX_SECTION_BYTES):
        raise AuditError(file, name, f"{found['sh_size']} bytes at {found['sh_offset']:#x} are announced; the file has {size}")
    return found


def _symbols(elf: ELFFile, table: Any, file: str) -> list[Any]:
    expected = _SYMBOL_BYTES[elf.elfclass]
    if table["sh_entsize"] != expected:
        raise AuditError(file, f"{table.name}.sh_entsize", f"{table['sh_entsize']}; a symbol has {expected} bytes")
    return list(table.iter_symbols())


def _comdat_sections(sections: list[Any], size: int, file: str) -> set[int]:
    """Indices of sections that the linker keeps one copy of."""
    found: set[int] = set()
    for section in sections:
        if section["sh_type"] == "SHT_GROUP":
            if section["sh_offset"] + section["sh_size"] > size:
                raise AuditError(file, section.name, "a section group reaches past the end of the file")
            flags, *members = _words(section)
            if flags & 1:
                found.update(members)
    return found


def _words(section: Any) -> list[int]:
    order: Literal["little", "big"] = "little" if section.elffile.little_endian else "big"
    data = section.data()
    return [int.from_bytes(data[i : i + 4], order) for i in range(0, len(data), 4)]


def _functions(symbols: list[Any], dynamic: list[Any], comdat: set[int], linked: bool) -> tuple[Function, ...]:
    exported = {symbol.name for symbol in dynamic}
    found = []
    for symbol in symbols:
        place = symbol["st_shndx"]
        if symbol["st_info"]["type"] not in ("STT_FUNC", "STT_GNU_IFUNC", "STT_LOOS") or not isinstance(place, int):
            continue
        binding = _BINDINGS.get(symbol["st_info"]["bind"], "global")
        if binding == "global" and place in comdat:
            binding = "comdat"
        visible = symbol.name in exported if linked else binding != "local"
        found.append(Function(symbol.name, binding, symbol["st_value"], symbol["st_size"], visible))
    return tuple(found)


def _fat_binaries(sections: list[Any], stream: BinaryIO, size: int, name: str) -> tuple[FatBinary, ...]:
    found: list[FatBinary] = []
    for section in sections:
        if section.name in FATBIN_SECTIONS and section["sh_type"] != "SHT_NOBITS" and section["sh_size"]:
            offset, length = section["sh_offset"], section["sh_size"]
            if offset + length > size or length > MAX_SECTION_BYTES:
                raise AuditError(name, section.name, f"{length} bytes at {offset:#x} are announced; the file has {size}")
            stream.seek(offset, io.SEEK_SET)
            found += read_fat_binaries(stream.read(length), name, section.name)
    return tuple(found)
