"""The recorded memory, rebuilt: windows with the recorded alignment, gaps and aliasing, and strided views into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from harness.case import CARRIERS, Case, TensorSpec
from harness.errors import CaseError

POISON = 0xFF
"""Fills every byte of a window that no tensor covers: NaN in each floating type, so that a stray read shows."""

Allocate = Callable[[str, int, int, int], np.ndarray]
"""(group, bytes, address modulo 512, largest element in it) -> a window of uint8, filled with what gaps are to hold."""


def groups(specs: Mapping[str, TensorSpec]) -> dict[str, list[str]]:
    """Window name -> the tensors in it. A tensor without an alias group has a window of its own."""
    found: dict[str, list[str]] = {}
    for name, spec in specs.items():
        found.setdefault(f"={name}" if spec.alias_group is None else spec.alias_group, []).append(name)
    return found


def aligned_bytes(n_bytes: int, address_mod_512: int) -> np.ndarray:
    """``n_bytes`` of fresh poison (uint8) whose first byte lies at an address that is ``address_mod_512`` modulo 512."""
    room = np.full(n_bytes + 1024, POISON, dtype=np.uint8)
    skip = (address_mod_512 - room.ctypes.data) % 512
    return room[skip:][:n_bytes]  # in two steps: NumPy sets an empty slice's start to 0


def _pool(group: str, n_bytes: int, address_mod_512: int, itemsize: int) -> np.ndarray:
    return aligned_bytes(n_bytes, address_mod_512)


def view(window: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The tensor as a strided view (carrier type) into its window."""
    carrier = CARRIERS[spec.dtype]
    strides = tuple(step * spec.itemsize for step in spec.stride)
    return np.ndarray(spec.shape, carrier, buffer=window.data, offset=spec.storage_offset * spec.itemsize, strides=strides)


def windows(case: Case, allocate: Allocate = _pool) -> dict[str, np.ndarray]:
    """Every window of a case as bytes on the host, values in place, gaps as ``allocate`` left them: poisoned.

    Raises ``CaseError`` when tensors that share memory hold different values there: such a case was not recorded.
    """
    specs = case.document.tensors
    rebuilt: dict[str, np.ndarray] = {}
    for group, names in groups(specs).items():
        n_bytes = max(specs[name].end_byte for name in names)
        try:
            itemsize = max(specs[name].itemsize for name in names)
            window = allocate(group, n_bytes, specs[names[0]].base_mod_512, itemsize)
        except MemoryError:
            raise CaseError(case.path or case.id, f"tensors.{names[0]}", f"needs {n_bytes} bytes of memory") from None
        _place(case, names, window)
        rebuilt[group] = window
    return rebuilt


def check_overlaps(case: Case) -> None:
    """What ``windows`` checks, without the cost of its gaps: memory is touched only where tensors that may overlap have values."""
    specs = case.document.tensors
    for names in groups(specs).values():
        if len(names) > 1 or _may_overlap_itself(specs[names[0]]):
            _place(case, names, np.empty(max(specs[name].end_byte for name in names), dtype=np.uint8))


def arrays(case: Case, allocate: Allocate = _pool) -> dict[str, np.ndarray]:
    """Every tensor of a case as a view with the recorded strides, offset, alignment and aliasing (carrier types)."""
    rebuilt = windows(case, allocate)
    specs = case.document.tensors
    return {name: view(rebuilt[group], specs[name]) for group, names in groups(specs).items() for name in names}


def _place(case: Case, names: list[str], window: np.ndarray) -> None:
    views = {name: view(window, case.document.tensors[name]) for name in names}
    for name in names:
        _fill(views[name], case.values[name])
    for name in names:
        if views[name].tobytes() != case.values[name].tobytes():
            raise CaseError(case.path or case.id, f"tensors.{name}", "its values contradict what shares its memory")


def _may_overlap_itself(spec: TensorSpec) -> bool:
    """False only if no two indices share an element: each stride steps over all that the shorter ones reach."""
    reach = 0
    for step, n in sorted((step, n) for step, n in zip(spec.stride, spec.shape, strict=True) if n > 1):
        if step <= reach:
            return True
        reach += (n - 1) * step
    return False


def _fill(target: np.ndarray, values: np.ndarray) -> None:
    # Copy bits, not numbers: a signalling NaN must stay the NaN it was.
    bits = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[target.dtype.itemsize]
    target.view(bits)[...] = values.view(bits)
