"""The fused solver on an NVIDIA GPU: compiled by NVRTC for the GPU at hand, launched on the caller's stream.

``solve`` waits for the result, as upstream's solver does. ``Plan`` does not: it owns what one solve in flight needs, enqueues on a
stream, can be captured into a CUDA graph, and waits only when asked. Needs ``pip install sim3solve[cu13]`` (or ``cu12``) and a
driver: no compiler, no toolkit, no torch extension.

Inputs are read where they lie, by pointer and strides; nothing wider than four bytes is loaded, so any view works. A tensor that is
not float32 is copied to float32 first.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from functools import cache
from typing import Any

from sim3solve import abi
from sim3solve.cuda_kernels import BLOCK, N_PADDED, CudaError, CudaUnavailable, Current, call, check, is_current, kernels
from sim3solve.driver import COOPERATIVE, LaunchAttribute, LaunchConfig, library
from sim3solve.problem import Calib, Iteration, Options, ProblemError, RayDist, Solution

Unavailable = CudaUnavailable  # the name ``sim3solve.solve`` looks for in every backend that may not be at hand


class Plan:
    """What one solve in flight needs on one GPU: barrier, partial sums, result and, if asked for, trace. Under 200 KiB.

    ``launch`` enqueues a solve and returns; ``wait`` waits for it. Between the two the plan must not be used for another. Tensors
    given to ``launch`` must live until the solve is done, as for any asynchronous call; copies that were made are kept till then.
    """

    def __init__(self, device: int = 0, *, trace: int = 0, cooperative: bool | None = None) -> None:
        on = self.kernels = kernels(device)
        self.cooperative = on.cooperative if cooperative is None else cooperative
        self._trace_rows = trace
        sizes = {
            "barrier": 8,
            "state": 256,
            "result": ctypes.sizeof(abi.ResultStruct),
            "partials": 2 * N_PADDED * on.n_multiprocessors * 8,
        }
        if trace:
            sizes["trace"] = trace * ctypes.sizeof(abi.StepStruct)
        self._device: dict[str, int] = {}
        with Current(on):
            for name, size in sizes.items():
                self._device[name] = int(call(on.driver.cuMemAlloc(size)))
                call(on.driver.cuMemsetD8(self._device[name], 0, size))
            host_bytes = ctypes.sizeof(abi.ResultStruct)
            self._host = int(call(on.driver.cuMemHostAlloc(host_bytes, on.driver.CU_MEMHOSTALLOC_DEVICEMAP)))
        self.host_result = abi.ResultStruct.from_address(self._host)
        self._status = ctypes.c_int32.from_address(self._host + abi.ResultStruct.status.offset)
        self._library = library()
        self._problem = (ctypes.c_char * ctypes.sizeof(abi.ProblemStruct))()
        self._blocks = ctypes.c_int32()
        self._result = ctypes.c_void_p()
        null = ctypes.c_void_p()
        at = {name: ctypes.c_void_p(address) for name, address in self._device.items()}
        out = (self._result, ctypes.c_void_p(self._host), at.get("trace", null))
        self._parameters = {  # the launches hold addresses of these, so they must live as long as the plan
            "solve": (self._problem, null, self._blocks, *out, at["barrier"], at["partials"]),
            "begin": (self._problem, at["state"], *out[:2]),
            "linearize": (self._problem, at["state"], at["partials"]),
            "step": (self._problem, at["state"], at["partials"], self._blocks, *out),
        }
        self._addresses = {name: (ctypes.c_void_p * len(a))(*map(ctypes.addressof, a)) for name, a in self._parameters.items()}
        self._attribute = LaunchAttribute(COOPERATIVE, 0, 1)
        self._config = LaunchConfig(1, 1, 1, BLOCK, 1, 1, 0, None, ctypes.pointer(self._attribute), 0)
        self._config_address = ctypes.addressof(self._config)
        self._keep: list[Any] = []
        self._options: Options | None = None
        self._kind = ""
        self._option_bytes = b""
        self._max_iters = 0

    def launch(self, problem: RayDist, options: Options | None = None, *, stream: int = 0, result: int | None = None) -> None:
        """Enqueue a solve on a stream (its handle). ``result`` may name 80 bytes of device memory for the ``Result``."""
        kind = problem.kind
        if options is not self._options or kind != self._kind:
            self._options, self._kind = options, kind
            self._max_iters = (options or _DEFAULT).max_iters
            self._option_bytes = _option_bytes(options or _DEFAULT, kind)
        words, self._keep = _words(problem)
        n = words[0]
        _PROBLEM.pack_into(self._problem, 0, *words, self._option_bytes)
        self._result.value = result or self._device["result"]
        blocks = self._blocks.value = self.kernels.blocks(n)
        self._config.stream = stream
        self._status.value = _PENDING
        if not is_current(self.kernels):
            with Current(self.kernels):
                self._enqueue_solve(kind, blocks, self._max_iters)
        else:
            self._enqueue_solve(kind, blocks, self._max_iters)

    def wait(self) -> abi.ResultStruct:
        """Wait for the solve; its result on the host, valid until the next launch. Raises ``CudaError``."""
        if self.cooperative:  # the kernel writes the status into host memory, last; for that the stream need not be asked
            give_up = time.perf_counter() + _POLL_S
            while self._status.value == _PENDING and time.perf_counter() < give_up:
                pass
        if self._status.value == _PENDING or not self.cooperative:
            with Current(self.kernels):
                check(self._library.cuStreamSynchronize(self._config.stream))
            if self._status.value == _PENDING:
                raise CudaError("the stream is done, but the solve left no result")
        self._keep = []
        return self.host_result

    def trace(self) -> tuple[Iteration, ...]:
        """The iterations of the solve that was waited for, as far as the plan has rows for them."""
        count = min(self.host_result.iterations, self._trace_rows)
        steps = (abi.StepStruct * max(count, 1))()
        if count:
            with Current(self.kernels):
                size = count * ctypes.sizeof(abi.StepStruct)
                call(self.kernels.driver.cuMemcpyDtoH(ctypes.addressof(steps), self._device["trace"], size))
        return tuple(Iteration(s.cost, s.delta_norm, s.n_matches, tuple(s.T_CkCf)) for s in steps[:count])

    def close(self) -> None:
        """Give the memory back. Waits for the device."""
        with Current(self.kernels):
            for address in self._device.values():
                call(self.kernels.driver.cuMemFree(address))
            call(self.kernels.driver.cuMemFreeHost(self._host))
        self._device = {}

    def _enqueue_solve(self, kind: str, blocks: int, max_iters: int) -> None:
        if self.cooperative:
            self._enqueue(f"solve_{kind}", "solve", blocks, 1)
            return
        self._enqueue("begin_solve", "begin", 1, 0)
        for _ in range(max_iters):
            self._enqueue(f"linearize_{kind}", "linearize", blocks, 0)
            self._enqueue("step_solve", "step", 1, 0)

    def _enqueue(self, function: str, parameters: str, blocks: int, cooperative: int) -> None:
        self._config.grid_x = blocks
        self._config.n_attributes = cooperative
        check(
            self._library.cuLaunchKernelEx(
                self._config_address, self.kernels.functions[function], self._addresses[parameters], None
            )
        )


def solve(problem: RayDist, options: Options | None = None, observe: Any = None, *, cooperative: bool | None = None) -> Solution:
    """Solve on the GPU the inputs are on and wait for the result. Poses come back as (1,8) float32 tensors there.

    ``observe(k, iteration)`` is called for each iteration after the solve is done. Raises ``ProblemError`` for inputs that are not
    on one GPU, ``CudaUnavailable`` and ``CudaError``.
    """
    import torch

    device = problem.Xf.device
    if device.type != "cuda":
        raise ProblemError("Xf", f"is on {device}; the cuda solver reads inputs on a GPU")
    plan = _plan(device.index or 0, (options or _DEFAULT).max_iters if observe is not None else 0, cooperative)
    out = torch.empty((3, 8), dtype=torch.float32, device=device)  # a Result: two poses, then cost and status
    plan.launch(problem, options, stream=_current_stream(device.index or 0), result=out.data_ptr())
    T_WCf, T_CkCf = out[0:1], out[1:2]
    result = plan.wait()
    trace = plan.trace() if observe is not None else ()
    for k, iteration in enumerate(trace):
        observe(k, iteration)
    return Solution(abi.STATUSES[result.status], T_WCf, T_CkCf, result.iterations, result.cost, trace)


_plans = threading.local()


def _plan(index: int, trace: int, cooperative: bool | None) -> Plan:
    """This thread's plan for a GPU: made once, so that a solve allocates nothing."""
    plans: dict[Any, Plan] = _plans.__dict__.setdefault("plans", {})
    key = (index, trace, cooperative)
    if key not in plans:
        plans[key] = Plan(index, trace=trace, cooperative=cooperative)
    return plans[key]


_PROBLEM = struct.Struct("<q 9q 2q 2q 3q 48s")  # abi.ProblemStruct
_PENDING = -1
_DEFAULT = Options()
_POLL_S = 2e-3


def _option_bytes(options: Options, kind: str) -> bytes:
    if kind == "calib" and options.img_size is None:
        raise ProblemError("img_size", "the calibrated problem needs (height, width) in pixels")
    return bytes(abi.options_struct(options, kind))


def _words(problem: RayDist) -> tuple[list[int], list[Any]]:
    """The problem's integers in the order of ``abi.ProblemStruct``, and the copies that must live until the solve is done."""
    device = problem.Xf.device
    keep: list[Any] = []

    def view(name: str, *, floating: bool = True, whole: bool = False) -> Any:
        tensor = getattr(problem, name)
        if tensor.device != device:
            raise ProblemError(name, f"is on {tensor.device}, Xf is on {device}")
        if floating and tensor.dtype is not _float32():
            tensor = tensor.float()
            keep.append(tensor)
        if whole and not tensor.is_contiguous():
            tensor = tensor.contiguous()
            keep.append(tensor)
        return tensor

    Xf, Q, valid = view("Xf"), view("Qk"), view("valid_opt", floating=False)
    words = [Xf.shape[0], Xf.data_ptr(), *Xf.stride()]
    if isinstance(problem, Calib):
        target, valid_meas = view("meas_k"), view("valid_meas_k", floating=False)
        K = view("K", whole=True).data_ptr()
        meas = [valid_meas.data_ptr(), valid_meas.stride(0)]
    else:
        target, K, meas = view("Xk"), 0, [0, 0]
    words += [target.data_ptr(), *target.stride(), Q.data_ptr(), *Q.stride(), valid.data_ptr(), valid.stride(0), *meas]
    words += [view("T_WCf", whole=True).data_ptr(), view("T_WCk", whole=True).data_ptr(), K]
    return words, keep


@cache
def _float32() -> Any:
    import torch

    return torch.float32


@cache
def _stream_query() -> Any:
    """torch's way to ask for a stream's handle without an object around it, which takes longer than a launch."""
    import torch

    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return raw or (lambda index: torch.cuda.current_stream(index).cuda_stream)


def _current_stream(index: int) -> int:
    return int(_stream_query()(index))
