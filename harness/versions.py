"""Which driver a CUDA version needs, and which GPUs an architecture list serves. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

MINIMUM_DRIVER = {11: 450, 12: 525, 13: 580}
"""CUDA's major version: the first driver branch that runs it (NVIDIA's table of minor version compatibility)."""

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d{2,4})([af]?)")
_NUMBERS = re.compile(r"\d{1,6}(?:\.\d{1,6})*")


def numbers(text: str | None) -> tuple[int, ...]:
    """The leading version number in a text: "13.0.88 (build)" is (13, 0, 88). Empty where there is none."""
    found = _NUMBERS.match((text or "").strip())
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def of_driver_api(version: int | None) -> tuple[int, int] | None:
    """cuDriverGetVersion's 13010 as (13, 1)."""
    return None if not version or version < 1000 else (version // 1000, version % 1000 // 10)


def serves(architectures: Iterable[str], capability: tuple[int, int]) -> str | None:
    """How code for ``architectures`` runs on a GPU of that compute capability: "cubin", "ptx", or None when it does not.

    A cubin runs on its own major version from its minor version on; with the suffix a on that very GPU, with f on its family.
    PTX is compiled by the driver for that or any later GPU.
    """
    best = None
    for name in architectures:
        found = _ARCHITECTURE.fullmatch(name)
        if found is None:
            continue
        kind, number, suffix = found[1], int(found[2]), found[3]
        built = divmod(number, 10)
        exact, family = built == capability, built[0] == capability[0] and built[1] <= capability[1]
        fits = exact if suffix == "a" else family if suffix == "f" or kind == "sm" else built <= capability
        if fits and kind == "sm":
            return "cubin"
        if fits:
            best = "ptx"
    return best
