"""PNG images of a data set, read with every size bounded before memory is taken. Errors are ``SourceError``."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from harness.errors import SourceError

MAX_FILE_BYTES = 1 << 26
MAX_SIDE = 8192
MAX_PIXELS = 1 << 24

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = 0


def read_depth(file: Path, units_per_metre: float) -> np.ndarray:
    """A 16-bit greyscale PNG as metres, float64 (H, W); 0 stays 0, no depth."""
    bits, colour = _header(file)
    if (bits, colour) != (16, _GREY):
        raise SourceError(file, "type", f"a depth image is 16-bit greyscale; this one has {bits} bits and colour type {colour}")
    return _decode(file, None).astype(np.float64) / units_per_metre


def read_grey(file: Path) -> np.ndarray:
    """An 8-bit colour or greyscale PNG as grey values, uint8 (H, W)."""
    bits, colour = _header(file)
    if bits != 8:
        raise SourceError(file, "type", f"a colour image has 8 bits per channel; this one has {bits}, colour type {colour}")
    return _decode(file, "L").astype(np.uint8)


def _header(file: Path) -> tuple[int, int]:
    """Bit depth and colour type of a PNG whose size is acceptable."""
    try:
        if not file.is_file():
            raise SourceError(file, "file", "no such file")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise SourceError(file, "file", f"has {file.stat().st_size} bytes; the limit is {MAX_FILE_BYTES}")
        with file.open("rb") as handle:
            start = handle.read(26)
    except OSError as error:
        raise SourceError(file, "file", error.strerror or str(error)) from None
    if len(start) < 26 or start[:8] != _SIGNATURE or start[12:16] != b"IHDR":
        raise SourceError(file, "type", "is not a PNG image")
    width, height, bits, colour = struct.unpack(">IIBB", start[16:26])
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise SourceError(file, "size", f"is {width} x {height}; the limit is {MAX_PIXELS} pixels, {MAX_SIDE} a side")
    return bits, colour


def _decode(file: Path, mode: str | None) -> np.ndarray:
    try:
        with Image.open(file, formats=["PNG"]) as image:
            return np.asarray(image if mode is None else image.convert(mode))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise SourceError(file, "image", str(error) or type(error).__name__) from None
