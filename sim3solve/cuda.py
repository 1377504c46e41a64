"""The fused solver on an NVIDIA GPU: compiled by NVRTC for the GPU at hand, launched on the caller's stream.

``solve`` and ``solve_batch`` wait for the result, as upstream's solver does. ``Plan`` does not: it owns what solves in flight need,
enqueues on a stream, can be captured into a CUDA graph, and waits only when asked. Needs ``pip install sim3solve[cu13]`` (or
``cu12``) and a driver: no compiler, no toolkit, no torch extension.

Inputs are read where they lie, by pointer and strides; nothing wider than four bytes is loaded, so any view works. A tensor that is
not float32 is copied to float32 first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sim3solve import abi, cuda_inputs
from sim3solve.cuda_kernels import CudaUnavailable
from sim3solve.cuda_plan import Plan
from sim3solve.driver import CudaError
from sim3solve.problem import Options, RayDist, Solution

__all__ = ["CudaError", "CudaUnavailable", "Plan", "Unavailable", "solve", "solve_batch"]
Unavailable = CudaUnavailable  # the name ``sim3solve.solve`` looks for in every backend that may not be at hand


def solve(problem: RayDist, options: Options | None = None, observe: Any = None, *, cooperative: bool | None = None) -> Solution:
    """Solve on the GPU the inputs are on, on the caller's current stream, and wait for the result.

    Poses come back as (1,8) float32 tensors there; for inputs that are no torch tensors, as NumPy arrays on the host.
    ``observe(k, iteration)`` is called for each iteration after the solve is done. Raises ``ProblemError`` for inputs that are not
    on one GPU, ``CudaUnavailable`` and ``CudaError``.
    """
    device = cuda_inputs.device_of(problem)
    trace_rows = (options or cuda_inputs.DEFAULT).max_iters if observe is not None else 0
    plan = _plan(device, 1, trace_rows, cooperative)
    if not cuda_inputs.is_torch(problem):
        plan.launch(problem, options)
        plan.wait()
        return _finish(plan, 0, *_host_poses(plan, 0), observe)
    out, T_WCf, T_CkCf = _next_output(device)
    plan.launch(problem, options, stream=_current_stream(device), result=out)
    plan.wait()
    return _finish(plan, 0, T_WCf, T_CkCf, observe)


def solve_batch(
    problems: Sequence[RayDist], options: Options | None = None, *, cooperative: bool | None = None
) -> tuple[Solution, ...]:
    """Solve many problems of one kind, of any sizes, on one GPU in one launch, and wait for the results.

    Poses are as ``solve`` gives them, and have the same bits in every run of the same batch; alone, a problem is cut over more
    blocks, so its last bits may differ. Raises as ``solve`` does; ``ProblemError`` names the problem: ``problems[3].Xf``.
    """
    if not problems:
        return ()
    device = cuda_inputs.device_of(problems[0])
    room = max(_SMALLEST_BATCH, 1 << (len(problems) - 1).bit_length())
    plan = _plan(device, room, 0, cooperative)
    torch_inputs = cuda_inputs.is_torch(problems[0])
    plan.launch_batch(problems, options, stream=_current_stream(device) if torch_inputs else 0)
    plan.wait()
    poses = _device_poses(plan, len(problems), device) if torch_inputs else [_host_poses(plan, i) for i in range(len(problems))]
    return tuple(_finish(plan, i, *poses[i], None) for i in range(len(problems)))


def _finish(plan: Plan, i: int, T_WCf: Any, T_CkCf: Any, observe: Any) -> Solution:
    result = plan.host_results[i]
    trace = plan.trace(i) if observe is not None else ()
    for k, iteration in enumerate(trace):
        observe(k, iteration)
    return Solution(abi.STATUSES[result.status], T_WCf, T_CkCf, result.iterations, result.cost, trace)


def _host_poses(plan: Plan, i: int) -> tuple[Any, Any]:
    import numpy as np

    result = plan.host_results[i]
    return (np.array([result.T_WCf], dtype=np.float32), np.array([result.T_CkCf], dtype=np.float32))


def _device_poses(plan: Plan, count: int, device: int) -> list[tuple[Any, Any]]:
    """The poses of a batch, back on the GPU in one copy: they are on the host already."""
    import numpy as np
    import torch

    poses = np.array([(result.T_WCf, result.T_CkCf) for result in plan.host_results[:count]], dtype=np.float32)
    on_device = torch.from_numpy(poses).to(f"cuda:{device}").view(count, 2, 1, 8)
    return [(pair[0], pair[1]) for pair in on_device.unbind()]


_SMALLEST_BATCH = 16
_OUTPUTS = 64
_local = threading.local()


def _plan(index: int, problems: int, trace: int, cooperative: bool | None) -> Plan:
    """This thread's plan for a GPU: made once, so that a solve allocates nothing."""
    plans: dict[Any, Plan] = _local.__dict__.setdefault("plans", {})
    key = (index, problems, trace, cooperative)
    plan = plans.get(key)
    if plan is None:
        plan = plans[key] = Plan(index, problems=problems, trace=trace, cooperative=cooperative)
    return plan


def _next_output(device: int) -> tuple[int, Any, Any]:
    """(address of a ``Result``, the two pose tensors it begins with). Made by the dozen: making them takes as long as a launch.

    A result was waited for before anybody gets to see its tensors, so it does not matter on which stream their memory was taken.
    Results lie closer than they are long: the end of one, which nobody reads, is where the poses of the next will be.
    """
    outputs: dict[int, Any] = _local.__dict__.setdefault("outputs", {})
    taken = next(outputs[device], None) if device in outputs else None
    if taken is None:
        outputs[device] = _outputs(device)
        taken = next(outputs[device])
    first: tuple[int, Any, Any] = taken
    return first


def _outputs(device: int) -> Iterator[tuple[int, Any, Any]]:
    import torch

    rows = torch.empty((2 * _OUTPUTS + 1, 1, 8), dtype=torch.float32, device=f"cuda:{device}").unbind()
    addresses = range(rows[0].data_ptr(), rows[-1].data_ptr(), 2 * 32)
    return zip(addresses, rows[:-1:2], rows[1::2], strict=True)


@cache
def _stream_query() -> Any:
    """torch's way to ask for a stream's handle without an object around it, which takes longer than a launch."""
    import torch

    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return raw or (lambda index: torch.cuda.current_stream(index).cuda_stream)


def _current_stream(index: int) -> int:
    return int(_stream_query()(index))
