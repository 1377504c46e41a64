"""What every operation must give, in float64, for four groups at once, by mathematics of its own.

Every group is a group of 4x4 matrices, and everything here is said of matrices: exp is the matrix exponential, the adjoint is
conjugation. No formula has a branch near zero, so none can cancel there. Batches go first: elements (B, N), tangents (B, K).

    group   element            tangent            lietorch's orders, which pypose shares
    SO3     qx qy qz qw        phi
    RxSO3   qx qy qz qw s      phi sigma
    SE3     tx ty tz q         tau phi
    Sim3    tx ty tz q s       tau phi sigma

Sources: E. Eade, "Lie Groups for 2D and 3D Transformations", 2013; scaling and squaring as in N. Higham, "Functions of Matrices",
2008, section 10.3. Checked against scipy.linalg.expm, logm and mpmath in tests/test_probe_oracle.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
_SQUARINGS, _ORDER = 4, 18  # a norm of 8 becomes 1/2, whose 19th power over 19! is 2e-23; each squaring costs a bit


@dataclass(frozen=True)
class Group:
    """Which parts an element and a tangent have, in order."""

    name: str
    translates: bool
    scales: bool

    @property
    def tangent(self) -> int:
        return 3 * self.translates + 3 + self.scales

    @property
    def data(self) -> int:
        return self.tangent + 1


GROUPS: Mapping[str, Group] = MappingProxyType(
    {
        "SO3": Group("SO3", translates=False, scales=False),
        "RxSO3": Group("RxSO3", translates=False, scales=True),
        "SE3": Group("SE3", translates=True, scales=False),
        "Sim3": Group("Sim3", translates=True, scales=True),
    }
)


def hat(group: Group, a: Array) -> Array:
    """Tangents (B, K) as matrices (B, 4, 4): [[phi]x + sigma I, tau; 0, 0]."""
    M = np.zeros((len(a), 4, 4))
    at = 3 * group.translates
    if group.translates:
        M[:, :3, 3] = a[:, :3]
    M[:, :3, :3] = _skew(a[:, at : at + 3])
    if group.scales:
        M[:, [0, 1, 2], [0, 1, 2]] = a[:, at + 3, None]
    return M


def vee(group: Group, M: Array) -> Array:
    """The tangents (B, K) of matrices (B, 4, 4) that ``hat`` makes."""
    parts = [M[:, :3, 3]] if group.translates else []
    skew = (M[:, :3, :3] - M[:, :3, :3].transpose(0, 2, 1)) / 2
    parts.append(np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1))
    if group.scales:
        parts.append(np.trace(M[:, :3, :3], axis1=1, axis2=2)[:, None] / 3)
    return np.concatenate(parts, axis=1)


def expm(M: Array) -> Array:
    """Matrix exponentials of (B, n, n) by a Taylor series of the matrix over 2^4, squared four times. For norms up to 8."""
    A = M / 2.0**_SQUARINGS
    identity = np.broadcast_to(np.eye(M.shape[-1]), M.shape)
    E = identity
    for k in range(_ORDER, 0, -1):
        E = identity + A @ E / k
    for _ in range(_SQUARINGS):
        E = E @ E
    return E


def matrix(group: Group, X: Array) -> Array:
    """Elements (B, N) as matrices (B, 4, 4). The quaternion is normalised first, as float32 leaves its norm 1e-7 off."""
    at = 3 * group.translates
    with np.errstate(all="ignore"):
        q = X[:, at : at + 4] / np.linalg.norm(X[:, at : at + 4], axis=1, keepdims=True)
    v, w = q[:, :3], q[:, 3, None, None]
    V = _skew(v)
    M = np.zeros((len(X), 4, 4))
    M[:, :3, :3] = np.eye(3) + 2 * w * V + 2 * V @ V
    M[:, 3, 3] = 1
    if group.scales:
        M[:, :3, :3] *= X[:, at + 4, None, None]
    if group.translates:
        M[:, :3, 3] = X[:, :3]
    return M


def element(group: Group, a: Array) -> Array:
    """Exp of tangents (B, K) as elements (B, N)."""
    at = 3 * group.translates
    phi = a[:, at : at + 3]
    half = np.linalg.norm(phi, axis=1, keepdims=True) / 2
    q = np.concatenate([np.sinc(half / np.pi) / 2 * phi, np.cos(half)], axis=1)
    parts = [expm(hat(group, a))[:, :3, 3]] if group.translates else []
    parts.append(q)
    if group.scales:
        parts.append(np.exp(a[:, at + 3 :]))
    return np.concatenate(parts, axis=1)


def log(group: Group, X: Array) -> Array:
    """Tangents (B, K) of elements (B, N), of rotations below pi.

    The translation of Exp is W tau, and W is a block of exp([[phi]x + sigma I, I; 0, 0]).
    """
    at = 3 * group.translates
    q = X[:, at : at + 4] * np.where(X[:, at + 3, None] < 0, -1.0, 1.0)
    n = np.linalg.norm(q[:, :3], axis=1, keepdims=True)
    angle = 2 * np.arctan2(n, q[:, 3:])
    phi = np.where(n > 0, angle / np.where(n > 0, n, 1), 2 / q[:, 3:]) * q[:, :3]
    parts = [phi]
    sigma = np.zeros((len(X), 1))
    if group.scales:
        sigma = np.log(X[:, at + 4 :])
        parts.append(sigma)
    if group.translates:
        block = np.zeros((len(X), 6, 6))
        block[:, :3, :3] = _skew(phi) + sigma[:, :, None] * np.eye(3)
        block[:, :3, 3:] = np.eye(3)
        W = expm(block)[:, :3, 3:]
        parts.insert(0, np.linalg.solve(W, X[:, :3, None])[:, :, 0])
    return np.concatenate(parts, axis=1)


def adjoint(group: Group, X: Array) -> Array:
    """Ad (B, K, K): X Exp(a) = Exp(Ad a) X, so its columns are the generators conjugated."""
    M = matrix(group, X)
    inverse = np.linalg.inv(M)
    columns = []
    for i in range(group.tangent):
        unit = np.zeros((1, group.tangent))
        unit[0, i] = 1
        columns.append(vee(group, M @ hat(group, unit) @ inverse))
    return np.stack(columns, axis=2)


def expected(op: str, group: Group, x: Mapping[str, Array], batch: int, *, adjT_of_inverse: bool = False) -> Array:
    """What ``op`` must give: elements as matrices (B, 4, 4), tangents (B, K), points (B, 3) or (B, 4).

    adjT is the transposed adjoint, as lietorch has it, or ``adjT_of_inverse`` the adjoint of the inverse, as pypose has it.
    """
    if op == "Identity":
        return np.tile(np.eye(4), (batch, 1, 1))
    if op == "exp":
        return expm(hat(group, x["a"]))
    if op == "log":
        return log(group, x["X"])
    M = matrix(group, x["X"])
    if op == "inv":
        return np.linalg.inv(M)
    if op == "mul":
        return M @ matrix(group, x["Y"])
    if op == "retr":
        return expm(hat(group, x["a"])) @ M
    if op == "act":
        return (M[:, :3, :3] @ x["p"][:, :, None])[:, :, 0] + M[:, :3, 3]
    if op == "act4":
        return (M @ x["p"][:, :, None])[:, :, 0]
    if op == "matrix":
        return M
    Ad = adjoint(group, x["X"])
    if op == "adjT":
        Ad = np.linalg.inv(Ad) if adjT_of_inverse else Ad.transpose(0, 2, 1)
    return (Ad @ x["a"][:, :, None])[:, :, 0]


def _skew(v: Array) -> Array:
    S = np.zeros((len(v), 3, 3))
    S[:, 0, 1], S[:, 0, 2], S[:, 1, 2] = -v[:, 2], v[:, 1], -v[:, 0]
    S[:, 1, 0], S[:, 2, 0], S[:, 2, 1] = v[:, 2], -v[:, 1], v[:, 0]
    return S
