"""Compiles kernels.cu for the first GPU, as the shipped solver compiles its own, and launches single kernels of it."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from harness.errors import SolverUnavailable
from sim3solve import build, driver
from sim3solve.cuda_kernels import CudaUnavailable, kernels
from sim3solve.driver import Current, LaunchConfig

SOURCE = Path(__file__).with_name("kernels.cu")
SHOWN_AS = "tests/specimens/kernels.cu"  # in a tool's findings, so that whoever reads them finds the line


def compile_cubin(arch: str) -> Path:
    """The kernels as a cubin for ``arch`` ("90"), from the cache or freshly compiled. Needs no GPU and no driver."""
    source = f'#line 1 "{SHOWN_AS}"\n' + SOURCE.read_text(encoding="utf-8")

    def compile_to(file: Path) -> None:
        from cuda.core import Program, ProgramOptions

        program = Program(source, "c++", ProgramOptions(arch=f"sm_{arch}", std="c++17", lineinfo=True))
        file.write_bytes(bytes(program.compile("cubin").code))

    try:
        return build.cached([source, arch, version("cuda-bindings")], ".cubin", compile_to)
    except (PackageNotFoundError, ImportError) as error:
        raise SolverUnavailable(f"cuda-core is not installed ({error})") from error


def ready() -> None:
    """Compile and load now, so that a machine where that cannot be says so. Raises ``SolverUnavailable``."""
    try:
        kernels(0)
    except CudaUnavailable as error:
        raise SolverUnavailable(str(error)) from error
    torch.zeros(1, device="cuda:0")  # makes the context that torch and these kernels share this thread's
    _module()


@cache
def _module() -> int:
    with Current(kernels(0).context):
        return driver.ask("cuModuleLoadData", compile_cubin(kernels(0).arch).read_bytes())


def launch(kernel: str, blocks: int, threads: int, *arguments: Any, stream: int | None = None) -> None:
    """Enqueue ``specimen_<kernel>`` on the first GPU, on torch's current stream or on a stream's handle.

    A tensor is passed as its pointer, an int as an int32; anything of ctypes as it is. Raises ``CudaError``.
    """
    values = [_argument(argument) for argument in arguments]
    addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    on = torch.cuda.current_stream(0).cuda_stream if stream is None else stream
    config = LaunchConfig(blocks, 1, 1, threads, 1, 1, 0, on, None, 0)
    with Current(kernels(0).context):
        function = driver.ask("cuModuleGetFunction", _module(), f"specimen_{kernel}".encode())
        driver.call("cuLaunchKernelEx", ctypes.addressof(config), function, ctypes.addressof(addresses), None)


def blocks_for(count: int, threads: int = 256) -> int:
    return -(-count // threads)


def _argument(argument: Any) -> Any:
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int32(argument) if isinstance(argument, int) else argument
