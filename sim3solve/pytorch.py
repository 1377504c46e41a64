"""The solver in pure PyTorch, float32 with float64 sums, on the CPU or a GPU: no extension, no custom kernel, no lietorch.

Against upstream's solver it updates on the left with Sim(3)'s own W, evaluates that W without cancellation at every magnitude,
never lets a masked point touch a sum, and names the status instead of raising from a Cholesky. The host waits for the device
once an iteration, for the normal equations (upstream: twice).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim3solve.problem import (
    MIN_MATCHES,
    MIN_PIVOT,
    Calib,
    Iteration,
    Options,
    ProblemError,
    RayDist,
    Solution,
    Status,
    options_for,
)

CHUNK = {"cpu": 1 << 15, "cuda": 1 << 20}  # points per partial sum: bounds memory whatever N is
Observer = Callable[[int, Iteration], None]

# Gauss-Legendre on [0, 1]. With 16 nodes the integral of W is exact to float32 for |sigma| <= 20 and |omega| <= 2 pi.
_NODES, _WEIGHTS = (torch.tensor(a, dtype=torch.float64) for a in np.polynomial.legendre.leggauss(16))
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


# --- Sim(3), batched over leading dimensions: poses (..., 8), tangents (..., 7), points (..., 3) ----------------------------------


def rotate(q: Tensor, X: Tensor) -> Tensor:
    """Rotate points by unit quaternions [x y z w]."""
    v, w = q[..., :3], q[..., 3:]
    t = 2 * torch.linalg.cross(v, X)
    rotated: Tensor = X + w * t + torch.linalg.cross(v, t)
    return rotated


def act(T: Tensor, X: Tensor) -> Tensor:
    """s R X + t."""
    return T[..., 7:] * rotate(T[..., 3:7], X) + T[..., :3]


def compose(A: Tensor, B: Tensor) -> Tensor:
    """A B: B first; the quaternion comes back normalised."""
    va, wa = A[..., 3:6], A[..., 6:7]
    vb, wb = B[..., 3:6], B[..., 6:7]
    v = wa * vb + wb * va + torch.linalg.cross(va, vb)
    w = wa * wb - (va * vb).sum(-1, keepdim=True)
    q = torch.cat([v, w], -1)
    return torch.cat([act(A, B[..., :3]), q / q.norm(dim=-1, keepdim=True), A[..., 7:] * B[..., 7:]], -1)


def inverse(T: Tensor) -> Tensor:
    q = torch.cat([-T[..., 3:6], T[..., 6:7]], -1)
    return torch.cat([-rotate(q, T[..., :3]) / T[..., 7:], q, 1 / T[..., 7:]], -1)


def exp(delta: Tensor) -> Tensor:
    """Exponential of tangents [tau omega sigma]: translation W tau, W = integral over u in [0,1] of e^(sigma u) Exp(u omega).

    The integral is taken by quadrature: with sin(u theta)/theta and (1 - cos(u theta))/theta^2 written as sinc functions every
    integrand is positive for theta < pi, so nothing cancels, where the closed forms lose all digits of float32 near zero.
    """
    tau, omega, sigma = delta[..., :3], delta[..., 3:6], delta[..., 6:]
    theta = omega.norm(dim=-1, keepdim=True)
    u, weight = _NODES.to(delta), _WEIGHTS.to(delta)
    growth = weight * torch.exp(sigma * u)
    C = growth.sum(-1, keepdim=True)
    A = (growth * u * torch.sinc(u * theta / math.pi)).sum(-1, keepdim=True)
    B = (growth * 0.5 * u**2 * torch.sinc(u * theta / (2 * math.pi)) ** 2).sum(-1, keepdim=True)
    omega_tau = torch.linalg.cross(omega, tau)
    t = C * tau + A * omega_tau + B * torch.linalg.cross(omega, omega_tau)
    q = torch.cat([0.5 * torch.sinc(theta / (2 * math.pi)) * omega, torch.cos(theta / 2)], -1)
    return torch.cat([t, q / q.norm(dim=-1, keepdim=True), torch.exp(sigma)], -1)


# --- rows of the whitened problem -------------------------------------------------------------------------------------------------


def ray_dist_rows(Y: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """r (N,4), J (N,4,7), seen (N,): with n = Y/|Y| the Jacobian is [-(I - n n^T)/|Y|, [n]x, 0; -n, 0, -|Y|]."""
    d = Y.norm(dim=1, keepdim=True)
    n = Y / d
    r = target - torch.cat([n, d], 1)
    J = Y.new_zeros(len(Y), 4, 7)
    J[:, :3, :3] = (n[:, :, None] * n[:, None, :] - torch.eye(3, dtype=Y.dtype, device=Y.device)) / d[:, :, None]
    J[:, 0, 4], J[:, 0, 5] = -n[:, 2], n[:, 1]
    J[:, 1, 3], J[:, 1, 5] = n[:, 2], -n[:, 0]
    J[:, 2, 3], J[:, 2, 4] = -n[:, 1], n[:, 0]
    J[:, 3, :3], J[:, 3, 6] = -n, -d[:, 0]
    return r, J, torch.ones(len(Y), dtype=torch.bool, device=Y.device)


def calib_rows(Y: Tensor, target: Tensor, K: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """r (N,3), J (N,3,7), seen (N,): pixel and log depth; scale moves log depth alone. K is a pinhole without skew."""
    assert options.img_size is not None
    height, width = options.img_size
    border = options.pixel_border
    z = Y[:, 2]
    seen = z > options.depth_eps
    inv_z = 1 / torch.where(seen, z, 1.0)
    x, y = Y[:, 0] * inv_z, Y[:, 1] * inv_z
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    u, v = fx * x + cx, fy * y + cy
    seen = seen & (u > border) & (u < width - 1 - border) & (v > border) & (v < height - 1 - border)
    r = target - torch.stack([u, v, -torch.log(inv_z)], 1)
    J = Y.new_zeros(len(Y), 3, 7)
    J[:, 0, 0], J[:, 0, 2] = -fx * inv_z, fx * x * inv_z
    J[:, 0, 3], J[:, 0, 4], J[:, 0, 5] = fx * x * y, -fx * (1 + x * x), fx * y
    J[:, 1, 1], J[:, 1, 2] = -fy * inv_z, fy * y * inv_z
    J[:, 1, 3], J[:, 1, 4], J[:, 1, 5] = fy * (1 + y * y), -fy * x * y, -fy * x
    J[:, 2, 2], J[:, 2, 3], J[:, 2, 4], J[:, 2, 6] = -inv_z, -y, x, -1.0
    return r, J, seen


class Linearizer:
    """The inputs on one device in float32, and the normal equations at any pose. Masked rows are zeroed before any arithmetic."""

    def __init__(self, problem: RayDist, options: Options) -> None:
        self.options = options
        self.device = _one_device(problem)
        # World poses stay in float64: far from the world's origin a float32 difference of two is noise.
        self.T_WCf, self.T_WCk = (_normalised(T.double().reshape(8)) for T in (problem.T_WCf, problem.T_WCk))
        valid, target = problem.valid_opt[:, 0], problem.Xk
        self.K: Tensor | None = None
        if isinstance(problem, Calib):
            valid, target = valid & problem.valid_meas_k[:, 0], problem.meas_k
            self.K = problem.K.float()
        calib = self.K is not None
        keep = valid[:, None]
        # Contiguous: torch sums a transposed view in another order, and the layout would show in the last bits of the pose.
        Xf, target, Q = (torch.where(keep, a, 0).float().contiguous() for a in (problem.Xf, target, problem.Qk))
        usable = torch.isfinite(Xf).all(1) & torch.isfinite(target).all(1) & torch.isfinite(Q[:, 0]) & (Q[:, 0] >= 0)
        if not calib:
            d = target.norm(dim=1, keepdim=True)
            usable &= (Xf != 0).any(1) & (d[:, 0] > 0)
            target = torch.cat([target / d, d], 1)
        bad_point = (valid & ~usable).any()
        self.mask = valid & usable & (Q[:, 0] > 0)
        self.Xf, self.target, self.sqrt_Q = Xf, target, Q.clamp_min(0).sqrt()
        poses = torch.cat([self.T_WCf, self.T_WCk])
        bad_pose = ~torch.isfinite(poses).all() | (poses[7] <= 0) | (poses[15] <= 0)
        if self.K is not None:
            bad_pose |= ~torch.isfinite(self.K).all()
        self.bad, self.n_valid = (int(x) for x in torch.stack([bad_point | bad_pose, self.mask.sum()]).tolist())
        sigmas = [options.sigma_pixel] * 2 + [options.sigma_depth] if calib else [options.sigma_ray] * 3 + [options.sigma_dist]
        self.inv_sigma = 1 / torch.tensor(sigmas, dtype=torch.float32, device=self.device)

    def transformed(self, T: Any, part: slice) -> Tensor:
        """Some of the frame's points at a pose, by this file's maths; a library's own where that is to be tried."""
        return act(T[None], self.Xf[part])

    def normal_equations(self, T: Any) -> tuple[Tensor, Tensor, float, int]:
        """H (7,7) and g (7,) with H delta = -g, the cost 0.5 sum w r^2, and how many points count. One wait for the device."""
        total = torch.zeros(8 * 8 + 1, dtype=torch.float64, device=self.device)
        chunk = CHUNK.get(self.device.type, 1 << 20)
        for start in range(0, len(self.Xf), chunk):
            total += self._partial(T, slice(start, start + chunk))
        sums = total.cpu()
        S = sums[:64].view(8, 8)
        return S[:7, :7], S[:7, 7], 0.5 * float(S[7, 7]), int(sums[64])

    def _partial(self, T: Any, part: slice) -> Tensor:
        Y = self.transformed(T, part)
        if self.K is None:
            r, J, seen = ray_dist_rows(Y, self.target[part])
        else:
            r, J, seen = calib_rows(Y, self.target[part], self.K, self.options)
        mask = self.mask[part] & seen
        s = self.sqrt_Q[part] * self.inv_sigma
        a = (s * r).abs()
        w = torch.where(a < self.options.huber, 1.0, self.options.huber / a)
        Ab = (w.sqrt() * s)[:, :, None] * torch.cat([J, r[:, :, None]], 2)
        Ab = torch.where(mask[:, None, None], Ab, 0).view(-1, 8)  # where, not a product: 0 * NaN is NaN
        # Rows in float32, sums in float64: a float32 sum would leave noise of 2e-5 where a pivot should be zero.
        Ab = Ab.double()
        return torch.cat([(Ab.T @ Ab).view(-1), mask.sum().double()[None]])


def solve(problem: RayDist, options: Options | None = None, observe: Observer | None = None) -> Solution:
    """Solve in float32 on the device the inputs are on, by upstream's rule. Poses come back as (1,8) float32 tensors there.

    ``observe(k, iteration)`` is called after each step. Raises ``ProblemError`` when the inputs are not on one device.
    """
    options = options_for(problem.kind, options)
    trace: list[Iteration] = []
    with torch.no_grad():
        status, T_WCf, T_CkCf, cost = _gauss_newton(Linearizer(problem, options), options, trace, observe)
    return Solution(status, T_WCf.view(1, 8), T_CkCf.view(1, 8), len(trace), cost, tuple(trace))


def _gauss_newton(
    system: Linearizer, options: Options, trace: list[Iteration], observe: Observer | None
) -> tuple[Status, Tensor, Tensor, float]:
    no_pose = torch.full((8,), math.nan, device=system.device)
    if system.bad:
        return Status.NON_FINITE, no_pose, no_pose, math.nan
    if system.n_valid < MIN_MATCHES:
        return Status.TOO_FEW_MATCHES, no_pose, no_pose, math.nan
    T_CkCf = compose(inverse(system.T_WCk), system.T_WCf).float()
    cost, old_cost = math.nan, math.inf
    for k in range(options.max_iters):
        H, g, cost, n_matches = system.normal_equations(T_CkCf)
        delta = newton_step(H, g, n_matches)
        if isinstance(delta, Status):
            return delta, no_pose, no_pose, cost
        T_CkCf = compose(exp(delta.float().to(system.device)), T_CkCf)
        delta_norm = float(delta.norm())
        trace.append(Iteration(cost, delta_norm, n_matches, tuple(T_CkCf.tolist())))
        if observe is not None:
            observe(k, trace[-1])
        if not all(math.isfinite(x) for x in trace[-1].T_CkCf):
            return Status.NON_FINITE, no_pose, no_pose, cost
        if options.stops(old_cost, cost, delta_norm):
            return Status.CONVERGED, _in_world(system.T_WCk, T_CkCf), T_CkCf, cost
        old_cost = cost
    return Status.MAX_ITERATIONS, _in_world(system.T_WCk, T_CkCf), T_CkCf, cost


def newton_step(H: Tensor, g: Tensor, n_matches: int) -> Tensor | Status:
    """delta (7,) by Cholesky, or why there is none, under the rule that every solver here has for what is not observable."""
    if n_matches < MIN_MATCHES:
        return Status.TOO_FEW_MATCHES
    if not (torch.isfinite(H).all() and torch.isfinite(g).all()):
        return Status.NON_FINITE
    L, info = torch.linalg.cholesky_ex(H)
    if int(info) != 0 or not bool((L.diagonal() ** 2 > MIN_PIVOT * H.diagonal()).all()):
        return Status.NOT_POSITIVE_DEFINITE
    return -torch.cholesky_solve(g[:, None], L)[:, 0]


def _one_device(problem: RayDist) -> torch.device:
    device: torch.device = problem.Xf.device
    for name, tensor in vars(problem).items():
        if tensor.device != device:
            raise ProblemError(name, f"is on {tensor.device}, Xf on {device}")
    return device


def _in_world(T_WCk: Tensor, T_CkCf: Tensor) -> Tensor:
    return compose(T_WCk, T_CkCf.double()).float()


def _normalised(T: Tensor) -> Tensor:
    return torch.cat([T[:3], T[3:7] / T[3:7].norm(), T[7:]])
