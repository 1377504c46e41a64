"""The device code that an audit found, by the fat binary that it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FatBinary:
    """What one fat binary of a file has code for, in words like sm_90, compute_90: each must serve the GPU by itself."""

    file: str
    architectures: tuple[str, ...]


def fat_binaries(document: Mapping[str, Any]) -> tuple[FatBinary, ...]:
    """The images by the fat binary that they are of. One whose images have no kernels at all launches nothing."""
    entries = document.get("architectures")
    images = [it for it in entries if isinstance(it, dict)] if isinstance(entries, list) else []
    apart: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for image in images:
        if not image.get("relocatable"):
            apart.setdefault(tuple(str(image.get(name, "")) for name in ("file", "section", "offset")), []).append(image)
    found = [
        FatBinary(key[0], tuple(dict.fromkeys(str(image.get("arch", "")) for image in group)))
        for key, group in apart.items()
        if any(image.get("kernels") != 0 for image in group)
    ]
    return tuple(dict.fromkeys(found))
