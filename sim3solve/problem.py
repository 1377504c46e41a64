"""What is solved and what comes back. Shapes, units and orders are stated here, once.

A pose is one row of eight numbers, ``[tx ty tz qx qy qz qw s]``: it maps a point X to ``s * R(q) * X + t``. ``T_ab`` maps frame
b to frame a. A tangent is ``[tau omega sigma]`` (7 numbers) and an update is applied on the left: ``T <- Exp(delta) * T``.
Arrays may be NumPy arrays or torch tensors: nothing in this file imports either.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from typing import Any, ClassVar

MIN_MATCHES = 3
"""Fewest points that fix seven degrees of freedom: each gives three independent rows at most, and two give six."""

MIN_PIVOT = 1e-5
"""A direction is unobservable when elimination leaves less than this share of its diagonal of J^T W J.

The ratio does not change with the units of the problem. For points on a line it should be zero and comes out as rounding; whether
a bare Cholesky then succeeds is luck. Real frames stay above 5e-3. Every solver here uses this rule and so reports the same status.
"""


class ProblemError(ValueError):
    """An input has the wrong shape, type or value; ``field`` names it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Status(str, Enum):
    """How a solve ended. Only the first two carry a pose; the others carry NaN, never an identity."""

    CONVERGED = "CONVERGED"
    MAX_ITERATIONS = "MAX_ITERATIONS"
    NOT_POSITIVE_DEFINITE = "NOT_POSITIVE_DEFINITE"
    NON_FINITE = "NON_FINITE"
    TOO_FEW_MATCHES = "TOO_FEW_MATCHES"

    @property
    def has_pose(self) -> bool:
        return self in (Status.CONVERGED, Status.MAX_ITERATIONS)


@dataclass(frozen=True)
class Options:
    """MASt3R-SLAM's settings under its names, with its defaults.

    ``sigma_ray`` is in units of the unit ray, ``sigma_dist`` in scene units, ``sigma_pixel`` in pixels, ``sigma_depth`` in log
    depth; ``huber`` in standard deviations. Iteration stops when ``|cost change / cost| < rel_error`` or
    ``|delta| < delta_norm``. ``pixel_border`` (pixels; negative widens the image), ``depth_eps`` (scene units) and ``img_size``
    (height, width in pixels) belong to the calibrated problem.
    """

    sigma_ray: float = 0.003
    sigma_dist: float = 10.0
    sigma_pixel: float = 1.0
    sigma_depth: float = 10.0
    huber: float = 1.345
    max_iters: int = 50
    rel_error: float = 1e-3
    delta_norm: float = 1e-3
    pixel_border: float = -10.0
    depth_eps: float = 1e-6
    img_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("sigma_ray", "sigma_dist", "sigma_pixel", "sigma_depth", "huber"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ProblemError(name, f"must be a positive number, got {value!r}")
        for name in ("rel_error", "delta_norm", "depth_eps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ProblemError(name, f"must be zero or a positive number, got {value!r}")
        if not math.isfinite(self.pixel_border):
            raise ProblemError("pixel_border", f"must be a finite number, got {self.pixel_border!r}")
        if not 1 <= self.max_iters <= 10_000:
            raise ProblemError("max_iters", f"must be between 1 and 10000, got {self.max_iters!r}")
        if self.img_size is not None and not (len(self.img_size) == 2 and all(n > 0 for n in self.img_size)):
            raise ProblemError("img_size", f"must be (height, width) in pixels, got {self.img_size!r}")

    def stops(self, old_cost: float, cost: float, delta_norm: float) -> bool:
        """Upstream's rule: the cost hardly changed, or the step was short. NaN never stops."""
        rel_decrease = abs((old_cost - cost) / old_cost) if old_cost != 0 and math.isfinite(old_cost) else math.inf
        return rel_decrease < self.rel_error or delta_norm < self.delta_norm


@dataclass(frozen=True, eq=False)
class RayDist:
    """Align points by viewing ray and distance (no calibration): ``opt_pose_ray_dist_sim3``.

    ``Xf`` (N,3) points in the frame's camera; ``Xk`` (N,3) their matches in the keyframe's camera; ``T_WCf``, ``T_WCk`` (1,8);
    ``Qk`` (N,1) confidences, 0 or more; ``valid_opt`` (N,1) bool. Rows with ``valid_opt`` false may hold anything.
    """

    kind: ClassVar[str] = "ray_dist"
    Xf: Any
    Xk: Any
    T_WCf: Any
    T_WCk: Any
    Qk: Any
    valid_opt: Any

    def __post_init__(self) -> None:
        n = _rows(self.Xf)
        for name, shape in field_shapes(self.kind, n).items():
            _check_shape(name, getattr(self, name), shape)

    @property
    def n_points(self) -> int:
        return _rows(self.Xf)


@dataclass(frozen=True, eq=False)
class Calib(RayDist):
    """Align points by pixel and log depth (calibrated): ``opt_pose_calib_sim3``.

    Adds ``meas_k`` (N,3): u and v in pixels and the natural logarithm of depth; ``valid_meas_k`` (N,1) bool; ``K`` (3,3) in pixels.
    """

    kind: ClassVar[str] = "calib"
    meas_k: Any
    valid_meas_k: Any
    K: Any


def options_for(kind: str, options: Options | None) -> Options:
    """The options to solve a kind of problem with. Raises ``ProblemError`` when they lack what it needs."""
    options = options or Options()
    if kind == Calib.kind and options.img_size is None:
        raise ProblemError("img_size", "the calibrated problem needs (height, width) in pixels")
    return options


Problem = RayDist | Calib
PROBLEMS: dict[str, type[RayDist]] = {"ray_dist": RayDist, "calib": Calib}


@lru_cache(maxsize=256)
def field_shapes(kind: str, n: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a kind of problem with n points, in upstream's argument order. Not to be changed by who gets it."""
    shapes: dict[str, tuple[int, ...]] = {
        "Xf": (n, 3), "Xk": (n, 3), "T_WCf": (1, 8), "T_WCk": (1, 8), "Qk": (n, 1), "valid_opt": (n, 1),
    }  # fmt: skip
    if kind == "calib":
        shapes |= {"meas_k": (n, 3), "valid_meas_k": (n, 1), "K": (3, 3)}
    return shapes


MASKS = frozenset({"valid_opt", "valid_meas_k"})
"""The boolean tensors; all others are floating."""


@dataclass(frozen=True)
class Iteration:
    """One Gauss-Newton step: the cost before it, the length of its step, and the pose after it (8 numbers)."""

    cost: float
    delta_norm: float
    n_matches: int
    T_CkCf: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Solution:
    """``T_WCf`` and ``T_CkCf`` are (1,8) arrays of the caller's library; ``cost`` is ``0.5 sum w r^2`` before the last step."""

    status: Status
    T_WCf: Any
    T_CkCf: Any
    iterations: int
    cost: float
    trace: tuple[Iteration, ...] = dataclasses.field(default=(), repr=False)


def _rows(X: Any) -> int:
    shape = getattr(X, "shape", None)
    if shape is None or len(shape) != 2:
        raise ProblemError("Xf", f"must have shape (N, 3), got {None if shape is None else tuple(shape)}")
    return int(shape[0])


def _check_shape(name: str, value: Any, shape: tuple[int, ...]) -> None:
    actual = getattr(value, "shape", None)
    if actual is None:
        raise ProblemError(name, f"must be an array of shape {shape}, got {type(value).__name__}")
    if actual != shape and tuple(actual) != shape:
        raise ProblemError(name, f"must have shape {shape}, got {tuple(actual)}")
    if (name in MASKS) != _is_bool(value.dtype):
        raise ProblemError(name, f"must be {'bool' if name in MASKS else 'floating'}, got {value.dtype}")


@cache
def _is_bool(dtype: Any) -> bool:
    return str(dtype).endswith("bool")
