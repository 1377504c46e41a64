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

from sim3solve.problem import MIN_MATCHES, MIN_PIVOT, Calib, Iteration, Options, ProblemError, RayDist, Solution, Status
from sim3solve.pytorch import CHUNK, Linearizer, calib_rows, ray_dist_rows

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
        if isinstance(problem, Calib) and options.img_size is None:
            raise ProblemError("img_size", "the calibrated problem needs (height, width) in pixels")
        trace: list[Iteration] = []
        with torch.no_grad():
            try:
                status, T_WCf, T_CkCf, cost = _iterate(_Problem(problem, options), make, trace, observe)
            except _Failed as failed:
                nan = torch.full((1, 8), math.nan, device=problem.Xf.device)
                return Solution(failed.status, nan, nan.clone(), len(trace), math.nan, tuple(trace))
        return Solution(status, T_WCf.data, T_CkCf.data, len(trace), cost, tuple(trace))

    return solve


class _Problem:
    """The inputs as the tracker has them, for the library, and checked and masked, for the sums."""

    def __init__(self, problem: RayDist, options: Options) -> None:
        self.options = options
        self.system = Linearizer(problem, options)
        if self.system.bad:
            raise _Failed(Status.NON_FINITE)
        if self.system.n_valid < MIN_MATCHES:
            raise _Failed(Status.TOO_FEW_MATCHES)
        self.Xf, self.T_WCf, self.T_WCk = (a.float() for a in (problem.Xf, problem.T_WCf, problem.T_WCk))

    def normal_equations(self, T: Pose) -> tuple[Tensor, Tensor, float, int]:
        """H (7,7), g (7,) with H delta = -g in float64 on the CPU, the cost, and how many points count."""
        total = torch.zeros(65, dtype=torch.float64, device=self.system.device)
        chunk = CHUNK.get(self.system.device.type, 1 << 20)
        for start in range(0, len(self.Xf), chunk):
            total += self._partial(T, slice(start, start + chunk))
        sums = total.cpu()
        S = sums[:64].view(8, 8)
        return S[:7, :7], S[:7, 7], 0.5 * float(S[7, 7]), int(sums[64])

    def _partial(self, T: Pose, part: slice) -> Tensor:
        system = self.system
        Y = T.act(self.Xf[part])
        if system.K is None:
            r, J, seen = ray_dist_rows(Y, system.target[part])
        else:
            r, J, seen = calib_rows(Y, system.target[part], system.K, self.options)
        mask = system.mask[part] & seen
        s = system.sqrt_Q[part] * system.inv_sigma
        a = (s * r).abs()
        root_w = torch.where(a < self.options.huber, 1.0, self.options.huber / a).sqrt()
        rows = (root_w * s)[:, :, None] * torch.cat([J, r[:, :, None]], 2)
        rows = torch.where(mask[:, None, None], rows, 0).view(-1, 8).double()
        return torch.cat([(rows.T @ rows).view(-1), mask.sum().double()[None]])


def _iterate(
    problem: _Problem, make: Callable[[Tensor], Pose], trace: list[Iteration], observe: Observe
) -> tuple[Status, Pose, Pose, float]:
    options = problem.options
    T_WCk = make(problem.T_WCk)
    T_CkCf: Pose = T_WCk.inv() * make(problem.T_WCf)
    cost, old_cost = math.nan, math.inf
    for k in range(options.max_iters):
        H, g, cost, n_matches = problem.normal_equations(T_CkCf)
        delta = _step(H, g, n_matches)
        T_CkCf = T_CkCf.retr(delta.float().to(problem.system.device)[None])
        delta_norm = float(delta.norm())
        trace.append(Iteration(cost, delta_norm, n_matches, tuple(T_CkCf.data.reshape(8).tolist())))
        observe(k, trace[-1])
        if not all(math.isfinite(x) for x in trace[-1].T_CkCf):
            raise _Failed(Status.NON_FINITE)
        if options.stops(old_cost, cost, delta_norm):
            return Status.CONVERGED, T_WCk * T_CkCf, T_CkCf, cost
        old_cost = cost
    return Status.MAX_ITERATIONS, T_WCk * T_CkCf, T_CkCf, cost


def _step(H: Tensor, g: Tensor, n_matches: int) -> Tensor:
    """delta (7,) by Cholesky, under the rule that every solver here has for what is not observable."""
    if n_matches < MIN_MATCHES:
        raise _Failed(Status.TOO_FEW_MATCHES)
    if not (torch.isfinite(H).all() and torch.isfinite(g).all()):
        raise _Failed(Status.NON_FINITE)
    L, info = torch.linalg.cholesky_ex(H)
    if int(info) != 0 or not bool((L.diagonal() ** 2 > MIN_PIVOT * H.diagonal()).all()):
        raise _Failed(Status.NOT_POSITIVE_DEFINITE)
    return -torch.cholesky_solve(g[:, None], L)[:, 0]
