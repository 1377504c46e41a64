"""The tracker's Gauss-Newton on any library's Sim(3): its ``inv``, ``*``, ``act`` and ``retr`` do all that is done to poses.

Residuals, weights and the stopping rule are those of ``sim3solve.pytorch``, so what differs from solver ``torch`` is the library
and nothing else: where ``torch`` is right and this is not, the library is to blame. Upstream's own way with masks and with a
failed Cholesky is run by ``mast3r-slam:PATH``. Runs in children only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from sim3solve.problem import MIN_MATCHES, Iteration, Options, RayDist, Solution, Status, options_for
from sim3solve.pytorch import Linearizer, newton_step

Observe = Callable[[int, Iteration], None]


class Pose(Protocol):
    """A batch of Sim(3) elements, as lietorch has them: ``data`` (B, 8)."""

    @property
    def data(self) -> Tensor: ...
    def inv(self) -> Any: ...
    def __mul__(self, other: Any) -> Any: ...
    def act(self, p: Tensor) -> Tensor: ...
    def retr(self, a: Tensor) -> Any: ...


class _Failed(Exception):
    def __init__(self, status: Status) -> None:
        super().__init__(status.value)
        self.status = status


def solver_on(make: Callable[[Tensor], Pose]) -> Callable[[RayDist, Options, Observe], Solution]:
    """A solver whose poses are made by ``make`` from a (1, 8) float32 tensor with the recorded memory layout."""

    def solve(problem: RayDist, options: Options, observe: Observe) -> Solution:
        options = options_for(problem.kind, options)
        trace: list[Iteration] = []
        with torch.no_grad():
            try:
                status, T_WCf, T_CkCf, cost = _iterate(problem, options, make, trace, observe)
            except _Failed as failed:
                nan = torch.full((1, 8), math.nan, device=problem.Xf.device)
                return Solution(failed.status, nan, nan.clone(), len(trace), math.nan, tuple(trace))
        return Solution(status, T_WCf.data, T_CkCf.data, len(trace), cost, tuple(trace))

    return solve


class _System(Linearizer):
    """The points as the tracker has them go through the library's ``act``; checks, masks and sums are those of ``torch``."""

    def __init__(self, problem: RayDist, options: Options) -> None:
        super().__init__(problem, options)
        self._given = problem.Xf.float()

    def transformed(self, T: Pose, part: slice) -> Tensor:
        return T.act(self._given[part])


def _iterate(
    problem: RayDist, options: Options, make: Callable[[Tensor], Pose], trace: list[Iteration], observe: Observe
) -> tuple[Status, Pose, Pose, float]:
    system = _System(problem, options)
    if system.bad:
        raise _Failed(Status.NON_FINITE)
    if system.n_valid < MIN_MATCHES:
        raise _Failed(Status.TOO_FEW_MATCHES)
    T_WCk = make(problem.T_WCk.float())
    T_CkCf: Pose = T_WCk.inv() * make(problem.T_WCf.float())
    cost, old_cost = math.nan, math.inf
    for k in range(options.max_iters):
        H, g, cost, n_matches = system.normal_equations(T_CkCf)
        delta = newton_step(H, g, n_matches)
        if isinstance(delta, Status):
            raise _Failed(delta)
        T_CkCf = T_CkCf.retr(delta.float().to(system.device)[None])
        delta_norm = float(delta.norm())
        trace.append(Iteration(cost, delta_norm, n_matches, tuple(T_CkCf.data.reshape(8).tolist())))
        observe(k, trace[-1])
        if not all(math.isfinite(x) for x in trace[-1].T_CkCf):
            raise _Failed(Status.NON_FINITE)
        if options.stops(old_cost, cost, delta_norm):
            return Status.CONVERGED, T_WCk * T_CkCf, T_CkCf, cost
        old_cost = cost
    return Status.MAX_ITERATIONS, T_WCk * T_CkCf, T_CkCf, cost
