"""Strict JSON on disk: written whole or not at all, and numbers JSON has no word for kept as strings."""

from __future__ import annotations

import codecs
import json
import math
import os
import secrets
from pathlib import Path
from typing import Any

from sim3solve import held


def dumps(document: Any, indent: int | None = 1, *, ascii: bool = False) -> str:
    """JSON text that any parser reads: NaN and infinities become the strings "nan", "inf", "-inf" (``float`` reads them back)."""
    return json.dumps(_finite(document), indent=indent, allow_nan=False, ensure_ascii=ascii)


def parse(data: bytes) -> Any:
    """Strict JSON from bytes nobody vouches for: UTF-8, no repeated key, no NaN or Infinity, no endless number, no deep nesting.

    Raises ``ValueError`` only.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_short_int)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def as_utf8(data: bytes) -> bytes:
    """The bytes of a document that went through a shell: Windows PowerShell's > makes UTF-16 of what a program prints, with a mark
    at its start, and its Set-Content may put one before UTF-8. Raises ``ValueError``."""
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding).encode("utf-8", "backslashreplace")
    return data


def write_json(path: Path, document: Any) -> None:
    # A lone surrogate, as in a file name that is no UTF-8, becomes its JSON escape.
    write_bytes(path, dumps(document).encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write atomically: a temporary name beside it, fsync, rename. On any failure the old file stays and no litter is left."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        held.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut, where the system has a way."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:100]!r} stands twice")
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _short_int(text: str) -> int:
    # Python's own limit can be switched off, and is quadratic then.
    if len(text) > 100:
        raise ValueError(f"an integer has {len(text)} digits")
    return int(text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
