"""Memory between pages that nobody may touch: a load or store one byte beyond it ends the process at once. No tool is needed."""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

GUARD_BYTES = 1 << 20
"""Address space on each side that faults. It costs no memory; an index that is far off must not jump over it."""

_PROT_NONE, _MEM_RESERVE, _MEM_COMMIT, _PAGE_NOACCESS, _PAGE_READWRITE = 0, 0x2000, 0x1000, 0x01, 0x04


def allocate(n_bytes: int) -> tuple[int, int]:
    """(address, size) of whole pages holding ``n_bytes``, with ``GUARD_BYTES`` on each side that fault.

    Never given back: a solver may keep an address, and the process ends with its one solve. Raises MemoryError.
    """
    size = -(-max(n_bytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    address = _reserve(size + 2 * GUARD_BYTES) + GUARD_BYTES
    _open(address, size)
    return address, size


def _reserve(size: int) -> int:
    """Address space in which every access faults."""
    if sys.platform == "win32":
        address = _kernel32().VirtualAlloc(None, size, _MEM_RESERVE, _PAGE_NOACCESS)
    else:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        address = _libc().mmap(None, size, _PROT_NONE, flags, -1, 0)
        address = None if address == ctypes.c_void_p(-1).value else address
    if not address:
        raise MemoryError(f"no address space for {size} bytes")
    return int(address)


def _open(address: int, size: int) -> None:
    if sys.platform == "win32":
        opened = bool(_kernel32().VirtualAlloc(address, size, _MEM_COMMIT, _PAGE_READWRITE))
    else:
        opened = _libc().mprotect(address, size, mmap.PROT_READ | mmap.PROT_WRITE) == 0
    if not opened:
        raise MemoryError(f"no memory for {size} bytes")


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


@cache
def _kernel32() -> Any:
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    kernel32.VirtualAlloc.restype = ctypes.c_void_p
    kernel32.VirtualAlloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_uint32]
    return kernel32
