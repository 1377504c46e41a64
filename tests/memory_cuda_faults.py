"""Solvers with one planted memory fault each, in a CUDA kernel: ``--solver tests/memory_cuda_faults.py:NAME`` where there is a GPU.

Each solves properly (``sim3solve.pytorch``) and then launches a kernel that touches what it must not.
"""

from __future__ import annotations

from functools import cache

import torch

from harness.solvers import Solver
from sim3solve.pytorch import solve

KERNELS = """
extern "C" __global__ void load_16(const float4* at, float* out) { float4 x = *at; *out = x.x + x.y + x.z + x.w; }
extern "C" __global__ void load(const float* at, float* out) { *out = *at; }
extern "C" __global__ void store(float* at, float* out) { *at = *out + 1.5f; }
"""


@cache
def kernel(name: str):
    from cuda.core import Device, Program, ProgramOptions

    device = Device(0)
    device.set_current()
    options = ProgramOptions(arch=f"sm_{device.arch}", lineinfo=True, name="memory_cuda_faults.cu")
    return Program(KERNELS, "c++", options).compile("cubin").get_kernel(name)


def _fault(name: str, address):
    """A factory of a solver that solves, then runs kernel ``name`` on ``address(problem)``; what it reads goes nowhere."""

    def action(problem, options, observe):
        from cuda.core import Device, LaunchConfig, launch

        solution = solve(problem, options, observe)
        out = torch.zeros(1, device=problem.Xf.device)
        device = Device(problem.Xf.device.index or 0)
        device.set_current()
        torch.cuda.synchronize()
        stream = device.create_stream()
        launch(stream, LaunchConfig(grid=1, block=1), kernel(name), address(problem), out.data_ptr())
        stream.sync()
        return solution

    return lambda: Solver(action, devices=("cuda",))


def _end(tensor) -> int:
    assert tensor.is_contiguous()
    return tensor.data_ptr() + tensor.nbytes


wide_load = _fault("load_16", lambda problem: problem.T_WCk.data_ptr())
read_past = _fault("load", lambda problem: _end(problem.T_WCk))
write_past = _fault("store", lambda problem: _end(problem.T_WCk))
