"""Specimens: kernels without a fault, and a host that launches or follows them wrongly."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import sys
import threading
from pathlib import Path

import torch
from gpu_launch import blocks_for, compile_cubin, launch, ready

from harness.errors import SolverUnavailable
from harness.solvers import Solver
from sim3solve import cuda, driver, pytorch
from sim3solve.cuda_kernels import kernels
from sim3solve.problem import Options, Problem, Solution

LATE_S = 1.0  # the latest that the points come, for those who wait for them
STALE = 0.9  # the previous frame's points, as it were: this one's, seen from nearer


def no_blocks() -> Solver:
    """Clears the points of negative confidence, of which a frame has none: a launch of no blocks, whose error nobody looks at."""
    ready()
    runtime = _torchs_cuda_runtime()
    library, kernel = ctypes.c_void_p(), ctypes.c_void_p()
    code = compile_cubin(kernels(0).arch).read_bytes()
    failed = runtime.cudaLibraryLoadData(ctypes.byref(library), code, None, None, 0, None, None, 0)
    failed = failed or runtime.cudaLibraryGetKernel(ctypes.byref(kernel), library, b"specimen_copy")
    if failed:
        raise SolverUnavailable(f"torch's CUDA runtime cannot load a kernel: error {failed}")

    def solve(problem: Problem, options: Options, observe) -> Solution:
        count = int((problem.Qk < 0).sum())
        at = ctypes.c_void_p(problem.Xf.data_ptr())
        values = (at, at, ctypes.c_int32(count))
        arguments = (ctypes.c_void_p * 3)(*map(ctypes.addressof, values))
        grid, block = _Dim3(blocks_for(count), 1, 1), _Dim3(256, 1, 1)
        runtime.cudaLaunchKernel(kernel, grid, block, arguments, ctypes.c_size_t(0), ctypes.c_void_p(0))  # returns 9
        return pytorch.solve(problem, options, observe)

    return Solver(solve, devices=("cuda",))


def legacy_stream() -> Solver:
    """The points come from another stream, which waits for the host; the solve is on the legacy stream, which does not wait."""
    ready()

    def solve(problem: Problem, options: Options, observe) -> Solution:
        fresh = problem.Xf.contiguous()
        points = torch.empty_like(fresh)
        producer = torch.cuda.Stream()
        came = torch.ones(1, dtype=torch.int32).pin_memory()

        def frame() -> Solution:
            points.copy_(STALE * fresh)
            torch.cuda.synchronize()
            # Not a kernel that spins: while one is resident a cooperative launch may wait, and the mistake would come out right.
            _wait_for_one(producer.cuda_stream, came)
            launch("copy", blocks_for(fresh.numel()), 256, fresh, points, fresh.numel(), stream=producer.cuda_stream)
            # torch.cuda.current_stream().wait_stream(producer) is missing here.
            return cuda.solve(dataclasses.replace(problem, Xf=points), options)

        frame()  # one that comes in time: what CUDA loads at its first use, and waits for all streams to load, is loaded now
        came.zero_()
        at_the_latest = threading.Timer(LATE_S, came.fill_, (1,))
        at_the_latest.start()
        try:
            return frame()
        finally:
            at_the_latest.cancel()
            came.fill_(1)
            producer.synchronize()

    return Solver(solve, devices=("cuda",))


def _wait_for_one(stream: int, word: torch.Tensor) -> None:
    """What is enqueued on ``stream`` from here on waits until ``word``, int32 in pinned memory, is 1 or more."""
    wait = driver.library().cuStreamWaitValue32_v2
    wait.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint)
    with driver.Current(kernels(0).context):
        driver.check(wait(stream, word.data_ptr(), 1, 0))  # 0: CU_STREAM_WAIT_VALUE_GEQ


def wrong_device() -> Solver:
    """The tensors are on another GPU than the one that is current, and nobody switches: run it with ``--device cuda:1``."""
    if torch.cuda.device_count() < 2:
        raise SolverUnavailable(f"needs two GPUs, and torch sees {torch.cuda.device_count()} here")
    ready()

    def solve(problem: Problem, options: Options, observe) -> Solution:
        Xf = problem.Xf.contiguous()
        copy = torch.zeros_like(Xf)
        torch.cuda.synchronize(Xf.device)
        launch("copy", blocks_for(Xf.numel()), 256, Xf, copy, Xf.numel())  # on the first GPU, wherever the tensors are
        torch.cuda.synchronize(0)
        return cuda.solve(dataclasses.replace(problem, Xf=copy), options, observe)

    return Solver(solve, devices=("cuda",))


def host_dereference() -> Solver:
    """A function of the CPU is handed the address of a tensor on the GPU."""
    ready()

    def solve(problem: Problem, options: Options, observe) -> Solution:
        Xf = problem.Xf.contiguous()
        room = ctypes.create_string_buffer(Xf.numel() * 4)
        ctypes.memmove(room, Xf.data_ptr(), len(room))
        copy = torch.frombuffer(room, dtype=torch.float32).view(-1, 3).to(Xf.device)
        return cuda.solve(dataclasses.replace(problem, Xf=copy), options, observe)

    return Solver(solve, devices=("cuda",))


class _Dim3(ctypes.Structure):
    _fields_ = [("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint)]


def _torchs_cuda_runtime() -> ctypes.CDLL:
    """The CUDA runtime that this process has loaded with torch: only there torch finds the error."""
    if sys.platform == "win32":
        name = f"cudart64_{(torch.version.cuda or '').split('.')[0]}.dll"
    else:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"\s(/\S*/libcudart[^/\s]*\.so[^/\s]*)$", maps, re.M)
        if found is None:
            raise SolverUnavailable("torch has its CUDA runtime built in here; the error cannot be left there for it to find")
        name = found[1]
    try:
        runtime = ctypes.CDLL(name)
    except OSError as error:
        raise SolverUnavailable(f"torch's CUDA runtime cannot be reached: {error}") from error
    if not hasattr(runtime, "cudaLibraryLoadData"):
        raise SolverUnavailable("torch's CUDA runtime is older than 12.8 and cannot load a kernel that nvcc has not linked in")
    return runtime
