"""The kernels on one GPU: compiled by NVRTC for its architecture, cached on disk, loaded into the context that torch shares."""

from __future__ import annotations

import ctypes
import importlib.metadata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sim3solve import build, driver
from sim3solve.driver import CudaError, Current

_INSTALL = "pip install 'sim3solve[cu13]', or 'sim3solve[cu12]' for an older driver"
BLOCK, N_PADDED, CLUSTER = 384, 40, 8  # kernels/gauss_newton.cu, kernels/reduce.cuh, kernels/exchange.cuh
POINT_BYTES = 32  # of a point kept in shared memory
SOURCE = "gauss_newton.cu"
SOLVES = ("solve_ray_dist", "solve_calib", "batch_ray_dist", "batch_calib")
ENTRIES = (*SOLVES, "begin_solve", "linearize_ray_dist", "linearize_calib", "step_solve")


class CudaUnavailable(RuntimeError):
    """There is no GPU, driver or package to run on; the message says which and what would help."""


def compiler_input(arch: str) -> tuple[str, dict[str, Any]]:
    """The kernels' source and what ``cuda.core.ProgramOptions`` is given for ``arch`` ("90"): the same on every system."""
    options = {"arch": f"sm_{arch}", "std": "c++17", "lineinfo": True, "define_macro": [("BLOCK", str(BLOCK))]}
    return build.inline_sources(SOURCE), options


def compile_cubin(arch: str) -> Path:
    """The kernels as a cubin for ``arch`` ("90"), from the cache or freshly compiled. Needs no GPU and no driver."""
    source, options = compiler_input(arch)

    def compile_to(file: Path) -> None:
        try:
            from cuda.core import Program, ProgramOptions
        except ImportError as error:
            raise CudaUnavailable(f"cuda-core is not installed ({error}): {_INSTALL}") from error
        program = Program(source, "c++", ProgramOptions(**options))
        file.write_bytes(bytes(program.compile("cubin").code))

    return build.cached([source, repr(options), _compiler_version()], ".cubin", compile_to)


def _compiler_version() -> str:
    """Which NVRTC would compile, without loading it: a cubin from the cache does not need it."""
    try:
        return importlib.metadata.version("cuda-bindings")
    except importlib.metadata.PackageNotFoundError:
        raise CudaUnavailable(f"cuda-core is not installed: {_INSTALL}") from None


@dataclass(frozen=True)
class Grid:
    """How a launch is laid out: ``groups`` of ``blocks`` blocks each solve a problem at a time.

    ``cluster`` blocks, or 1, add up through each other's shared memory; ``kept`` points of each thread stay in its block's.
    """

    blocks: int
    groups: int
    cluster: int
    kept: int


class Kernels:
    """The compiled kernels and the facts of one GPU. ``context`` is the primary one, which torch uses too."""

    def __init__(self, index: int) -> None:
        device = driver.ask("cuDeviceGet", index)
        self.context = driver.ask("cuDevicePrimaryCtxRetain", device)
        self.n_multiprocessors = driver.device_attribute(driver.MULTIPROCESSORS, device)
        self.cooperative = bool(driver.device_attribute(driver.COOPERATIVE_LAUNCH, device))
        self.arch = f"{driver.device_attribute(driver.MAJOR, device)}{driver.device_attribute(driver.MINOR, device)}"
        image = compile_cubin(self.arch).read_bytes()
        with Current(self.context):
            module = driver.ask("cuModuleLoadData", image)
            self.functions = {name: driver.ask("cuModuleGetFunction", module, name.encode()) for name in ENTRIES}
            taken = max(driver.ask("cuFuncGetAttribute", driver.SHARED_BYTES, self.functions[name]) for name in SOLVES)
            self.shared_bytes = driver.device_attribute(driver.MAX_SHARED_OPTIN, device) - taken
            for name in SOLVES:
                driver.call("cuFuncSetAttribute", self.functions[name], driver.MAX_DYNAMIC_SHARED_BYTES, self.shared_bytes)
            self.max_clusters = self._max_clusters(device)
        self.max_kept = self.shared_bytes // (BLOCK * POINT_BYTES)

    def _max_clusters(self, device: int) -> int:
        """How many clusters can run at once: fewer than the multiprocessors would make, where they lie unluckily; 0 without any."""
        if not self.cooperative or int(self.arch) < 90 or not driver.device_attribute(driver.CLUSTER_LAUNCH, device):
            return 0
        attribute = driver.cluster_attribute(CLUSTER)
        shape = (self.n_multiprocessors // CLUSTER * CLUSTER, 1, 1, BLOCK, 1, 1, self.shared_bytes)
        config = driver.LaunchConfig(*shape, None, ctypes.pointer(attribute), 1)
        return min(driver.ask("cuOccupancyMaxActiveClusters", self.functions[name], ctypes.addressof(config)) for name in SOLVES)

    def grid(self, n: int, count: int = 1) -> Grid:
        """For ``count`` problems of up to n points: as many side by side as leaves each enough blocks to keep it on chip.

        Never more blocks than can run at once, since they wait for each other.
        """
        most = self.n_multiprocessors
        wanted = max(1, -(-n // BLOCK))
        on_chip = max(1, -(-n // (BLOCK * max(1, self.max_kept))))
        each = min(most, wanted, max(on_chip, most // count))
        groups = min(count, most // each)
        blocks, cluster = min(wanted, most // groups), 1
        if groups == 1 and blocks >= 2 * CLUSTER and self.max_clusters >= 2:
            blocks, cluster = min(blocks // CLUSTER, self.max_clusters) * CLUSTER, CLUSTER
        return Grid(blocks, groups, cluster, min(self.max_kept, -(-n // (blocks * BLOCK))))


@cache
def kernels(index: int = 0) -> Kernels:
    """The kernels on GPU ``index``. Raises ``CudaUnavailable`` where there is none."""
    try:
        driver.call("cuInit", 0)
        count = driver.ask("cuDeviceGetCount")
    except (CudaError, OSError) as error:
        raise CudaUnavailable(f"no NVIDIA driver answers here ({error})") from error
    if index >= count:
        raise CudaUnavailable(f"there is no GPU {index}: the driver shows {count}")
    return Kernels(index)
