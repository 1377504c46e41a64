"""Environment variables that change the picture. Only those named here are ever read or shown; of no other is even the name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.doctor.check import Check, ok, one_line, warn
from harness.versions import serves

# What it does; what to do about it. Both are shown when the variable is set to something that has that effect.
_Effect = tuple[str, str] | None
_Rule = Callable[[str], _Effect]
_UNSET = "unset it, unless that is meant"


def _always(effect: str, fix: str = _UNSET) -> _Rule:
    return lambda value: (effect, fix)


def _when_on(effect: str, fix: str = _UNSET) -> _Rule:
    return lambda value: (effect, fix) if value.strip().lower() not in ("", "0", "false", "off", "no") else None


def _whole_number(value: str) -> _Effect:
    good = value.strip().isascii() and value.strip().isdigit() and 0 < int(value.strip()[:9]) <= 1024
    return None if good else ("is no number of threads", "set it to a number from 1 to 1024, or unset it")


def _visible_devices(value: str) -> _Effect:
    if value.strip() in ("", "-1", "NoDevFiles", "none", "void"):
        return "hides every GPU from CUDA", "unset it to use the GPUs"
    entries = [entry.strip() for entry in value.split(",")]
    if all((entry.isascii() and entry.isdigit()) or entry.startswith(("GPU-", "MIG-")) for entry in entries):
        return "shows CUDA only some GPUs, and numbers them anew", "count on these numbers, not nvidia-smi's"
    return "is no list of GPU numbers: CUDA sees only those before the first bad entry", "set it to numbers, as in 0,1, or unset it"


def _allocator(value: str) -> _Effect:
    plain = value.lower().replace(" ", "")
    if "expandable_segments:true" in plain:
        return "expandable segments give false alarms under memcheck", "take expandable_segments out for sanitizer runs"
    if "cudamallocasync" in plain:
        return "the pool of cudaMallocAsync hides reads past a buffer from memcheck", "take the backend out for sanitizer runs"
    return "changes where tensors lie", _UNSET


def _toolkit(value: str) -> _Effect:
    if any(Path(value, "bin", nvcc).is_file() for nvcc in ("nvcc", "nvcc.exe")):
        return None
    return "names no folder with bin/nvcc: building extensions fails", "set it to a toolkit's folder, or unset it"


def _library_path(value: str) -> _Effect:
    for folder in value.split(os.pathsep):
        if folder.rstrip("/").endswith("stubs"):
            return "has the toolkit's stubs: a stub of libcuda may be loaded instead of the driver", f"take {folder} out"
        try:
            names = [entry.name for entry in Path(folder).iterdir()] if folder else []
        except OSError:
            continue
        foreign = [name for name in names if name.startswith(("libcuda.so", "libtorch", "libc10", "libcudart.so", "libstdc++.so"))]
        if foreign:
            return f"{folder} has {foreign[0]}, which is loaded instead of torch's own", f"take {folder} out"
    return None


_SLOW = "slows every launch down; fine while looking for a fault"
RULES: dict[str, _Rule] = {
    "CUDA_LAUNCH_BLOCKING": _when_on(f"launches wait for their end: errors show where they happen, races may vanish; {_SLOW}"),
    "CUDA_VISIBLE_DEVICES": _visible_devices,
    "CUDA_DEVICE_ORDER": lambda value: None if value == "PCI_BUS_ID" else ("CUDA numbers GPUs unlike nvidia-smi", "set PCI_BUS_ID"),
    "CUDA_INJECTION64_PATH": _always("a tool is loaded into every CUDA program"),
    "CUDA_FORCE_PTX_JIT": _when_on("kernels are compiled from PTX by the driver, and fail where there is none"),
    "CUDA_DISABLE_PTX_JIT": _when_on("what holds only PTX for this GPU fails"),
    "CUDA_CACHE_DISABLE": _when_on("compiled kernels are not kept: every start is slow"),
    "CUDA_MPS_PIPE_DIRECTORY": _always("GPU work goes through an MPS server, where one program's fault can end another's"),
    "CUDA_HOME": _toolkit, "CUDA_PATH": _toolkit,
    "PYTORCH_CUDA_ALLOC_CONF": _allocator, "PYTORCH_ALLOC_CONF": _allocator,
    "PYTORCH_NO_CUDA_MEMORY_CACHING": _always("each tensor has its own allocation: good for memcheck, slow, and another layout"),
    "NVIDIA_TF32_OVERRIDE": lambda value: None if value == "0" else ("float32 products are rounded to TF32: poses differ", _UNSET),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": _when_on("float32 products are rounded to TF32: poses differ"),
    "TORCH_CUDA_ARCH_LIST": lambda value: None,  # judged against the GPUs
    "LD_PRELOAD": _always("a library is loaded before all others into every program"),
    "LD_LIBRARY_PATH": _library_path,
    "DYLD_INSERT_LIBRARIES": _always("a library is loaded before all others into every program"),
    "DYLD_LIBRARY_PATH": _library_path,
    "PYTHONHOME": _always("Python takes its own library from there"),
    "PYTHONPATH": lambda value: None,
    "PYTHONMALLOC": _always("Python allocates in another way than usual"),
    "PYTHONOPTIMIZE": _when_on("assertions are left out"),
    "KMP_DUPLICATE_LIB_OK": _when_on("two OpenMP runtimes in one process may compute wrongly", "unset it, and find the second"),
    "OMP_NUM_THREADS": _whole_number, "MKL_NUM_THREADS": _whole_number, "SIM3SOLVE_THREADS": _whole_number,
    "SIM3SOLVE_CACHE": lambda value: None, "CXX": lambda value: None,
    "ASAN_OPTIONS": _always("changes what ASan reports"), "UBSAN_OPTIONS": _always("changes what UBSan reports"),
    "MALLOC_PERTURB_": _when_on("fresh memory is filled with a pattern"), "GLIBC_TUNABLES": _always("the C library is tuned"),
}  # fmt: skip


def judge(environ: Mapping[str, str], gpus: list[dict[str, Any]]) -> list[Check]:
    """A line for each variable that changes the picture, and one that names the other known ones that are set."""
    lines, harmless = [], []
    for name, rule in RULES.items():
        value = environ.get(name)
        if value is None:
            continue
        shown = f"{name}={one_line(value, 160)}"
        effect = _architectures(value, gpus) if name == "TORCH_CUDA_ARCH_LIST" else rule(value)
        if effect is None:
            harmless.append(shown)
        else:
            lines.append(warn(f"variable {name}", f"{shown}: {effect[0]}", effect[1]))
    rest = f"set, and harmless: {', '.join(harmless)}" if harmless else "no other that changes the picture is set"
    return [*lines, ok("variables", rest)]


def _architectures(value: str, gpus: list[dict[str, Any]]) -> _Effect:
    """TORCH_CUDA_ARCH_LIST as in "8.6;9.0+PTX": what extensions are built for."""
    built = []
    for entry in value.replace(",", ";").replace(" ", ";").split(";"):
        number, plus, _ = entry.strip().lower().partition("+ptx")
        digits = number.replace(".", "")
        built += [f"sm_{digits}", *([f"compute_{digits}"] if plus else [])]
    unserved = [gpu for gpu in gpus if serves(built, (gpu["major"], gpu["minor"])) is None]
    if not unserved or not any(character.isdigit() for character in value):  # names such as Hopper are torch's to know
        return None
    needed = ";".join(sorted({f"{gpu['major']}.{gpu['minor']}" for gpu in unserved}))
    return f"extensions built with it have no kernels for {unserved[0]['name']} (error 209)", f"add {needed}"
