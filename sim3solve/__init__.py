"""The pose solver that ships. Nothing here imports the harness, and importing this package does not import torch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

from sim3solve.problem import Calib, Iteration, Options, Problem, ProblemError, RayDist, Solution, Status

__all__ = ["Calib", "Iteration", "Options", "Problem", "ProblemError", "RayDist", "Solution", "Status", "solve", "solve_batch"]
__version__ = "0.1.0"

_loaded: dict[str, Any] = {}

Backend = Literal["auto", "cuda", "native", "torch", "reference"]


def solve(problem: RayDist, options: Options | None = None, backend: Backend = "auto") -> Solution:
    """Solve a problem. Poses come back as (1,8) float32 arrays of the caller's library, on the device of the inputs.

    ``auto`` takes the fused kernel for inputs on an NVIDIA GPU and the native library for inputs on the CPU, and the pure PyTorch
    solver where those cannot run. Raises ``ProblemError`` for inputs no backend accepts, and the backend's own error, which says
    what is missing, when one was asked for by name.
    """
    if backend != "auto":
        return _solution(_module(backend), problem, options)
    on_gpu = _is_on_gpu(problem)
    fast = _module("cuda" if on_gpu else "native")
    unavailable: type[Exception] = fast.Unavailable
    try:
        return _solution(fast, problem, options)
    except unavailable:
        is_torch = hasattr(problem.Xf, "detach")
        if on_gpu and not is_torch:
            raise
        return _solution(_module("torch" if is_torch else "reference"), problem, options)


def solve_batch(problems: Sequence[RayDist], options: Options | None = None, backend: Backend = "auto") -> tuple[Solution, ...]:
    """Solve many problems with the same options: in one launch where they are all on one GPU, one after the other elsewhere.

    Raises as ``solve`` does.
    """
    if backend in ("auto", "cuda") and problems and _is_on_gpu(problems[0]):
        cuda = _module("cuda")
        try:
            solutions: tuple[Solution, ...] = cuda.solve_batch(problems, options)
            return solutions
        except cuda.Unavailable:
            if backend == "cuda":
                raise
    return tuple(solve(problem, options, backend) for problem in problems)


def _is_on_gpu(problem: RayDist) -> bool:
    Xf = problem.Xf
    return bool(getattr(Xf, "is_cuda", None)) or hasattr(Xf, "__cuda_array_interface__")


def _module(backend: str) -> Any:
    """A backend's module, imported when it is first asked for: none of them should cost those who use another."""
    if backend in _loaded:
        return _loaded[backend]
    modules = {"cuda": "cuda", "native": "native", "torch": "pytorch", "reference": "reference"}
    if backend not in modules:
        raise ProblemError("backend", f"must be auto, {', '.join(modules)}; got {backend!r}")
    module = _loaded[backend] = importlib.import_module(f"sim3solve.{modules[backend]}")
    return module


def _solution(module: Any, problem: RayDist, options: Options | None) -> Solution:
    solution: Solution = module.solve(problem, options)
    return solution
