"""The recorded memory, rebuilt as torch tensors on the CPU or a GPU. Runs in children only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from harness.case import Case
from harness.layout import groups, windows


class _DeviceWindow:
    """Bytes on a GPU at a chosen address modulo 512, shown to torch as a buffer of its own: storage offsets count from it."""

    def __init__(self, data: np.ndarray, address_mod_512: int, device: torch.device) -> None:
        n = max(len(data), 1)
        self.room = torch.empty(n + 512, dtype=torch.uint8, device=device)
        start = (address_mod_512 - self.room.data_ptr()) % 512
        if len(data):
            self.room[start : start + len(data)].copy_(torch.from_numpy(data))
        self.__cuda_array_interface__ = {
            "shape": (n,), "typestr": "|u1", "data": (self.room.data_ptr() + start, False), "version": 2,
        }  # fmt: skip


def tensors(case: Case, device: torch.device) -> dict[str, torch.Tensor]:
    """Every tensor of a case with its recorded dtype, strides, offset, ``data_ptr mod 512`` and aliasing, on ``device``."""
    specs = case.document.tensors
    rebuilt: dict[str, torch.Tensor] = {}
    host_windows = windows(case)
    for group, names in groups(specs).items():
        base_mod = specs[names[0]].base_mod_512
        storage = _storage(host_windows[group], base_mod, device)
        for name in names:
            spec = specs[name]
            empty = torch.empty(0, dtype=getattr(torch, spec.dtype), device=device)
            rebuilt[name] = empty.set_(storage, spec.storage_offset, spec.shape, spec.stride)
    return rebuilt


def _storage(window: np.ndarray, base_mod: int, device: torch.device) -> Any:
    if device.type == "cuda":
        return torch.as_tensor(_DeviceWindow(window, base_mod, device), device=device).untyped_storage()
    if len(window) == 0:
        return torch.empty(0, dtype=torch.uint8).untyped_storage()
    return torch.frombuffer(window, dtype=torch.uint8).untyped_storage()
