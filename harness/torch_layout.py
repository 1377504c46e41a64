"""The recorded memory, rebuilt as torch tensors on the CPU or a GPU. Runs in children only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from harness.case import Case
from harness.layout import groups, windows
from harness.memory.arena import HostArena
from harness.memory.device import Bytes, DeviceArena


def tensors(case: Case, device: torch.device, arena: HostArena | DeviceArena | None = None) -> dict[str, torch.Tensor]:
    """Every tensor of a case with its recorded dtype, strides, offset, ``data_ptr mod 512`` and aliasing, on ``device``.

    ``arena`` gives the windows other places than a pool would; it must be of that device.
    """
    specs = case.document.tensors
    rebuilt: dict[str, torch.Tensor] = {}
    if isinstance(arena, HostArena):
        host_windows = windows(case, arena.allocate)
    else:
        host_windows = windows(case) if arena is None else windows(case, arena.host_window)
    for group, names in groups(specs).items():
        base_mod = specs[names[0]].base_mod_512
        if isinstance(arena, DeviceArena):
            torch.empty(1, device=device)  # makes the GPU's context, and torch's own there; zeros would launch a kernel
            storage = _shown(arena.place(group, host_windows[group], base_mod), device)
        else:
            storage = _storage(host_windows[group], base_mod, device)
        for name in names:
            spec = specs[name]
            empty = torch.empty(0, dtype=getattr(torch, spec.dtype), device=device)
            rebuilt[name] = empty.set_(storage, spec.storage_offset, spec.shape, spec.stride)
    return rebuilt


def _storage(window: np.ndarray, base_mod: int, device: torch.device) -> Any:
    if device.type == "cuda":
        room = torch.empty(max(len(window), 1) + 512, dtype=torch.uint8, device=device)
        start = (base_mod - room.data_ptr()) % 512
        if len(window):
            room[start : start + len(window)].copy_(torch.from_numpy(window))
        return _shown(Bytes(room.data_ptr() + start, len(window), room), device)
    if len(window) == 0:
        return torch.empty(0, dtype=torch.uint8).untyped_storage()
    return torch.frombuffer(window, dtype=torch.uint8).untyped_storage()


def _shown(window: Bytes, device: torch.device) -> Any:
    return torch.as_tensor(window, device=device).untyped_storage()
