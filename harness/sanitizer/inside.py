"""What a watched child does for its tool, in the child: it says which kernels it launched, or which libraries are instrumented.

A tool that had nothing to watch finds nothing; only the child can tell that from a clean run. Written to ``sanitizer.json`` after
each solve; the last counts. Under ASan the case's tensors are allocations of exactly their size, between red zones.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness import solvers
from harness.case import TensorSpec
from harness.jsonfile import write_json
from harness.layout import groups
from harness.memory.arena import HostArena
from harness.registry import SolverSpec
from harness.sanitizer import libraries
from harness.sanitizer.tools import CHILD, CUDA_TOOLS, HOST_TOOLS, NONE
from harness.solvers import Solver

_POISON = "__asan_poison_memory_region"
_NO_KERNEL = frozenset({
    "_to_copy", "copy_", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "set_", "resize_", "lift_fresh",
    "_local_scalar_dense", "record_stream", "detach", "detach_", "alias",
})  # fmt: skip
"""Operations of torch that may come without a kernel: allocations, and copies, which an engine of the GPU does."""


def load(spec: SolverSpec, job: Mapping[str, Any], folder: Path) -> Solver:
    """The solver, bearing witness to what it does where the job is run under a tool."""
    tool = job.get("tool", NONE)
    if tool in HOST_TOOLS:
        os.environ.pop("LD_PRELOAD", None)  # it is loaded; a compiler that this process starts would take minutes with it
        libraries.at_start()
    return watched(solvers.load(spec), spec, tool, folder)


def watched(solver: Solver, spec: SolverSpec, tool: str, folder: Path) -> Solver:
    """The solver with a note of each solve, for the tool it runs under."""
    if tool in CUDA_TOOLS:
        note: Callable[[], contextlib.AbstractContextManager[None]] = functools.partial(_launches, folder)
    elif tool in HOST_TOOLS:
        note = functools.partial(libraries.noted, folder, tool, spec)
    else:
        return solver

    def solve(problem: Any, options: Any, observe: Any) -> Any:
        with note():
            return solver.solve(problem, options, observe)

    def op(name: str, operands: Mapping[str, Any]) -> Any:
        assert solver.op is not None
        with note():
            return solver.op(name, operands)

    return dataclasses.replace(solver, solve=solve, op=op if solver.op is not None else None)


def arena(job: Mapping[str, Any], specs: Mapping[str, TensorSpec], device: str) -> HostArena | None:
    """Where the tensors are to lie when no memory mode says so; None for where they lie without a tool."""
    return RedZones("red zones", specs=specs) if job.get("tool") == "asan" and device == "cpu" else None


@dataclasses.dataclass
class RedZones(HostArena):
    """Each window an allocation of the C library's own, exactly its size: the byte after it is ASan's red zone.

    What precedes its first tensor is poisoned, in whole units of 8 bytes. The address is kept modulo 16.
    """

    specs: Mapping[str, TensorSpec] = dataclasses.field(default_factory=dict)

    def allocate(self, group: str, n_bytes: int, address_mod_512: int, itemsize: int) -> np.ndarray:
        process = ctypes.CDLL(None)
        process.malloc.restype, process.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        poison = getattr(process, _POISON)  # AttributeError without the runtime
        poison.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        lead = address_mod_512 % 16
        address = process.malloc(lead + n_bytes)
        if not address:
            raise MemoryError(f"{n_bytes} bytes for {group}")
        room = np.ndarray((lead + n_bytes,), np.uint8, buffer=memoryview((ctypes.c_uint8 * (lead + n_bytes)).from_address(address)))
        for part in (room[:lead], room[lead:]):
            part[:] = self.fill(group, "gap")
        names = groups(self.specs).get(group, ())
        covered = min((self.specs[name].storage_offset * self.specs[name].itemsize for name in names), default=0)
        if n_bytes:
            poison(address, (lead + covered) // 8 * 8)
        return room[lead:]


# --- on a GPU ---------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _launches(folder: Path) -> Iterator[None]:
    """Notes what is launched through the driver by ``sim3solve.driver``, and what torch computes on a GPU."""
    seen: dict[str, None] = {}
    try:
        with _through_the_driver(seen), _by_torch(seen):
            yield
    finally:
        write_json(folder / CHILD, {"launched": list(seen)})


@contextlib.contextmanager
def _through_the_driver(seen: dict[str, None]) -> Iterator[None]:
    try:
        from sim3solve import driver

        library = driver.library()
    except (ImportError, OSError):  # no driver, or a revision that did not yet speak to it: no launch
        yield
        return
    launch = library.cuLaunchKernelEx

    def noting(config: Any, function: Any, *more: Any) -> Any:
        status = launch(config, function, *more)
        if status == 0:
            seen[_kernel_name(library, function)] = None
        return status

    library.cuLaunchKernelEx = noting
    try:
        yield
    finally:
        library.cuLaunchKernelEx = launch


def _kernel_name(library: Any, function: Any) -> str:
    """The name of a CUfunction or CUkernel; drivers before 12.3 do not tell."""
    handle = ctypes.c_void_p(getattr(function, "value", function))
    for ask in ("cuFuncGetName", "cuKernelGetName"):
        name = ctypes.c_char_p()
        if hasattr(library, ask) and getattr(library, ask)(ctypes.byref(name), handle) == 0 and name.value:
            return name.value.decode("utf-8", errors="replace")
    return "a kernel whose name the driver does not tell"


@contextlib.contextmanager
def _by_torch(seen: dict[str, None]) -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        yield
        return
    from torch.utils._python_dispatch import TorchDispatchMode

    class Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            if launches(func, made):
                seen[f"torch: {func}"] = None
            return made

    with Noting():  # type: ignore[no-untyped-call]
        yield


def launches(func: Any, made: Any) -> bool:
    """Whether an operation of torch that gave ``made`` must have launched a kernel: it computed elements on a GPU."""
    if func.is_view or func.overloadpacket.__name__ in _NO_KERNEL:
        return False
    results = made if isinstance(made, (tuple, list)) else (made,)
    return any(getattr(it, "is_cuda", False) and it.numel() > 0 for it in results)
