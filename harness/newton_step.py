"""The Gauss-Newton step of a case at any pose, in float64, by mathematics shared with no solver and not with the oracle.

For explaining a trace: from each of a solver's own poses it says which step was due there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.case import Case

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Points:
    """What counts in a case: points (M, 3), what they must meet (M, 4) or (M, 3), and root weights (M, 4) or (M, 3)."""

    Xf: np.ndarray
    target: np.ndarray
    root_weight: np.ndarray


def points(case: Case) -> Points | None:
    """The points that count, or None where some of them are not finite or have no ray: no step is defined then."""
    o = case.options
    valid = case.values["valid_opt"][:, 0]
    calib = case.document.kind == "calib"
    if calib:
        valid = valid & case.values["valid_meas_k"][:, 0]
    Q = case.as_float("Qk")[:, 0]
    valid = valid & ~(Q == 0)
    X, other, Q = case.as_float("Xf")[valid], case.as_float("meas_k" if calib else "Xk")[valid], Q[valid]
    if not (np.isfinite(X).all() and np.isfinite(other).all() and np.isfinite(Q).all() and (Q >= 0).all() and len(X)):
        return None
    sigmas = [o.sigma_pixel, o.sigma_pixel, o.sigma_depth] if calib else [o.sigma_ray] * 3 + [o.sigma_dist]
    if not calib:
        length = np.linalg.norm(other, axis=1, keepdims=True)
        if not (length > 0).all():
            return None
        other = np.hstack([other / length, length])
    return Points(X, other, np.sqrt(Q)[:, None] / np.array(sigmas))


def median_depth(found: Points, M: np.ndarray) -> float:
    """Median distance of the points from the keyframe at pose M (4, 4)."""
    return float(np.median(np.linalg.norm(found.Xf @ M[:3, :3].T + M[:3, 3], axis=1)))


def newton_step(case: Case, found: Points, M: np.ndarray, *, robust: bool = True) -> np.ndarray | None:
    """delta (7,) due at pose M (4, 4) for M <- Exp(delta) M, or None where it is not defined. ``robust`` false: without Huber."""
    H, g = np.zeros((7, 7)), np.zeros(7)
    for start in range(0, len(found.Xf), _CHUNK):
        part = slice(start, start + _CHUNK)
        with np.errstate(all="ignore"):
            r, J, seen = _rows(case, found.Xf[part] @ M[:3, :3].T + M[:3, 3], found.target[part])
            root = found.root_weight[part]
            a = np.abs(root * r)
            w = np.where(a <= case.options.huber, 1.0, case.options.huber / np.where(a > 0, a, 1)) if robust else np.ones_like(a)
            rows = (np.sqrt(w) * root)[seen, :, None] * J[seen]
            b = (np.sqrt(w) * root * r)[seen]
        H += np.einsum("nij,nik->jk", rows, rows)
        g += np.einsum("nij,ni->j", rows, b)
    if not (np.isfinite(H).all() and np.isfinite(g).all()):
        return None
    try:
        delta: np.ndarray = -np.linalg.solve(H, g)
    except np.linalg.LinAlgError:
        return None
    return delta if np.isfinite(delta).all() else None


def _rows(case: Case, Y: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals, their derivatives by a left tangent, and which points are seen. dY = [I, -[Y]x, Y] delta."""
    x, y, z = Y.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    dY = np.stack(
        [
            np.stack([one, zero, zero, zero, z, -y, x], 1),
            np.stack([zero, one, zero, -z, zero, x, y], 1),
            np.stack([zero, zero, one, y, -x, zero, z], 1),
        ],
        axis=1,
    )
    if case.document.kind == "ray_dist":
        d = np.linalg.norm(Y, axis=1)
        n = Y / d[:, None]
        d_ray = (dY - n[:, :, None] * np.einsum("ni,nij->nj", n, dY)[:, None]) / d[:, None, None]
        d_dist = np.einsum("ni,nij->nj", n, dY)[:, None]
        return target - np.hstack([n, d[:, None]]), -np.concatenate([d_ray, d_dist], 1), d > 0
    o, K = case.options, case.as_float("K")
    assert o.img_size is not None
    (height, width), border = o.img_size, o.pixel_border
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    seen = (z > o.depth_eps) & (u > border) & (u < width - 1 - border) & (v > border) & (v < height - 1 - border)
    du = K[0, 0] * (dY[:, 0] - (x / z)[:, None] * dY[:, 2]) / z[:, None]
    dv = K[1, 1] * (dY[:, 1] - (y / z)[:, None] * dY[:, 2]) / z[:, None]
    dlog = dY[:, 2] / z[:, None]
    return target - np.stack([u, v, np.log(z)], 1), -np.stack([du, dv, dlog], 1), seen
