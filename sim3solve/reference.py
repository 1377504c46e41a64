"""The oracle: Gauss-Newton on Sim(3) in float64 NumPy, written to be read beside the equations. Slow, on the CPU, and trusted.

Equations:
    Sim(3) and its exponential          sim3solve/reference_sim3.py
    ray and distance residual           R. Murai, E. Dexheimer, A. Davison, "MASt3R-SLAM", CVPR 2025, section 3.3
    Huber as reweighted least squares   P. J. Huber, "Robust Statistics", 1981, section 7.8
It is itself checked against matrix exponentials, numerical derivatives and scipy.optimize.least_squares (tests/test_reference.py).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim3solve.problem import MIN_MATCHES, MIN_PIVOT, Calib, Iteration, Options, RayDist, Solution, Status, options_for
from sim3solve.reference_sim3 import Array, act, compose, exp, identity, inverse, rotation, w_coefficients

__all__ = [
    "act", "compose", "exp", "identity", "information", "inverse", "linearize", "optimum", "rotation", "select", "solve",
    "w_coefficients",
]  # fmt: skip

Observer = Callable[[int, Iteration], None]

CHUNK = 1 << 13  # points linearized at a time: bounds memory whatever N is, and stays in the cache


# --- residuals: r = z - h(T X), J = dr/ddelta for T <- Exp(delta) T, s = 1 / standard deviation -----------------------------------


@dataclass(frozen=True)
class Points:
    """The points that count, in float64: masked rows are gone, so nothing in them can matter."""

    Xf: Array  # (M,3)
    z: Array  # (M,4) ray and distance of Xk, or (M,3) pixel and log depth
    sqrt_Q: Array  # (M,1)
    K: Array | None  # (3,3) for the calibrated problem


def d_act(Y: Array) -> Array:
    """d(Exp(delta) Y)/d delta at zero (M,3,7): [I, -[Y]x, Y]."""
    J = np.zeros((len(Y), 3, 7))
    J[:, [0, 1, 2], [0, 1, 2]] = 1
    J[:, 0, 4], J[:, 0, 5] = Y[:, 2], -Y[:, 1]
    J[:, 1, 3], J[:, 1, 5] = -Y[:, 2], Y[:, 0]
    J[:, 2, 3], J[:, 2, 4] = Y[:, 1], -Y[:, 0]
    J[:, :, 6] = Y
    return J


def ray_dist_rows(points: Points, T: Array, options: Options) -> tuple[Array, Array, Array]:
    """r (M,4), J (M,4,7), s (M,4): unit ray X/|X| and distance |X|."""
    Y = act(T, points.Xf)
    d = np.linalg.norm(Y, axis=1, keepdims=True)
    ray = Y / d
    r = points.z - np.hstack([ray, d])
    d_ray = (np.eye(3) - ray[:, :, None] * ray[:, None, :]) / d[:, :, None]
    J = -np.concatenate([d_ray, ray[:, None, :]], axis=1) @ d_act(Y)
    s = points.sqrt_Q / np.array([options.sigma_ray] * 3 + [options.sigma_dist])
    return r, J, s


def calib_rows(points: Points, T: Array, options: Options) -> tuple[Array, Array, Array]:
    """r (M',3), J (M',3,7), s (M',3): pixel and log depth of the points that project into the bordered image.

    A point leaves when z <= depth_eps or its pixel lies outside [border, size - 1 - border]. K is a pinhole without skew.
    """
    assert points.K is not None and options.img_size is not None
    fx, fy, cx, cy = points.K[0, 0], points.K[1, 1], points.K[0, 2], points.K[1, 2]
    height, width = options.img_size
    border = options.pixel_border
    Y = act(T, points.Xf)
    seen = Y[:, 2] > options.depth_eps
    z_safe = np.where(seen, Y[:, 2], 1.0)
    u, v = fx * Y[:, 0] / z_safe + cx, fy * Y[:, 1] / z_safe + cy
    seen &= (u > border) & (u < width - 1 - border) & (v > border) & (v < height - 1 - border)
    Y, u, v = Y[seen], u[seen], v[seen]
    inv_z = 1 / Y[:, 2]
    r = points.z[seen] - np.stack([u, v, np.log(Y[:, 2])], axis=1)
    d_h = np.zeros((len(Y), 3, 3))
    d_h[:, 0, 0], d_h[:, 0, 2] = fx * inv_z, -fx * Y[:, 0] * inv_z**2
    d_h[:, 1, 1], d_h[:, 1, 2] = fy * inv_z, -fy * Y[:, 1] * inv_z**2
    d_h[:, 2, 2] = inv_z
    s = points.sqrt_Q[seen] / np.array([options.sigma_pixel] * 2 + [options.sigma_depth])
    return r, -d_h @ d_act(Y), s


# --- Gauss-Newton ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Normal:
    """Normal equations H delta = -g, summed over all points. ``cost`` is 0.5 sum w r^2, ``objective`` the Huber loss itself."""

    H: Array  # (7,7)
    g: Array  # (7,)
    cost: float
    objective: float
    n_matches: int


class Failure(Exception):
    """A solve that ends without a pose."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.value)
        self.status = status


def linearize(points: Points, T: Array, options: Options) -> Normal:
    """Weighted normal equations at T. Each component r_i has its own Huber weight min(1, k / |s_i r_i|)."""
    rows = ray_dist_rows if points.K is None else calib_rows
    H, g, cost, objective, n = np.zeros((7, 7)), np.zeros(7), 0.0, 0.0, 0
    for start in range(0, len(points.Xf), CHUNK):
        part = slice(start, start + CHUNK)
        chunk = Points(points.Xf[part], points.z[part], points.sqrt_Q[part], points.K)
        r, J, s = rows(chunk, T, options)
        a = np.abs(s * r)
        w = np.where(a < options.huber, 1.0, options.huber / np.maximum(a, options.huber))
        A = (np.sqrt(w) * s)[:, :, None] * J
        b = np.sqrt(w) * s * r
        A, b = A.reshape(-1, 7), b.reshape(-1)
        H, g = H + A.T @ A, g + A.T @ b
        cost += 0.5 * float(b @ b)
        objective += float(np.sum(np.where(a < options.huber, 0.5 * a * a, options.huber * (a - 0.5 * options.huber))))
        n += len(r)
    return Normal(H, g, cost, objective, n)


def step(normal: Normal) -> Array:
    """delta (7,) by Cholesky. Raises ``Failure`` when H is not finite or has a pivot below ``MIN_PIVOT`` of its diagonal."""
    if normal.n_matches < MIN_MATCHES:
        raise Failure(Status.TOO_FEW_MATCHES)
    if not (np.isfinite(normal.H).all() and np.isfinite(normal.g).all()):
        raise Failure(Status.NON_FINITE)
    try:
        L = np.linalg.cholesky(normal.H)
    except np.linalg.LinAlgError:
        raise Failure(Status.NOT_POSITIVE_DEFINITE) from None
    if not (np.diag(L) ** 2 > MIN_PIVOT * np.diag(normal.H)).all():
        raise Failure(Status.NOT_POSITIVE_DEFINITE)
    return -np.linalg.solve(L.T, np.linalg.solve(L, normal.g))


def select(problem: RayDist) -> tuple[Points, Array, Array]:
    """The points that count, T_WCf and T_WCk, in float64. Raises ``Failure`` for what no solver may accept.

    NON_FINITE: a pose or a valid point with NaN or infinity, a negative confidence, a zero quaternion, a scale that is not
    positive, or (ray_dist) a valid point at the origin, which has no ray. TOO_FEW_MATCHES: fewer than three points count.
    """
    T_WCf, T_WCk = (_pose(getattr(problem, name)) for name in ("T_WCf", "T_WCk"))
    valid = _array(problem.valid_opt)[:, 0].astype(bool)
    K = None
    if isinstance(problem, Calib):
        valid = valid & _array(problem.valid_meas_k)[:, 0].astype(bool)
        K = _array(problem.K).astype(np.float64)
        if not np.isfinite(K).all():
            raise Failure(Status.NON_FINITE)
    Xf, Q = (_array(a)[valid].astype(np.float64) for a in (problem.Xf, problem.Qk))
    target = _array(problem.meas_k if isinstance(problem, Calib) else problem.Xk)[valid].astype(np.float64)
    if not (np.isfinite(Xf).all() and np.isfinite(target).all() and np.isfinite(Q).all() and (Q >= 0).all()):
        raise Failure(Status.NON_FINITE)
    if K is None:
        d = np.linalg.norm(target, axis=1, keepdims=True)
        if not ((d > 0).all() and Xf.any(axis=1).all()):
            raise Failure(Status.NON_FINITE)
        target = np.hstack([target / d, d])
    counts = Q[:, 0] > 0
    if counts.sum() < MIN_MATCHES:
        raise Failure(Status.TOO_FEW_MATCHES)
    return Points(Xf[counts], target[counts], np.sqrt(Q[counts]), K), T_WCf, T_WCk


def solve(
    problem: RayDist, options: Options | None = None, observe: Observer | None = None, start: Array | None = None
) -> Solution:
    """Solve in float64 by upstream's rule. ``observe(k, iteration)`` is called after each step. Poses come back as (1,8) arrays.

    ``start`` (8,) replaces the initial relative pose T_WCk^-1 T_WCf.
    """
    options = options_for(problem.kind, options)
    trace: list[Iteration] = []
    cost = math.nan
    try:
        points, T_WCf, T_WCk = select(problem)
        T_CkCf = compose(inverse(T_WCk), T_WCf) if start is None else start
        status = Status.MAX_ITERATIONS
        old_cost = math.inf
        for k in range(options.max_iters):
            normal = linearize(points, T_CkCf, options)
            cost = normal.cost
            delta = step(normal)
            T_CkCf = compose(exp(delta), T_CkCf)
            if not np.isfinite(T_CkCf).all():
                raise Failure(Status.NON_FINITE)
            delta_norm = float(np.linalg.norm(delta))
            trace.append(Iteration(cost, delta_norm, normal.n_matches, tuple(T_CkCf.tolist())))
            if observe is not None:
                observe(k, trace[-1])
            if options.stops(old_cost, cost, delta_norm):
                status = Status.CONVERGED
                break
            old_cost = cost
    except Failure as failure:
        nan = np.full((1, 8), np.nan)
        return Solution(failure.status, nan, nan.copy(), len(trace), cost, tuple(trace))
    return Solution(status, compose(T_WCk, T_CkCf)[None], T_CkCf[None], len(trace), cost, tuple(trace))


def optimum(problem: RayDist, options: Options | None, stopped: Solution, max_iters: int = 300) -> Solution:
    """The float64 optimum: goes on from a solution of ``solve`` until a step is below 1e-8, whatever the options' rule.

    One that is not reached in ``max_iters`` more steps has the status MAX_ITERATIONS.
    """
    options = dataclasses.replace(options_for(problem.kind, options), rel_error=0.0, delta_norm=1e-8, max_iters=max_iters)
    return solve(problem, options, start=np.asarray(stopped.T_CkCf).reshape(8))


def information(problem: RayDist, options: Options, T_CkCf: Array) -> Normal:
    """Normal equations at a relative pose (8,); H is the posterior information of the left tangent there."""
    points, _, _ = select(problem)
    return linearize(points, np.asarray(T_CkCf, dtype=np.float64).reshape(8), options_for(problem.kind, options))


def _pose(value: Any) -> Array:
    T: Array = _array(value).astype(np.float64).reshape(8)
    norm = np.linalg.norm(T[3:7])
    if not (np.isfinite(T).all() and norm > 0 and T[7] > 0):
        raise Failure(Status.NON_FINITE)
    return np.concatenate([T[:3], T[3:7] / norm, T[7:]])


def _array(value: Any) -> Array:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
