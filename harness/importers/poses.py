"""Poses [tx ty tz qx qy qz qw s] as the importers need them: float64 NumPy, one row of eight numbers at a time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

IDENTITY = np.array([0.0, 0, 0, 0, 0, 0, 1, 1])


def pose(t: ArrayLike, q: ArrayLike, s: float = 1.0) -> np.ndarray:
    """A pose (8,) from a translation, a quaternion xyzw of any length but zero, and a scale."""
    unit = np.asarray(q, np.float64)
    return np.concatenate([np.asarray(t, np.float64), unit / np.linalg.norm(unit), [s]])


def about(axis: ArrayLike, degrees: float) -> np.ndarray:
    """The quaternion xyzw (4,) of a turn about an axis."""
    unit = np.asarray(axis, np.float64)
    unit = unit / np.linalg.norm(unit)
    half = math.radians(degrees) / 2
    return np.append(unit * math.sin(half), math.cos(half))


def rotation(T: np.ndarray) -> np.ndarray:
    """The rotation matrix (3,3) of a pose."""
    x, y, z, w = T[3:7] / np.linalg.norm(T[3:7])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def act(T: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Points (N,3) moved by a pose: s R X + t."""
    return np.asarray(T[7] * (X @ rotation(T).T) + T[:3])


def inverse(T: np.ndarray) -> np.ndarray:
    q = T[3:7] * [-1, -1, -1, 1]
    unmoved = pose([0, 0, 0], q, 1 / T[7])
    return pose(act(unmoved, -T[None, :3])[0], q, 1 / T[7])


def compose(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """First B, then A."""
    ax, ay, az, aw = A[3:7]
    bx, by, bz, bw = B[3:7]
    q = [
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    ]
    return pose(act(A, B[None, :3])[0], q, float(A[7] * B[7]))


def interpolate(A: np.ndarray, B: np.ndarray, share: float) -> np.ndarray:
    """``share`` of the way from A to B: straight line for t, shorter great arc for q (slerp, Shoemake 1985)."""
    a, b = A[3:7], B[3:7]
    if a @ b < 0:
        b = -b
    angle = math.atan2(float(np.linalg.norm(a - b)) / 2, float(np.linalg.norm(a + b)) / 2) * 2
    if angle < 1e-9:
        q = (1 - share) * a + share * b
    else:
        q = (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)
    return pose((1 - share) * A[:3] + share * B[:3], q, float((1 - share) * A[7] + share * B[7]))
