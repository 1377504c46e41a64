"""The driver's own answers through ctypes: no torch, no package of NVIDIA's, nothing that could be of another version."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

# Numbers of CUdevice_attribute.
_ATTRIBUTES = {
    "kernel_time_limit": 17, "compute_mode": 20, "ecc": 32, "tcc": 35, "major": 75, "minor": 76, "cooperative": 95,
}  # fmt: skip


def driver() -> dict[str, Any]:
    """``library`` (a path, or None with ``missing``), ``init`` (cuInit's code), ``cuda`` (as 13000), ``gpus``, ``nvml``."""
    windows = sys.platform == "win32"
    answer: dict[str, Any] = {"library": None, "init": None, "cuda": None, "gpus": [], "nvml": _nvml(windows)}
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if windows else "libcuda.so.1")
    except OSError as error:
        return answer | {"missing": str(error)}
    answer["library"] = _loaded("nvcuda" if windows else "libcuda.so")
    answer["init"] = cuda.cuInit(0)
    version = ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(version)) == 0:
        answer["cuda"] = version.value
    count = ctypes.c_int()
    if answer["init"] == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
        answer["gpus"] = [_gpu(cuda, index) for index in range(count.value)]
    return answer


def _gpu(cuda: Any, index: int) -> dict[str, Any]:
    device, number, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name, bus = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32)
    failed = cuda.cuDeviceGet(ctypes.byref(device), index)
    if failed:
        return {"index": index, "failed": failed}
    cuda.cuDeviceGetName(name, 256, device)
    cuda.cuDeviceGetPCIBusId(bus, 32, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    found: dict[str, Any] = {"index": index, "name": name.value.decode("utf-8", "replace"), "memory_bytes": size.value}
    found["bus"] = bus.value.decode("ascii", "replace")
    for attribute, key in _ATTRIBUTES.items():
        found[attribute] = number.value if cuda.cuDeviceGetAttribute(ctypes.byref(number), key, device) == 0 else None
    return found


def _nvml(windows: bool) -> dict[str, Any] | None:
    """NVML's code at its start and the driver's version; None where there is no such library."""
    try:
        nvml = ctypes.CDLL("nvml.dll" if windows else "libnvidia-ml.so.1")
    except OSError:
        return None
    code = nvml.nvmlInit_v2()
    text = ctypes.create_string_buffer(96)
    known = code == 0 and nvml.nvmlSystemGetDriverVersion(text, 96) == 0
    return {"init": code, "version": text.value.decode("ascii", "replace") if known else None}


def _loaded(name: str) -> str:
    """The file that the system took for a library; its bare name where the system does not tell."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return name
    return next((line[line.index("/") :] for line in lines if name in line and "/" in line), name)
