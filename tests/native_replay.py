"""Replays cases through a sanitized build of the CPU library, in a process with the sanitizer's runtime preloaded.

``python native_replay.py LIBRARY CASE...``: each window of a case is its own exact-size allocation, so that the byte after it is
the sanitizer's red zone, and whatever precedes the first tensor in it is poisoned. Prints one line per case and ``all done``.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np

from harness import layout
from harness.case import CARRIERS, Case, as_float
from harness.casefile import read_case
from sim3solve import native
from sim3solve.problem import PROBLEMS

process = ctypes.CDLL(None)
process.malloc.restype, process.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
for name in ("__asan_poison_memory_region", "__asan_unpoison_memory_region"):
    getattr(process, name).argtypes = [ctypes.c_void_p, ctypes.c_size_t]  # AttributeError when the runtime is not there


def guarded(case: Case) -> dict[str, np.ndarray]:
    """The case's tensors with recorded strides, offsets, aliasing and alignment modulo 16, between red zones."""
    specs = case.document.tensors
    hosts = layout.windows(case)
    tensors: dict[str, np.ndarray] = {}
    for group, names in layout.groups(specs).items():
        data = hosts[group]
        lead = specs[names[0]].base_mod_512 % 16
        address = process.malloc(lead + len(data))
        assert address % 16 == 0
        ctypes.memmove(address + lead, data.ctypes.data, len(data))
        covered = min((specs[name].storage_offset * specs[name].itemsize for name in names), default=0)
        if len(data):
            process.__asan_poison_memory_region(address, (lead + covered) // 8 * 8)
        for name in names:
            spec = specs[name]
            strides = tuple(step * spec.itemsize for step in spec.stride)
            start = lead + spec.storage_offset * spec.itemsize
            buffer = (ctypes.c_char * (lead + len(data))).from_address(address)
            tensors[name] = np.ndarray(spec.shape, CARRIERS[spec.dtype], buffer, start, strides)
    return {name: as_float(a, "bfloat16") if specs[name].dtype == "bfloat16" else a for name, a in tensors.items()}


def main(library: str, *folders: str) -> None:
    lib = native.load(Path(library))
    for folder in folders:
        case = read_case(folder)
        solutions = [
            native.solve(PROBLEMS[case.document.kind](**guarded(case)), case.options, threads=threads, using=lib)
            for threads in (1, 2)
        ]
        first, second = ((s.status, s.trace, np.asarray(s.T_WCf).tobytes()) for s in solutions)
        assert first == second
        assert solutions[0].status in case.document.expect.statuses, solutions[0].status
        print(case.id, solutions[0].status.value, flush=True)
    print("all done")


if __name__ == "__main__":
    main(*sys.argv[1:])
