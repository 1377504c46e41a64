"""Specimen: the host symbol collision, in a real CUDA extension. collision/cpu.cpp and gpu.cu, built by nvcc with weak stubs."""

from __future__ import annotations

import ctypes
import dataclasses
import shutil
import tempfile
from pathlib import Path

import numpy as np
from collision.on_gpu import HERE, build

from harness.errors import SolverUnavailable
from harness.solvers import Solver
from sim3solve import reference
from sim3solve.build import BuildError, cached
from sim3solve.cuda_kernels import CudaUnavailable, kernels
from sim3solve.problem import Options, Problem, Solution


def collided() -> Solver:
    return _solver(cured=False)


def cured() -> Solver:
    """The same sources with ``-static-global-template-stub=true``."""
    return _solver(cured=True)


def _solver(*, cured: bool) -> Solver:
    library = ctypes.CDLL(str(_library(cured)))

    def solve(problem: Problem, options: Options, observe) -> Solution:
        """The oracle's pose, with the tracker's first step, ``T_WCk.inv()``, done on the GPU."""
        T_WCk = np.array(problem.T_WCk, dtype=np.float32).reshape(8)
        T_WCk[3:7] /= np.linalg.norm(T_WCk[3:7])
        T_CkW = np.zeros(8, dtype=np.float32)
        at = [row.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for row in (T_WCk, T_CkW)]
        status = library.specimen_gpu_inverse(*at, 1)
        if status:
            raise RuntimeError(f"CUDA error {status}")
        solution = reference.solve(problem, options, observe)
        T_CkCf = reference.compose(T_CkW.astype(np.float64), np.asarray(solution.T_WCf).reshape(8))
        return dataclasses.replace(solution, T_CkCf=T_CkCf[None])

    return Solver(solve, arrays="numpy", devices=("cpu",))


def _library(cured: bool) -> Path:
    """Built once. Raises ``SolverUnavailable`` without a GPU or nvcc."""
    if shutil.which("nvcc") is None:
        raise SolverUnavailable("nvcc is not on PATH")
    sources = [(HERE / name).read_text(encoding="utf-8") for name in ("cpu.cpp", "gpu.cu", "inverse.h", "on_gpu.py")]
    try:
        arch = kernels(0).arch
        return cached([*sources, arch, str(cured)], ".so", lambda file: _build(file, arch, cured))
    except (CudaUnavailable, BuildError) as error:
        raise SolverUnavailable(str(error)) from error


def _build(library: Path, arch: str, cured: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            shutil.copyfile(build(Path(folder), static_stub=cured, arch=f"sm_{arch}").library, library)
        except SystemExit as failed:
            raise BuildError(str(failed)) from None
