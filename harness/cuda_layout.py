"""The recorded memory, rebuilt on a GPU without torch: arrays that show ``__cuda_array_interface__``. Runs in children only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.case import CARRIERS, Case, TensorSpec
from harness.layout import groups, windows
from harness.memory.device import Bytes, DeviceArena, DeviceMemory

_UNIT = 1 << 21
"""A pool hands out parts of blocks of 2 MiB as torch's does: what lies past a tensor is the pool's, and can be read."""


@dataclass(frozen=True)
class CudaArray:
    """A tensor on a GPU: shape, strides in elements and dtype as recorded. ``owner`` keeps its memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stride: tuple[int, ...]
    address: int
    owner: Any

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = tuple(step * self.dtype.itemsize for step in self.stride)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False), "strides": strides, "version": 3}


def can_hold(specs: Mapping[str, TensorSpec]) -> bool:
    """Whether the solver reads all of these where they lie, with no torch to convert them first."""
    strides = {"T_WCf": (1,), "T_WCk": (1,), "K": (3, 1)}
    whole = all(specs[name].stride[-len(steps) :] == steps for name, steps in strides.items() if name in specs)
    return whole and all(spec.dtype in ("float32", "bool") for spec in specs.values())


def arrays(case: Case, device: int, arena: DeviceArena | None = None) -> dict[str, CudaArray]:
    """Every tensor of a case with its recorded dtype, strides, offset, address modulo 512 and aliasing, on GPU ``device``.

    ``arena`` gives the windows other places than a pool would. Raises MemoryError and ``CudaError``.
    """
    specs = case.document.tensors
    bases = {group: specs[names[0]].base_mod_512 for group, names in groups(specs).items()}
    if arena is not None:
        on_host = windows(case, arena.host_window)
        placed = {group: arena.place(group, window, bases[group]) for group, window in on_host.items()}
    else:
        placed = _in_a_pool(windows(case), bases, device)
    made = {}
    for group, names in groups(specs).items():
        base = placed[group].address
        for name in names:
            spec = specs[name]
            address = base + spec.storage_offset * spec.itemsize
            made[name] = CudaArray(spec.shape, np.dtype(CARRIERS[spec.dtype]), spec.stride, address, placed[group])
    return {name: made[name] for name in specs}


def _in_a_pool(on_host: Mapping[str, np.ndarray], bases: Mapping[str, int], device: int) -> dict[str, Bytes]:
    n_bytes = sum(len(window) + 1024 for window in on_host.values())
    memory = DeviceMemory(device, -(-n_bytes // _UNIT) * _UNIT)
    placed, free = {}, 0
    for group, window in on_host.items():
        start = free + (bases[group] - memory.address - free) % 512
        memory[start : start + len(window)] = window
        placed[group] = Bytes(memory.address + start, len(window), memory)
        free = start + -(-len(window) // 512) * 512
    return placed
