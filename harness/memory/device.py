"""Rooms on a GPU: each window an allocation of the driver's own, exactly its size, or with poison around it. Children only.

Through the driver alone, so that a child whose solver needs no torch does not import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.layout import aligned_bytes
from harness.memory.arena import Fill, Room, all_nan, guard_bytes
from sim3solve import driver
from sim3solve.driver import Current


class Bytes:
    """Bytes on a GPU, shown to torch as a buffer of their own: storage offsets count from its start. ``owner`` is kept alive."""

    def __init__(self, address: int, n_bytes: int, owner: Any = None) -> None:
        self.address, self.owner = address, owner
        self.__cuda_array_interface__ = {"shape": (max(n_bytes, 1),), "typestr": "|u1", "data": (address, False), "version": 2}


def device_count() -> int:
    """How many GPUs the driver shows; 0 where there is no driver or it fails."""
    try:
        driver.call("cuInit", 0)
        return driver.ask("cuDeviceGetCount")
    except (driver.CudaError, OSError):
        return 0


class DeviceMemory:
    """An allocation of the driver's on one GPU, never freed: the process ends with its solve, and a late access must meet it.

    Every operation has happened when it returns. Raises MemoryError when there is not enough, ``CudaError`` for all else.
    """

    def __init__(self, device: int, n_bytes: int) -> None:
        self._n_bytes = max(n_bytes, 1)
        driver.call("cuInit", 0)
        self._context = driver.ask("cuDevicePrimaryCtxRetain", driver.ask("cuDeviceGet", device))
        with Current(self._context):
            try:
                self.address = driver.ask("cuMemAlloc_v2", self._n_bytes)
            except driver.CudaError as error:
                if "OUT_OF_MEMORY" not in str(error):
                    raise
                raise MemoryError(f"cuMemAlloc of {self._n_bytes} bytes: {error}") from None

    def __len__(self) -> int:
        return self._n_bytes

    def __setitem__(self, part: slice, value: int | np.ndarray) -> None:
        """A byte for all of a part, or what an array of bytes holds."""
        start, stop, _ = part.indices(self._n_bytes)
        if start >= stop:
            return
        with Current(self._context):
            if isinstance(value, np.ndarray):
                window = np.ascontiguousarray(value, dtype=np.uint8)
                driver.call("cuMemcpyHtoD_v2", self.address + start, window.ctypes.data, stop - start)
            else:
                driver.call("cuMemsetD8_v2", self.address + start, value, stop - start)
            driver.call("cuStreamSynchronize", None)  # the solver may be on a stream that waits for no other

    def on_host(self) -> np.ndarray:
        """What it holds now (uint8)."""
        copy = np.empty(self._n_bytes, dtype=np.uint8)
        with Current(self._context):
            driver.call("cuMemcpyDtoH_v2", copy.ctypes.data, self.address, self._n_bytes)
        return copy


@dataclass
class DeviceArena:
    """Rooms on GPU ``device``. ``exact``: an allocation of the driver's for each window, which ends with the window.

    Its start is one of the driver's, a multiple of 512: what lies before a window recorded elsewhere belongs to the allocation.
    """

    name: str
    device: int
    exact: bool = False
    fill: Fill = all_nan
    rooms: dict[str, Room] = field(default_factory=dict)

    def host_window(self, group: str, n_bytes: int, address_mod_512: int, itemsize: int) -> np.ndarray:
        """Where the values are put together, on the host (``layout.Allocate``)."""
        window = aligned_bytes(n_bytes, address_mod_512)
        window[:] = self.fill(group, "gap")
        return window

    def place(self, group: str, window: np.ndarray, address_mod_512: int) -> Bytes:
        """A window on the GPU, with the values in it."""
        guard = 0 if self.exact else guard_bytes(len(window))
        memory = DeviceMemory(self.device, address_mod_512 + len(window) + 2 * guard + (0 if self.exact else 512))
        start = guard + (address_mod_512 - memory.address - guard) % 512
        start = min(start, len(memory) - len(window))  # the driver gives multiples of 512, so this changes nothing
        kept = f"modulo 512, with {start} bytes before it in its allocation" if self.exact and start else ""
        end = start + len(window)
        memory[:start] = self.fill(group, "before")
        memory[end:] = self.fill(group, "after")
        memory[start:end] = window
        self.rooms[group] = Room(group, memory, memory.address, start, len(window), False, kept)
        return Bytes(memory.address + start, len(window), memory)
