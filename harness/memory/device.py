"""Rooms on a GPU: each window an allocation of the driver's own, exactly its size, or with poison around it. Children only."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from harness.layout import aligned_bytes
from harness.memory.arena import Fill, Room, all_nan, guard_bytes
from sim3solve import driver


class Bytes:
    """Bytes on a GPU, shown to torch as a buffer of their own: storage offsets count from its start. ``owner`` is kept alive."""

    def __init__(self, address: int, n_bytes: int, owner: Any = None) -> None:
        self.owner = owner
        self.__cuda_array_interface__ = {"shape": (max(n_bytes, 1),), "typestr": "|u1", "data": (address, False), "version": 2}


@dataclass
class DeviceArena:
    """Rooms on a GPU. ``exact``: an allocation of the driver's for each window, which ends with the window.

    Its start is one of the driver's, a multiple of 512: what lies before a window recorded elsewhere belongs to the allocation.
    """

    name: str
    device: torch.device
    exact: bool = False
    fill: Fill = all_nan
    rooms: dict[str, Room] = field(default_factory=dict)

    def host_window(self, group: str, n_bytes: int, address_mod_512: int, itemsize: int) -> np.ndarray:
        """Where the values are put together, on the host (``layout.Allocate``)."""
        window = aligned_bytes(n_bytes, address_mod_512)
        window[:] = self.fill(group, "gap")
        return window

    def storage(self, group: str, window: np.ndarray, address_mod_512: int) -> Any:
        """torch's storage of a window, with the values in it."""
        room = self._exact(group, len(window), address_mod_512) if self.exact else self._wide(group, len(window), address_mod_512)
        end = room.start + len(window)
        room.memory[: room.start] = self.fill(group, "before")
        room.memory[end:] = self.fill(group, "after")
        if len(window):
            room.memory[room.start : end].copy_(torch.from_numpy(window))
        self.rooms[group] = room
        return torch.as_tensor(Bytes(room.address + room.start, len(window), room.memory), device=self.device).untyped_storage()

    def _wide(self, group: str, n_bytes: int, address_mod_512: int) -> Room:
        guard = guard_bytes(n_bytes)
        memory = torch.empty(2 * guard + n_bytes + 512, dtype=torch.uint8, device=self.device)
        start = guard + (address_mod_512 - memory.data_ptr() - guard) % 512
        return Room(group, memory, memory.data_ptr(), start, n_bytes)

    def _exact(self, group: str, n_bytes: int, address_mod_512: int) -> Room:
        torch.zeros(1, device=self.device)  # makes torch's context this thread's
        size = max(address_mod_512 + n_bytes, 1)
        address = ctypes.c_uint64()
        failed = driver.library().cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
        if failed:
            raise MemoryError(f"cuMemAlloc of {size} bytes for {group}: CUDA error {failed}")
        # Never freed: the process ends with its one solve, and a late access must still meet memory that is known.
        memory = torch.as_tensor(Bytes(address.value, size), device=self.device)
        start = (address_mod_512 - address.value) % 512
        start = min(start, size - n_bytes)  # the driver gives multiples of 512, so this changes nothing
        kept = f"modulo 512, with {start} bytes before it in its allocation" if start else ""
        return Room(group, memory, address.value, start, n_bytes, False, kept)
