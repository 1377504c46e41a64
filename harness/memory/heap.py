"""What memory holds that a solver takes for itself and has not written yet: by default whatever was there, here a chosen byte."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_PERTURB = -6


def fill(byte: int | None) -> bool:
    """Fill what the C library hands out from now on; None for as it comes. False where there is no way to (it is glibc's own).

    Small blocks that come back to the same thread at once are left as they were.
    """
    if sys.platform != "linux":
        return False
    with contextlib.suppress(AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version.restype = ctypes.c_char_p
        # glibc fills with the complement of the low byte, and takes 0 for off.
        value = 0 if byte is None else (byte ^ 0xFF) or 0x100
        return bool(libc.gnu_get_libc_version()) and libc.mallopt(_M_PERTURB, value) == 1
    return False


def fill_torch(on: bool) -> None:
    """Let ``torch.empty`` hand out NaN, on any device. Operations that are not deterministic only warn."""
    torch = sys.modules.get("torch")
    if torch is not None:
        # Not use_deterministic_algorithms(): that imports a compiler, which takes seconds.
        torch.set_deterministic_debug_mode("warn" if on else "default")
        torch.utils.deterministic.fill_uninitialized_memory = on
