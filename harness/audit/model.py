"""What the readers find in one binary, whatever its format, and how they say that it is malformed."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError

from harness.errors import AuditError

MAX_SECTION_BYTES = 4 << 30
FATBIN_SECTIONS = (".nv_fatbin", ".nv_fatb", "__nv_relfatbin", "__nv_rel")  # PE cuts names to 8 characters
_CUDA_SECTIONS = (*FATBIN_SECTIONS, ".nvFatBinSegment", ".nvFatBi")
_DEVICE_STUB = re.compile(r"(?:(\d+)|\?)__device_stub_(_?[A-Za-z_$][\w$]*)")
# What pyelftools, struct and int() raise when a number in a file points nowhere.
_MALFORMED = (
    ELFError, ConstructError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, OverflowError,
    ZeroDivisionError, MemoryError, RecursionError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What one check says. ``state`` is ok, warn or fail; ``fix`` is empty for ok."""

    check: str  # collisions, linked, architectures, torch or long
    state: str
    what: str
    fix: str = ""


@dataclass(frozen=True)
class Function:
    """One defined function. ``binding`` is local, global, weak or comdat; only the last two may be folded with a namesake."""

    name: str
    binding: str
    address: int = 0  # virtual address in a linked file
    size: int = 0
    exported: bool = True  # visible to other files: not local, and in a linked file in its dynamic symbols
    launches: bool | None = None  # whether it launches a kernel, by what it calls; None where nobody looked

    @property
    def foldable(self) -> bool:
        return self.binding in ("weak", "comdat")


@dataclass(frozen=True)
class Image:
    """One piece of device code. ``sm`` is 86 for sm_86; ``suffix`` is "a" or "f" (sm_90a, sm_100f) or empty.

    ``kernels`` is None when their names could not be had; ``reason`` then says why. ``size`` in bytes as stored.
    """

    kind: str  # cubin, ptx, lto-ir or "kind N"
    sm: int
    suffix: str
    size: int
    isa: str  # of PTX, "9.0"; for the others the version of their own format
    compression: str | None
    kernels: tuple[str, ...] | None
    reason: str | None = None

    @property
    def arch(self) -> str:
        prefix = {"cubin": "sm", "lto-ir": "lto"}.get(self.kind, "compute")
        return f"{prefix}_{self.sm}{self.suffix}"


@dataclass(frozen=True)
class FatBinary:
    """What one translation unit (or device link) brings for all GPUs. ``relocatable``: input of a device link, never run itself."""

    section: str
    offset: int
    relocatable: bool
    images: tuple[Image, ...]


@dataclass(frozen=True)
class Binary:
    """One object or linked file. ``name`` is the path, with the member in parentheses for one of an archive."""

    name: str
    format: str  # "ELF" or "COFF" or "PE"
    machine: str
    linked: bool
    has_symbols: bool  # False: stripped down to what the dynamic linker needs
    sections: tuple[str, ...]
    functions: tuple[Function, ...]
    undefined: tuple[str, ...]
    fat_binaries: tuple[FatBinary, ...] = ()

    @property
    def stubbed_kernels(self) -> frozenset[str]:
        """Device-side names of kernels for which nvcc wrote a launch stub (``__device_stub_`` before the name) into this file."""
        return frozenset(name for f in self.functions for name in [_kernel_of_stub(f.name)] if name)

    @property
    def kernels(self) -> frozenset[str]:
        """Device-side names of all kernels this file is known to bring."""
        images = (image for fat in self.fat_binaries for image in fat.images)
        return self.stubbed_kernels.union(*(image.kernels or () for image in images))

    @property
    def evidence(self) -> tuple[str, ...]:
        """Why this is a CUDA object; empty for a host one."""
        found = [f"section {name}" for name in self.sections if name in _CUDA_SECTIONS]
        registers = sorted({n for n in (*self.undefined, *(f.name for f in self.functions)) if n.startswith("__cudaRegister")})
        stubs = len(self.stubbed_kernels)
        return (*dict.fromkeys(found), *registers[:3], *([f"{count(stubs, 'launch stub')} (__device_stub_)"] if stubs else []))

    @property
    def is_cuda(self) -> bool:
        return bool(self.evidence)

    def launch_stubs(self) -> frozenset[str]:
        """Names, as the linker sees them, of host functions that are the stub of a kernel.

        On ELF the stub has the kernel's own mangled name. MSVC mangles otherwise than the device compiler, so there a function is
        known for a stub by what it calls.
        """
        return self.kernels | {f.name for f in self.functions if f.launches}


def count(n: int, thing: str) -> str:
    """``1 kernel``, ``2 kernels``."""
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _kernel_of_stub(symbol: str) -> str | None:
    """``_Z1kPf`` from ``_ZL22__device_stub__Z1kPfPf`` (Itanium, with its length) or ``?__device_stub__Z1kPf@@YAXPEAM@Z`` (MSVC)."""
    found = _DEVICE_STUB.search(symbol)
    if found is None:
        plain = symbol.removeprefix("__device_stub_")
        return plain if plain != symbol and plain else None
    name = found[2]
    if found[1] is not None:
        # Digits of the length may follow digits of what stands before it; the shortest that fits is the length.
        length = int(found[1]) - len("__device_stub_")
        name = name[:length] if 0 < length <= len(name) else ""
    return name or None


@contextmanager
def reading(file: str, field: str) -> Iterator[None]:
    """Turns what malformed bytes make the readers raise into an ``AuditError`` that names the field."""
    try:
        yield
    except _MALFORMED as error:
        said = str(error) or type(error).__name__
        raise AuditError(file, field, f"malformed or cut off ({said[:200]})") from error
