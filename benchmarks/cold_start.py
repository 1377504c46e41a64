"""From the start of a process to its first pose, without torch: ``python benchmarks/cold_start.py``. Needs an NVIDIA GPU.

The inputs are copied to the GPU by the driver and shown through ``__cuda_array_interface__``. First with an empty cache of compiled
kernels, then with a warm one.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STARTED = "COLD_START_AT"


class OnGpu:
    """A NumPy array's copy in memory of the driver."""

    def __init__(self, array: Any) -> None:
        from sim3solve import driver

        self.shape, self.dtype = array.shape, array.dtype
        address = driver.ask("cuMemAlloc_v2", max(array.nbytes, 1))
        copy = driver.library().cuMemcpyHtoD_v2
        copy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        driver.check(copy(address, array.ctypes.data, array.nbytes))
        self.__cuda_array_interface__ = {
            "shape": array.shape, "typestr": array.dtype.str, "data": (address, False), "strides": None, "version": 3,
        }  # fmt: skip


def child() -> None:
    began = time.time()
    from harness.case import Generator
    from harness.scenes import generate

    values = generate(Generator(scene="room", n_points=196608, seed=1))
    made = time.time() - began  # a program has its points at hand: making them does not count
    import sim3solve
    from sim3solve import driver
    from sim3solve.cuda_kernels import kernels

    with driver.Current(kernels(0).context):
        problem = sim3solve.RayDist(**{name: OnGpu(array) for name, array in values.items()})
        solution = sim3solve.solve(problem, backend="cuda")
    seconds = time.time() - float(os.environ[STARTED]) - made
    assert "torch" not in sys.modules and solution.status.has_pose, solution
    print(f"{seconds:.2f}")


def main() -> None:
    if STARTED in os.environ:
        child()
        return
    with tempfile.TemporaryDirectory() as cache:
        for state in ("empty", "warm", "warm"):
            environment = os.environ | {
                STARTED: str(time.time()), "SIM3SOLVE_CACHE": cache, "CUDA_CACHE_DISABLE": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            }  # fmt: skip
            done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
            print(f"cold start, cache {state}: {done.stdout.strip() or done.stderr[-500:]} s, N = 196608, torch not imported")


if __name__ == "__main__":
    main()
