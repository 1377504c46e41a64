"""What a solver is to the harness, and the ones that ship. Runs in children only.

Anyone adds one: a file with a factory, ``--solver FILE.py:FACTORY``, or an entry point of group ``harness.solvers``. The factory
takes nothing and returns a ``Solver``, or just a function ``solve(problem, options)`` that returns a ``sim3solve.Solution`` or, as
upstream does, ``(T_WCf, T_CkCf)``. It may take a third argument, ``observe(k, iteration)``, to be called after each iteration.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from harness.errors import SolverUnavailable
from harness.registry import SolverSpec
from sim3solve.problem import Iteration, Options, Problem, Solution, Status

Observe = Callable[[int, Iteration], None]


@dataclass(frozen=True)
class Solver:
    """How to call a solver.

    ``solve(problem, options, observe)`` gets arrays of the library named by ``arrays`` with the recorded layout, on the CPU or,
    when ``devices`` lists it, on a GPU; ``cuda`` are arrays with ``__cuda_array_interface__``, or torch tensors for a case that
    these cannot hold (``cuda_layout``). ``op(name, operands)`` does a Lie-group operation. ``yardsticks(problem, options,
    solution)`` gives what only the oracle can say. A solver with ``judged`` false claims no parity. ``build(device)`` compiles what
    a first solve there would: the time limit begins after it.
    """

    solve: Callable[[Problem, Options, Observe], Any]
    arrays: Literal["numpy", "torch", "cuda"] = "torch"
    devices: tuple[str, ...] = ("cpu", "cuda")
    judged: bool = True
    op: Callable[[str, Mapping[str, Any]], Any] | None = None
    yardsticks: Callable[[Problem, Options, Solution], dict[str, Any]] | None = None
    build: Callable[[str], None] | None = None


def load(spec: SolverSpec) -> Solver:
    """Import a solver's factory and call it. Whatever it raises is the solver's own failure."""
    module_name, _, attribute = spec.target.rpartition(":")
    module = import_file(Path(module_name)) if spec.is_file else importlib.import_module(module_name)
    factory = getattr(module, attribute)
    made = factory() if spec.argument is None else factory(spec.argument)
    if isinstance(made, Solver):
        return made
    if not callable(made):
        raise TypeError(
            f"{spec.target} returned a {type(made).__name__}; it must return a Solver or a function solve(problem, options)"
        )
    takes_observer = len(inspect.signature(made).parameters) > 2
    return Solver(made if takes_observer else lambda problem, options, observe: made(problem, options))


def import_file(path: Path) -> Any:
    """The module of a user's file, which may import what lies beside it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)


def _operation(maths: Any, name: str, identity: Callable[[Any], Any], x: Mapping[str, Any]) -> Any:
    """One Sim(3) operation of an ``op`` case (``harness.case.OPS``) by a module's ``inverse``, ``compose``, ``act`` and ``exp``."""
    operations: dict[str, Callable[..., Any]] = {
        "identity": lambda X: identity(X),
        "inv": lambda X: maths.inverse(X),
        "mul": lambda X, Y: maths.compose(X, Y),
        "act": lambda X, p: maths.act(X, p),
        "exp": lambda a: maths.exp(a),
        "retr": lambda X, a: maths.compose(maths.exp(a), X),
    }
    return operations[name](**x)


def _row_by_row(maths: Any, dtype: type) -> Callable[[str, Mapping[str, Any]], np.ndarray]:
    """``Solver.op`` for maths that take one row at a time."""

    def op(name: str, x: Mapping[str, np.ndarray]) -> np.ndarray:
        batch = len(next(iter(x.values())))
        rows: list[dict[str, Any]] = [{key: np.asarray(value[i], dtype=dtype) for key, value in x.items()} for i in range(batch)]
        return np.array([_operation(maths, name, lambda X: np.array(IDENTITY, dtype=dtype), row) for row in rows])

    return op


def reference() -> Solver:
    from sim3solve import reference as oracle

    def yardsticks(problem: Problem, options: Options, solution: Solution) -> dict[str, Any]:
        if not solution.status.has_pose:
            return {}
        T = np.asarray(solution.T_CkCf).reshape(8)
        normal = oracle.information(problem, options, T)
        best = oracle.optimum(problem, options, solution)
        points, _, _ = oracle.select(problem)
        pivots = np.diag(np.linalg.cholesky(normal.H)) ** 2 / np.diag(normal.H)
        return {
            "H": normal.H.ravel().tolist(),
            "smallest_pivot": float(pivots.min()),
            "median_depth": float(np.median(np.linalg.norm(oracle.act(T, points.Xf), axis=1))),
            "optimum": {
                "status": best.status.value,
                "iterations": best.iterations + solution.iterations,
                "T_CkCf": np.asarray(best.T_CkCf).ravel().tolist(),
            },
        }

    return Solver(oracle.solve, arrays="numpy", devices=("cpu",), op=_row_by_row(oracle, np.float64), yardsticks=yardsticks)


def import_torch() -> ModuleType:
    """torch, for a solver that computes with its tensors. Raises ``SolverUnavailable``."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a DLL of torch's is missing
        raise SolverUnavailable(f"torch cannot be imported: {error}") from error
    return torch


def torch_float32() -> Solver:
    import_torch()
    from sim3solve import pytorch

    def op(name: str, x: Mapping[str, Any]) -> Any:
        return _operation(pytorch, name, lambda X: X.new_tensor(IDENTITY).expand_as(X), x)

    return Solver(pytorch.solve, op=op)


def native() -> Solver:
    from sim3solve import native as cpu

    try:
        cpu.library()  # a first use compiles here, before the solve is timed
    except cpu.NativeUnavailable as error:
        raise SolverUnavailable(str(error)) from error

    return Solver(cpu.solve, arrays="numpy", devices=("cpu",), op=_row_by_row(cpu, np.float32))


def cuda() -> Solver:
    from sim3solve import cuda as gpu  # imports neither torch nor cuda.core

    def solve(problem: Problem, options: Options, observe: Observe) -> Solution:
        try:
            return gpu.solve(problem, options, observe)
        except gpu.Unavailable as error:
            raise SolverUnavailable(str(error)) from error

    def build(device: str) -> None:
        try:
            from sim3solve.cuda_kernels import kernels
        except ImportError:  # a revision that had them elsewhere: its first solve compiles them
            return
        try:
            kernels(int(device.partition(":")[2]))
        except gpu.Unavailable as error:
            raise SolverUnavailable(str(error)) from error

    return Solver(solve, arrays="cuda", devices=("cuda",), build=build)


def skip() -> Solver:
    """Keep the initial pose: no iteration is run, and the status says so."""

    def solve(problem: Problem, options: Options, observe: Observe) -> Solution:
        from sim3solve import reference as oracle

        T_WCf, T_WCk = (np.array(T, dtype=np.float64).reshape(8) for T in (problem.T_WCf, problem.T_WCk))
        for T in (T_WCf, T_WCk):
            T[3:7] /= np.linalg.norm(T[3:7])
        T_CkCf = oracle.compose(oracle.inverse(T_WCk), T_WCf)
        return Solution(Status.MAX_ITERATIONS, T_WCf[None], T_CkCf[None], 0, math.nan)

    return Solver(solve, arrays="numpy", devices=("cpu",), judged=False)
