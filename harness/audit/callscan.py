"""Does a function of a linked file launch a kernel? Told by the targets of its calls and jumps, without a disassembler.

Every byte that could start a call or an unconditional jump is tried. A target counts only when it is exactly the address
of a function that launches, so that bytes which are something else do not pass for one. x86-64 only.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from harness.audit.model import Binary, Function

LAUNCHES = frozenset(
    ("cudaLaunchKernel", "__cudaLaunchKernel", "cudaLaunchKernelExC", "cudaLaunchCooperativeKernel", "cudaLaunch", "__cudaLaunch")
)
_MAX_CODE_BYTES = 1 << 16  # of one function; a launch stub has some hundred
_CALL = re.compile(rb"[\xe8\xe9](?=.{4})", re.DOTALL)
_SHORT_JUMP = re.compile(rb"\xeb(?=.)", re.DOTALL)
_CALL_THROUGH = re.compile(rb"\xff[\x15\x25](?=.{4})", re.DOTALL)  # call or jmp through an address in memory: PLT entries, -fno-plt


def with_launches(binary: Binary, elf: Any) -> tuple[Function, ...]:
    """The functions, with ``launches`` said of those that have a kernel's name. ``elf`` is pyelftools' view of the file."""
    kernels = binary.kernels
    sections = [s for s in elf.iter_sections() if s["sh_flags"] & 4 and s["sh_type"] == "SHT_PROGBITS"]
    slots = _slots(elf)
    launching = {f.address for f in binary.functions if _launches(f.name)} | _plt_entries(sections, slots)
    if not launching and not slots:
        return binary.functions
    # __device_stub_ and __wrapper__device_stub_ stand between a kernel's function and the launch.
    candidates = [f for f in binary.functions if "_device_stub_" in f.name or f.name.split(".")[0] in kernels]
    code = {f.address: _code(sections, f) for f in candidates}
    grown = True
    while grown:  # k calls __device_stub_k, which calls cudaLaunchKernel; compilers move parts to k.part.0
        new = {a for a, c in code.items() if a not in launching and (_targets(c, a) & launching or _through(c, a) & slots)}
        launching |= new
        grown = bool(new)
    return tuple(replace(f, launches=f.address in launching) if f.name in kernels else f for f in binary.functions)


def _launches(name: str) -> bool:
    return name.removesuffix("_ptsz") in LAUNCHES or "__cudaLaunchKernel_helper" in name


def _code(sections: list[Any], function: Function) -> bytes:
    for section in sections:
        offset = function.address - section["sh_addr"]
        if 0 <= offset < section["sh_size"]:
            section.stream.seek(section["sh_offset"] + offset)
            return bytes(section.stream.read(min(function.size, section["sh_size"] - offset, _MAX_CODE_BYTES)))
    return b""


def _targets(code: bytes, address: int) -> set[int]:
    near = {address + m.start() + 5 + _displacement(code, m.start() + 1, 4) for m in _CALL.finditer(code)}
    return near | {address + m.start() + 2 + _displacement(code, m.start() + 1, 1) for m in _SHORT_JUMP.finditer(code)}


def _through(code: bytes, address: int) -> set[int]:
    return {address + m.start() + 6 + _displacement(code, m.start() + 2, 4) for m in _CALL_THROUGH.finditer(code)}


def _displacement(code: bytes, at: int, size: int) -> int:
    return int.from_bytes(code[at : at + size], "little", signed=True)


def _slots(elf: Any) -> set[int]:
    """Where the dynamic linker writes the address of an imported launch function."""
    found = set()
    for section in elf.iter_sections():
        if section["sh_type"] == "SHT_RELA" and section.name in (".rela.plt", ".rela.dyn"):
            symbols = elf.get_section(section["sh_link"])
            for relocation in section.iter_relocations():
                index = relocation["r_info_sym"]
                if index and _launches(symbols.get_symbol(index).name):
                    found.add(relocation["r_offset"])
    return found


def _plt_entries(sections: list[Any], slots: set[int]) -> set[int]:
    found = set()
    for section in sections if slots else ():
        if section.name.startswith(".plt"):
            section.stream.seek(section["sh_offset"])
            code, address = section.stream.read(min(section["sh_size"], 1 << 24)), section["sh_addr"]
            for match in _CALL_THROUGH.finditer(code):
                at = match.start()
                if address + at + 6 + _displacement(code, at + 2, 4) in slots:
                    found.add(address + at // 16 * 16)  # an entry may begin with endbr64
    return found
