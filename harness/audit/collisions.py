"""Functions that a linker may take for one: the same name in a host and in a CUDA file, in at least one of them foldable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.audit.model import Binary, Function, Verdict, count

FIX = (
    "put the CPU templates into an anonymous namespace; or compile the .cu with nvcc -static-global-template-stub=true (12.8 or "
    "newer, without -rdc; the variable NVCC_APPEND_FLAGS hands it to a build); or build with CUDA 13 or newer, where it is the "
    "default"
)


@dataclass(frozen=True)
class Collision:
    """``kernel``: the CUDA file's function is the launch stub of a kernel, so the two cannot be copies of one inline function."""

    symbol: str
    host_file: str
    cuda_file: str
    binding: str
    kernel: bool


def find(binaries: Sequence[Binary]) -> list[Collision]:
    """Every function that could be folded between a host and a CUDA file of the same format and machine."""
    found = []
    for cuda in (b for b in binaries if b.is_cuda):
        theirs = {f.name: f for f in _visible(cuda)}
        stubs = cuda.launch_stubs()
        for host in (b for b in binaries if not b.is_cuda and (b.format, b.machine) == (cuda.format, cuda.machine)):
            both_linked = host.linked and cuda.linked  # the dynamic linker takes the first it finds, weak or not
            for ours in _visible(host):
                other = theirs.get(ours.name)
                if other is not None and (ours.foldable or other.foldable or both_linked):
                    binding = ours.binding if ours.binding == other.binding else f"{ours.binding} and {other.binding}"
                    found.append(Collision(ours.name, host.name, cuda.name, binding, ours.name in stubs))
    return sorted(set(found), key=lambda c: (not c.kernel, c.cuda_file, c.host_file, c.symbol))


def _visible(binary: Binary) -> list[Function]:
    # A PE file binds its imports to a DLL by name: nothing of it is folded with another's.
    return [] if binary.format == "PE" else [f for f in binary.functions if f.exported and f.binding != "local"]


def verdict(binaries: Sequence[Binary], found: Sequence[Collision]) -> Verdict | None:
    """None when there is no pair to compare."""
    n_cuda = sum(b.is_cuda for b in binaries)
    if not n_cuda or n_cuda == len(binaries):
        return None
    kernels = sorted({c.symbol for c in found if c.kernel})
    shared = len({c.symbol for c in found if not c.kernel})
    also = f" ({count(shared, 'other function')} in both, as inline functions of shared headers are)" if shared else ""
    if not kernels:
        return Verdict("collisions", "ok", f"no launch stub has a namesake in a host file that the linker could fold{also}")
    what = (
        f"{count(len(kernels), 'launch stub')} in a CUDA file with the name of a CPU function in a host file: a linker that "
        f"folds them makes the GPU path run the CPU function on device pointers, and the process dies without a traceback{also}"
    )
    return Verdict("collisions", "fail", what, FIX)
