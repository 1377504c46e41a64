"""The three calls of the CUDA driver that a solve makes, straight through ctypes.

A launch through the Python bindings takes several times as long as the whole solve's share of it should; these take about a
microsecond together. Everything that is not on that path uses cuda.core and cuda.bindings.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

COOPERATIVE = 2  # CU_LAUNCH_ATTRIBUTE_COOPERATIVE


class LaunchAttribute(ctypes.Structure):
    """CUlaunchAttribute with its int value: 8 bytes of id and padding, then a union of 64 bytes."""

    _fields_ = [("id", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("value", ctypes.c_int32), ("rest", ctypes.c_byte * 60)]


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        ("grid_x", ctypes.c_uint32), ("grid_y", ctypes.c_uint32), ("grid_z", ctypes.c_uint32), ("block_x", ctypes.c_uint32),
        ("block_y", ctypes.c_uint32), ("block_z", ctypes.c_uint32), ("shared_bytes", ctypes.c_uint32), ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(LaunchAttribute)), ("n_attributes", ctypes.c_uint32),
    ]  # fmt: skip


@cache
def library() -> Any:
    """The driver's library. Raises OSError where there is none."""
    loaded = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    loaded.cuLaunchKernelEx.argtypes = [ctypes.c_void_p] * 4
    loaded.cuCtxGetCurrent.argtypes = [ctypes.c_void_p]
    loaded.cuStreamSynchronize.argtypes = [ctypes.c_void_p]
    return loaded
