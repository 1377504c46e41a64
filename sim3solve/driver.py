"""The CUDA driver's functions that the solver needs, straight through ctypes.

A launch through the Python bindings takes several times as long as the whole solve's share of it should; and with nothing but the
driver's own library, a solve whose kernels are in the cache starts in a process that imports neither torch nor cuda.core.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

COOPERATIVE, CLUSTER_DIMENSION = 2, 4  # CUlaunchAttributeID
MAX_DYNAMIC_SHARED_BYTES = 8  # CUfunction_attribute
SHARED_BYTES = 1  # CUfunction_attribute
MULTIPROCESSORS, MAJOR, MINOR, COOPERATIVE_LAUNCH, MAX_SHARED_OPTIN, CLUSTER_LAUNCH = 16, 75, 76, 95, 97, 120  # CUdevice_attribute
DEVICE_ORDINAL = 9  # CUpointer_attribute
HOST_DEVICEMAP = 2

_P, _I, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuGetErrorName": (_I, _P),
    "cuGetErrorString": (_I, _P),
    "cuDeviceGetCount": (_P,),
    "cuDeviceGet": (_P, _I),
    "cuDeviceGetName": (_P, _I, _I),
    "cuDeviceGetAttribute": (_P, _I, _I),
    "cuDevicePrimaryCtxRetain": (_P, _I),
    "cuCtxGetCurrent": (_P,),
    "cuCtxPushCurrent_v2": (_P,),
    "cuCtxPopCurrent_v2": (_P,),
    "cuModuleLoadData": (_P, _P),
    "cuModuleGetFunction": (_P, _P, ctypes.c_char_p),
    "cuFuncGetAttribute": (_P, _I, _P),
    "cuFuncSetAttribute": (_P, _I, _I),
    "cuMemAlloc_v2": (_P, _SIZE),
    "cuMemFree_v2": (_P,),
    "cuMemHostAlloc": (_P, _SIZE, ctypes.c_uint),
    "cuMemFreeHost": (_P,),
    "cuMemsetD8_v2": (_P, ctypes.c_ubyte, _SIZE),
    "cuMemcpyDtoH_v2": (_P, _P, _SIZE),
    "cuMemcpyHtoD_v2": (_P, _P, _SIZE),
    "cuMemcpyHtoDAsync_v2": (_P, _P, _SIZE, _P),
    "cuPointerGetAttribute": (_P, _I, _P),
    "cuStreamSynchronize": (_P,),
    "cuLaunchKernelEx": (_P, _P, _P, _P),
}
_SINCE_CUDA_12: dict[str, tuple[Any, ...]] = {"cuOccupancyMaxActiveClusters": (_P, _P, _P)}


class CudaError(RuntimeError):
    """A call of the CUDA driver failed. The message starts with the error's name, as in CUDA_ERROR_ILLEGAL_ADDRESS."""


class LaunchAttribute(ctypes.Structure):
    """CUlaunchAttribute: 8 bytes of id and padding, then a union of 64 bytes, of which up to three ints are used here."""

    _fields_ = [("id", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("value", ctypes.c_int32 * 3), ("rest", ctypes.c_byte * 52)]


def cooperative_attribute() -> LaunchAttribute:
    """All blocks run at once, so that they may wait for each other."""
    return LaunchAttribute(COOPERATIVE, 0, (1, 0, 0))


def cluster_attribute(blocks: int) -> LaunchAttribute:
    return LaunchAttribute(CLUSTER_DIMENSION, 0, (blocks, 1, 1))


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
    for name, arguments in _SIGNATURES.items():
        getattr(loaded, name).argtypes = arguments
    for name, arguments in _SINCE_CUDA_12.items():
        if hasattr(loaded, name):
            getattr(loaded, name).argtypes = arguments
    return loaded


def check(status: int) -> None:
    """Raises ``CudaError`` with the error's name and text when a call's status is not 0."""
    if status != 0:
        words = []
        for ask in (library().cuGetErrorName, library().cuGetErrorString):
            text = ctypes.c_char_p()
            ask(status, ctypes.addressof(text))
            words.append((text.value or b"").decode())
        raise CudaError(f"{words[0] or f'CUDA error {status}'}: {words[1]}")


def call(name: str, *arguments: Any) -> None:
    check(getattr(library(), name)(*arguments))


def ask(name: str, *arguments: Any) -> int:
    """The integer, handle or address that a call writes to where its first argument points."""
    value = ctypes.c_uint64()  # the machine is little-endian: a 32-bit answer is its low half
    call(name, ctypes.addressof(value), *arguments)
    return value.value


def device_attribute(attribute: int, device: int) -> int:
    return ask("cuDeviceGetAttribute", attribute, device)


class Current:
    """A context made current for a moment; what was current comes back."""

    def __init__(self, context: int) -> None:
        self._context = context

    def __enter__(self) -> None:
        call("cuCtxPushCurrent_v2", self._context)

    def __exit__(self, *_: object) -> None:
        ask("cuCtxPopCurrent_v2")
