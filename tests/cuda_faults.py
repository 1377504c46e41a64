"""Planted CUDA errors that are no specimens, one solver each, for ``benchmarks/gpu.py``: ``--solver tests/cuda_faults.py:NAME``.

Misaligned loads, endless kernels and other classes of faulty code are in tests/specimens.
"""

from __future__ import annotations

import torch

from harness.solvers import Solver
from sim3solve.pytorch import solve

KERNELS = """
extern "C" __global__ void far_away(char* p) { p[1ull << 44] = 1; }
"""


def _fault(action):
    return lambda: Solver(lambda problem, options, observe: action())


def _launch(name: str) -> None:
    """Run one of the kernels on a zeroed buffer and wait for it."""
    from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch

    buffer = torch.zeros(4096, dtype=torch.uint8, device="cuda")
    device = Device(0)
    device.set_current()
    stream = device.create_stream()
    kernel = Program(KERNELS, "c++", ProgramOptions(arch=f"sm_{device.arch}")).compile("cubin").get_kernel(name)
    launch(stream, LaunchConfig(grid=1, block=1), kernel, buffer.data_ptr())
    stream.sync()


def _device_assert() -> float:
    table = torch.zeros(4, device="cuda")
    return table[torch.tensor([1 << 20], device="cuda")].item()


def _out_of_memory() -> None:
    hoard = []
    while True:
        hoard.append(torch.empty(1 << 32, device="cuda"))


illegal_address = _fault(lambda: _launch("far_away"))
device_assert = _fault(_device_assert)
bad_device = _fault(lambda: torch.zeros(1, device="cuda:63"))
out_of_memory = _fault(_out_of_memory)


def healthy() -> Solver:
    return Solver(lambda problem, options, observe: solve(problem))
