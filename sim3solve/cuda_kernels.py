"""The kernels on one GPU: compiled by NVRTC for its architecture, cached on disk, loaded into the context that torch shares."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from sim3solve import build
from sim3solve.driver import library

_INSTALL = "pip install 'sim3solve[cu13]', or 'sim3solve[cu12]' for an older driver"
BLOCK, TILE, N_PADDED = 384, 4, 40  # kernels/gauss_newton.cu, kernels/reduce.cuh
SOURCE = "gauss_newton.cu"
ENTRIES = ("solve_ray_dist", "solve_calib", "begin_solve", "linearize_ray_dist", "linearize_calib", "step_solve")


class CudaUnavailable(RuntimeError):
    """There is no GPU, driver or package to run on; the message says which and what would help."""


class CudaError(RuntimeError):
    """A call of the CUDA driver failed. The message starts with the error's name, as in CUDA_ERROR_ILLEGAL_ADDRESS."""


def compile_cubin(arch: str) -> Path:
    """The kernels as a cubin for ``arch`` ("90"), from the cache or freshly compiled. Needs no GPU and no driver."""
    try:
        import cuda.bindings
        from cuda.core import Program, ProgramOptions
    except ImportError as error:
        raise CudaUnavailable(f"cuda-core is not installed ({error}): {_INSTALL}") from error
    source = build.inline_sources(SOURCE)
    options = {"arch": f"sm_{arch}", "std": "c++17", "lineinfo": True}
    defines = [("BLOCK", str(BLOCK)), ("TILE", str(TILE))]

    def compile_to(file: Path) -> None:
        program = Program(source, "c++", ProgramOptions(define_macro=defines, **options))
        file.write_bytes(bytes(program.compile("cubin").code))

    return build.cached([source, repr(options), repr(defines), cuda.bindings.__version__], ".cubin", compile_to)


class Kernels:
    """The compiled kernels and the facts of one GPU."""

    def __init__(self, index: int) -> None:
        from cuda.bindings import driver
        from cuda.core import Device, ObjectCode

        self.driver = driver
        device = Device(index)
        self.context = call(driver.cuDevicePrimaryCtxRetain(call(driver.cuDeviceGet(index))))
        self.n_multiprocessors = device.properties.multiprocessor_count
        self.cooperative = bool(device.properties.cooperative_launch)
        self.name = device.name
        call(driver.cuCtxPushCurrent(self.context))
        try:
            self._code = ObjectCode.from_cubin(str(compile_cubin(device.arch)))
            self._kernels = {name: self._code.get_kernel(name) for name in ENTRIES}
            self.functions = {name: int(kernel.handle) for name, kernel in self._kernels.items()}
        finally:
            call(driver.cuCtxPopCurrent())

    def blocks(self, n: int) -> int:
        """Blocks for n points: enough that each thread has work, never more than can run at once."""
        return max(1, min(int(self.n_multiprocessors), -(-n // BLOCK)))


@cache
def kernels(index: int = 0) -> Kernels:
    """The kernels on GPU ``index``. Raises ``CudaUnavailable`` where there is none."""
    try:
        from cuda.bindings import driver
        from cuda.core import Device  # noqa: F401
    except ImportError as error:
        raise CudaUnavailable(f"cuda-core is not installed ({error}): {_INSTALL}") from error
    try:
        call(driver.cuInit(0))
        count = call(driver.cuDeviceGetCount())
    except (CudaError, RuntimeError) as error:
        raise CudaUnavailable(f"no NVIDIA driver answers here ({error})") from error
    if index >= count:
        raise CudaUnavailable(f"there is no GPU {index}: the driver shows {count}")
    return Kernels(index)


def is_current(on: Kernels) -> bool:
    """Whether this thread already works on that GPU, as it does after any torch operation there."""
    context = ctypes.c_void_p()
    return library().cuCtxGetCurrent(ctypes.addressof(context)) == 0 and context.value == int(on.context)


class Current:
    """The GPU's primary context, which torch shares, made current for a moment; what was current comes back."""

    def __init__(self, on: Kernels) -> None:
        self._on = on

    def __enter__(self) -> None:
        call(self._on.driver.cuCtxPushCurrent(self._on.context))

    def __exit__(self, *_: object) -> None:
        call(self._on.driver.cuCtxPopCurrent())


def check(status: int) -> None:
    if status != 0:
        from cuda.bindings import driver

        call((driver.CUresult(status),))


def call(returned: tuple[Any, ...]) -> Any:
    """The value of a driver call. Raises ``CudaError`` by its name."""
    status, *values = returned
    if int(status) != 0:
        from cuda.bindings import driver

        _, text = driver.cuGetErrorString(status)
        raise CudaError(f"{status.name}: {text.decode() if text else ''}")
    return values[0] if values else None
