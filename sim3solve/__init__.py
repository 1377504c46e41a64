"""The pose solver that ships. Nothing here imports the harness, and importing this package does not import torch."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from sim3solve.problem import Calib, Iteration, Options, Problem, ProblemError, RayDist, Solution, Status

__all__ = ["Calib", "Iteration", "Options", "Problem", "ProblemError", "RayDist", "Solution", "Status", "solve"]
__version__ = "0.1.0"

Backend = Literal["auto", "cuda", "native", "torch", "reference"]


def solve(problem: RayDist, options: Options | None = None, backend: Backend = "auto") -> Solution:
    """Solve a problem. Poses come back as (1,8) float32 arrays of the caller's library, on the device of the inputs.

    ``auto`` takes the fused kernel for inputs on an NVIDIA GPU and the native library for inputs on the CPU, and the pure PyTorch
    solver where those cannot run. Raises ``ProblemError`` for inputs no backend accepts, and the backend's own error, which says
    what is missing, when one was asked for by name.
    """
    if backend != "auto":
        return _solution(_module(backend), problem, options)
    on_gpu = getattr(getattr(problem.Xf, "device", None), "type", "cpu") == "cuda"
    fast = _module("cuda" if on_gpu else "native")
    unavailable: type[Exception] = fast.Unavailable
    try:
        return _solution(fast, problem, options)
    except unavailable:
        is_torch = hasattr(problem.Xf, "detach")
        return _solution(_module("torch" if is_torch else "reference"), problem, options)


def _module(backend: str) -> Any:
    """A backend's module, imported when it is first asked for: none of them should cost those who use another."""
    modules = {"cuda": "cuda", "native": "native", "torch": "pytorch", "reference": "reference"}
    if backend not in modules:
        raise ProblemError("backend", f"must be auto, {', '.join(modules)}; got {backend!r}")
    return importlib.import_module(f"sim3solve.{modules[backend]}")


def _solution(module: Any, problem: RayDist, options: Options | None) -> Solution:
    solution: Solution = module.solve(problem, options)
    return solution
