"""Fat binaries: which GPUs a file has code for, and the names of its kernels.

The layout is NVIDIA's and not documented; these fields were read off what nvcc 13.0 writes with every --compress-mode and compared
with cuobjdump. A container is a header (magic, version, header size, size) and entries, each a header and its code.
"""

from __future__ import annotations

import importlib
import io
import re
import struct
from typing import Any

from elftools.elf.elffile import ELFFile

from harness.audit.model import FatBinary, Image, reading
from harness.errors import AuditError

_MAGIC = 0xBA55ED50
_CONTAINER = struct.Struct("<IHHQ")
_ENTRY = struct.Struct("<HHIQIIHHIIIQQQ")
_KINDS = {1: "ptx", 2: "cubin", 8: "lto-ir"}
_ARCH_SPECIFIC, _FAMILY_SPECIFIC = 0x100000, 0x200000  # sm_90a, sm_100f
_LZ4, _ZSTD = 0x2000, 0x8000
_MAX_IMAGE_BYTES = 256 << 20
_MAX_SECTION_IMAGES = 100_000
_PTX_ENTRY = re.compile(rb"\.entry\s+([A-Za-z_$%][\w$]*)")
_PTX_COMMENT = re.compile(rb"//[^\n]*|/\*.*?\*/", re.DOTALL)
_PARAMETERS_OF = ".nv.constant0."  # every kernel has such a section, and no other device function


def read_fat_binaries(data: bytes, file: str, section: str) -> tuple[FatBinary, ...]:
    """All containers of one section. Raises ``AuditError`` where one is cut off or contradicts itself."""
    found: list[FatBinary] = []
    offset = images = 0
    while (offset := _next_container(data, offset)) >= 0:
        where = f"{section}+{offset:#x}"
        if len(data) - offset < _CONTAINER.size:
            raise AuditError(file, where, "the header of a fat binary is cut off")
        _, version, header, size = _CONTAINER.unpack_from(data, offset)
        if version != 1 or header < _CONTAINER.size:
            raise AuditError(file, where, f"a fat binary of version {version} with a header of {header} bytes; known is version 1")
        start, end = offset + header, offset + header + size
        if end > len(data):
            raise AuditError(file, f"{where}.size", f"{size} bytes are announced and {max(0, len(data) - start)} are there")
        found.append(FatBinary(section, offset, section.startswith("__nv_rel"), _images(data, start, end, file, section)))
        images += len(found[-1].images)
        if images > _MAX_SECTION_IMAGES:
            raise AuditError(file, section, f"more than {_MAX_SECTION_IMAGES} images")
        offset = end
    if data.strip(b"\0") and not found:
        raise AuditError(file, section, "holds no fat binary (its magic number is not there)")
    return tuple(found)


def _next_container(data: bytes, offset: int) -> int:
    """Containers are aligned to 8 bytes, with padding between them."""
    magic = struct.pack("<I", _MAGIC)
    at = data.find(magic, offset)
    while at >= 0 and at % 8:
        at = data.find(magic, at + 1)
    return at


def _images(data: bytes, start: int, end: int, file: str, section: str) -> tuple[Image, ...]:
    found = []
    while start < end:
        where = f"{section}+{start:#x}"
        if end - start < _ENTRY.size:
            raise AuditError(file, where, "the header of an image is cut off")
        fields = _ENTRY.unpack_from(data, start)
        kind, _, header, size, compressed, _, minor, major, sm, _, _, flags, _, full_size = fields
        if header < _ENTRY.size or header > end - start or size > end - start - header or compressed > size:
            raise AuditError(file, f"{where}.size", f"a header of {header} and code of {size} bytes do not fit into what is left")
        code = data[start + header : start + header + (compressed or size)]
        name = _KINDS.get(kind, f"kind {kind}")
        suffix = "a" if flags & _ARCH_SPECIFIC else "f" if flags & _FAMILY_SPECIFIC else ""
        compression = "zstd" if flags & _ZSTD else "lz4" if flags & _LZ4 else None
        kernels, reason = _kernels(name, code, compression, full_size, f"{file}: {where}")
        found.append(Image(name, sm, suffix, size, f"{major}.{minor}", compression, kernels, reason))
        start += header + size
    return tuple(found)


def _kernels(
    kind: str, code: bytes, compression: str | None, full_size: int, where: str
) -> tuple[tuple[str, ...] | None, str | None]:
    """The kernels of an image, or None and why not."""
    if kind not in ("ptx", "cubin"):
        return None, f"the names in {kind} are not readable"
    if compression is not None:
        plain = _decompress(code, compression, full_size)
        if isinstance(plain, str):
            return None, plain
        code = plain
    try:
        return (_ptx_kernels(code) if kind == "ptx" else _cubin_kernels(code, where)), None
    except AuditError as error:
        return None, error.reason


def _ptx_kernels(code: bytes) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.decode() for name in _PTX_ENTRY.findall(_PTX_COMMENT.sub(b"", code))))


def _cubin_kernels(code: bytes, where: str) -> tuple[str, ...]:
    with reading(where, "cubin"):
        names = [section.name for section in ELFFile(io.BytesIO(code)).iter_sections()]
    return tuple(dict.fromkeys(name.removeprefix(_PARAMETERS_OF) for name in names if name.startswith(_PARAMETERS_OF)))


def _decompress(code: bytes, compression: str, full_size: int) -> bytes | str:
    """The plain code, or why it cannot be had. Never more than was announced, and never more than a limit."""
    if not 0 < full_size <= _MAX_IMAGE_BYTES:
        return f"compressed ({compression}), and said to hold {full_size} bytes, over the limit of {_MAX_IMAGE_BYTES}"
    try:
        return _lz4(code, full_size) if compression == "lz4" else _zstd(code, full_size)
    except ImportError as error:
        return f"compressed ({compression}), and the package {error.name} is not installed"
    except (ValueError, MemoryError) as error:
        return f"compressed ({compression}), and does not decompress: {str(error)[:200]}"


def _lz4(code: bytes, full_size: int) -> bytes:
    block: Any = importlib.import_module("lz4.block")
    try:
        return bytes(block.decompress(code, uncompressed_size=full_size))
    except block.LZ4BlockError as error:
        raise ValueError(str(error)) from error


def _zstd(code: bytes, full_size: int) -> bytes:
    zstandard: Any = importlib.import_module("zstandard")
    try:
        said = zstandard.frame_content_size(code)  # which the library believes, whatever limit it is given
        if said not in (-1, full_size):
            raise ValueError(f"its frame says {said} bytes and its header {full_size}")
        return bytes(zstandard.ZstdDecompressor(max_window_size=_MAX_IMAGE_BYTES).decompress(code, max_output_size=full_size))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
