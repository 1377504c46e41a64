"""What a solve on this GPU cannot do without, measured: a launch, a read of the inputs; per iteration a barrier and arithmetic."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphs import device_us

from sim3solve import abi, build, cuda_inputs, driver
from sim3solve.cuda_kernels import BLOCK, POINT_BYTES, SOURCE, kernels
from sim3solve.problem import Options, RayDist

ROUNDS = 40


@dataclass(frozen=True)
class Floor:
    """Microseconds on the device. Of k iterations: ``launch + read + k * (barrier + arithmetic)``."""

    launch: float
    read: float
    barrier: float
    arithmetic: float

    def of(self, iterations: int) -> float:
        return self.launch + self.read + iterations * (self.barrier + self.arithmetic)

    def of_many(self, iterations: int) -> float:
        """Of one problem among many that keep the whole GPU busy: what it has to read and to reckon."""
        return self.read + iterations * self.arithmetic


def measure(problem: RayDist) -> Floor:
    """The floor for a problem of this size. Every kernel has the solver's own blocks and shared memory."""
    import torch

    on = kernels(0)
    grid = on.grid(problem.n_points)
    packed = (ctypes.c_char * ctypes.sizeof(abi.ProblemStruct))()
    cuda_inputs.pack(problem, packed, 0, 0, cuda_inputs.option_bytes(Options(), "ray_dist"))
    layout = (ctypes.c_int32 * 5)(1, grid.blocks, grid.kept, 0, 0)
    counter, sink = torch.zeros(1, dtype=torch.int32, device="cuda"), torch.zeros(1, device="cuda")

    def timed(name: str, *arguments: Any, shared: int = 0) -> float:
        addresses = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        attribute = driver.cooperative_attribute()
        config = driver.LaunchConfig(grid.blocks, 1, 1, BLOCK, 1, 1, shared, None, ctypes.pointer(attribute), 1)

        def launch(stream: int) -> None:
            config.stream = stream
            driver.call("cuLaunchKernelEx", ctypes.addressof(config), _functions()[name], ctypes.addressof(addresses), None)

        return device_us(launch)

    def arithmetic(rounds: int) -> float:
        arguments = (packed, layout, ctypes.c_int32(rounds), ctypes.c_void_p(sink.data_ptr()))
        return timed("floor_arithmetic", *arguments, shared=grid.kept * BLOCK * POINT_BYTES)

    launch = timed("floor_empty")
    barriers = timed("floor_barriers", ctypes.c_void_p(counter.data_ptr()), ctypes.c_int32(ROUNDS))
    read = arithmetic(0)
    return Floor(launch, read - launch, (barriers - launch) / ROUNDS, (arithmetic(ROUNDS) - read) / ROUNDS)


@cache
def _functions() -> dict[str, int]:
    from cuda.core import Program, ProgramOptions

    on = kernels(0)
    source = build.inline_sources(SOURCE) + Path(__file__).with_name("floor.cu").read_text(encoding="utf-8")
    options = ProgramOptions(arch=f"sm_{on.arch}", std="c++17", define_macro=[("BLOCK", str(BLOCK))])
    image = bytes(Program(source, "c++", options).compile("cubin").code)
    with driver.Current(on.context):
        module = driver.ask("cuModuleLoadData", image)
        names = ("floor_empty", "floor_barriers", "floor_arithmetic")
        found = {name: driver.ask("cuModuleGetFunction", module, name.encode()) for name in names}
        driver.call("cuFuncSetAttribute", found["floor_arithmetic"], driver.MAX_DYNAMIC_SHARED_BYTES, on.shared_bytes)
    return found
