"""Readable names, and the kernels that take a ``long``: 64 bits on Linux, 32 on Windows, in device code too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pycxxfilt

from harness.audit.model import Binary, Verdict, count

_MAX_NAME = 4096  # the demangler recurses, and a made-up name of a hundred thousand letters overflows its stack
_LONG = re.compile(r"(?<!long )\blong\b(?! long| double)")


@dataclass(frozen=True)
class LongParameters:
    file: str
    kernel: str
    parameters: tuple[str, ...]


def demangle(name: str) -> str:
    """The name as C++ writes it, Itanium or MSVC; as it is when it is mangled by neither."""
    if len(name) > _MAX_NAME:
        return name
    try:
        return pycxxfilt.demangle(name) or name
    except ValueError:
        return name


def long_parameters(kernel: str) -> tuple[str, ...]:
    """The parameters of a mangled kernel that are or hold a ``long``."""
    readable = demangle(kernel)
    return tuple(p for p in _parameters(readable) if _LONG.search(p)) if readable != kernel else ()


def find(binaries: Sequence[Binary]) -> list[LongParameters]:
    found = []
    for binary in binaries:
        for kernel in sorted(binary.kernels):
            parameters = long_parameters(kernel)
            if parameters:
                found.append(LongParameters(binary.name, kernel, parameters))
    return found


def verdict(binaries: Sequence[Binary], found: Sequence[LongParameters]) -> Verdict | None:
    """None when no kernel's name is known."""
    if not any(binary.kernels for binary in binaries):
        return None
    if not found:
        return Verdict("long", "ok", "no kernel takes a long, as far as the names say")
    windows = {binary.name for binary in binaries if binary.format != "ELF"}
    kernels = len({each.kernel for each in found})
    if any(each.file in windows for each in found):
        what = f"{count(kernels, 'kernel')} with a long, which has 32 bits here: a 64-bit stride or index is cut, or does not link"
        return Verdict("long", "warn", what, "write int64_t in the kernel's parameters")
    named = count(kernels, "kernel")
    what = f"{named} with a long, 64 bits here and 32 on Windows (or an int64_t, which has the same mangled name on Linux)"
    return Verdict("long", "warn", what, "for Windows, see that the source says int64_t, not long")


def _parameters(readable: str) -> list[str]:
    """``["float const*", "long"]`` of ``void k<float>(float const*, long)``."""
    if not readable.endswith(")"):
        return []
    depth, parameters, end = 0, [], len(readable) - 1
    for at in range(len(readable) - 1, -1, -1):
        letter = readable[at]
        depth += letter in ")>]}"
        if letter == "," and depth == 1:
            parameters.append(readable[at + 1 : end].strip())
            end = at
        depth -= letter in "(<[{"
        if depth == 0:
            parameters.append(readable[at + 1 : end].strip())
            return parameters[::-1]
    return []
