"""Sim(3) in float64 NumPy, for the oracle: poses are [t q s] (8,), tangents [tau omega sigma] (7,), points (..., 3).

Equations: E. Eade, "Lie Groups for 2D and 3D Transformations", 2013, section 6; H. Strasdat, "Local Accuracy and Global
Consistency for Efficient Visual SLAM", 2012, appendix A. Checked against matrix exponentials in tests/test_sim3_maps.py.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def rotation(q: Array) -> Array:
    """Rotation matrix (3,3) of a unit quaternion [x y z w]."""
    x, y, z, w = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def identity() -> Array:
    return np.array([0.0, 0, 0, 0, 0, 0, 1, 1])


def act(T: Array, X: Array) -> Array:
    """s R X + t for points X (..., 3)."""
    Y: Array = T[7] * (X @ rotation(T[3:7]).T) + T[:3]
    return Y


def compose(A: Array, B: Array) -> Array:
    """A B: B first. The quaternion product is normalised again, so that rounding never accumulates."""
    ax, ay, az, aw = A[3:7]
    bx, by, bz, bw = B[3:7]
    q = np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )
    return np.concatenate([act(A, B[:3]), q / np.linalg.norm(q), [A[7] * B[7]]])


def inverse(T: Array) -> Array:
    """X = R^T (Y - t) / s."""
    q = T[3:7] * np.array([-1.0, -1, -1, 1])
    return np.concatenate([-(rotation(q) @ T[:3]) / T[7], q, [1 / T[7]]])


def exp(delta: Array) -> Array:
    """Exponential of a tangent (7,): rotation angle |omega|, scale e^sigma, translation W tau (Strasdat A.4)."""
    tau, omega, sigma = delta[:3], delta[3:6], float(delta[6])
    theta = float(np.linalg.norm(omega))
    half = np.sinc(theta / (2 * math.pi)) / 2  # sin(theta/2) / theta, also at zero
    q = np.concatenate([half * omega, [math.cos(theta / 2)]])
    C, A, B = w_coefficients(theta, sigma)
    W_tau = C * tau + A * np.cross(omega, tau) + B * np.cross(omega, np.cross(omega, tau))
    return np.concatenate([W_tau, q / np.linalg.norm(q), [math.exp(sigma)]])


def w_coefficients(theta: float, sigma: float) -> tuple[float, float, float]:
    """C, A, B of W = C I + A [omega]x + B [omega]x^2 = integral over u in [0,1] of e^(sigma u) Exp(u omega).

    With z = sigma + i theta and phi(z) = (e^z - 1) / z these are phi(sigma), Im phi(z) / theta and
    (phi(sigma) - Re phi(z)) / theta^2. The power series of phi gives all three without a division by theta or sigma; it is
    used where it converges fast, the closed forms where nothing cancels.
    """
    if math.hypot(theta, sigma) < 1.0:
        re, im, d = 1.0, 0.0, 0.0  # Re z^k, Im z^k / theta, (sigma^k - Re z^k) / theta^2, from k = 0
        power, factor = 1.0, 1.0  # sigma^k, 1 / (k + 1)!
        C, A, B = 1.0, 0.0, 0.0
        for k in range(1, 20):
            re, im, d = sigma * re - theta * theta * im, sigma * im + re, sigma * d + im
            power *= sigma
            factor /= k + 1
            C, A, B = C + factor * power, A + factor * im, B + factor * d
        return C, A, B
    C = math.expm1(sigma) / sigma if sigma != 0 else 1.0
    e_sigma, sine, cosine = math.exp(sigma), math.sin(theta), math.cos(theta)
    norm2 = sigma * sigma + theta * theta
    if theta > abs(sigma):  # theta > 0.7: nothing is divided by a small number
        A = (sigma * e_sigma * sine + theta * (1 - e_sigma * cosine)) / (theta * norm2)
        B = (C - ((e_sigma * cosine - 1) * sigma + e_sigma * sine * theta) / norm2) / (theta * theta)
        return C, A, B
    sinc = np.sinc(theta / math.pi)  # |sigma| > 0.7: the same two, with theta^2 divided out
    versine = np.sinc(theta / (2 * math.pi)) ** 2 / 2  # (1 - cos theta) / theta^2
    A = (sigma * e_sigma * sinc + 1 - e_sigma * cosine) / norm2
    B = (e_sigma * sigma * sigma * versine + math.expm1(sigma) - sigma * e_sigma * sinc) / (sigma * norm2)
    return C, A, B
