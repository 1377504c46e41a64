"""Drop-in for MASt3R-SLAM's pose solver: the tracker's two methods with their signatures and return types.

Three lines mend a tracker::

    from mast3r_slam.tracker import FrameTracker
    import sim3solve.mast3r_slam
    sim3solve.mast3r_slam.patch(FrameTracker)

Poses may be lietorch's ``Sim3``, another class that holds its (1,8) tensor in ``.data`` and is made from one, or a bare tensor;
what comes back is of the same kind. A solve without a pose raises ``PoseNotFound``, which upstream's tracker takes as a lost
frame; since upstream then prints "Cholesky failed" whatever happened, the true reason is also logged to the logger ``sim3solve``.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sim3solve
from sim3solve.problem import Calib, Options, ProblemError, RayDist, Solution

METHODS = ("opt_pose_ray_dist_sim3", "opt_pose_calib_sim3")
_ORIGINALS = "_sim3solve_originals"
_log = logging.getLogger("sim3solve")


class PoseNotFound(RuntimeError):
    """The solve ended without a pose; ``solution`` says how. Upstream's tracker catches it and skips the frame."""

    def __init__(self, solution: Solution) -> None:
        super().__init__(f"no pose: {solution.status.value} after {solution.iterations} iterations")
        self.solution = solution


_OPTION_NAMES = tuple(field.name for field in dataclasses.fields(Options) if field.name != "img_size")


def options_from(cfg: Mapping[str, Any], img_size: tuple[int, int] | None = None) -> Options:
    """``Options`` from a tracker's ``cfg``; keys it lacks keep upstream's defaults, others of it are not for the solver.

    The same object for the same values, so that what is derived from it is derived once.
    """
    size = None if img_size is None else (int(img_size[0]), int(img_size[1]))
    return _options(tuple((name, cfg[name]) for name in _OPTION_NAMES if name in cfg), size)


@lru_cache(maxsize=64)
def _options(values: tuple[tuple[str, Any], ...], img_size: tuple[int, int] | None) -> Options:
    return Options(**dict(values), img_size=img_size)


def opt_pose_ray_dist_sim3(
    cfg: Mapping[str, Any], Xf: Any, Xk: Any, T_WCf: Any, T_WCk: Any, Qk: Any, valid: Any, *, backend: sim3solve.Backend = "auto"
) -> tuple[Any, Any]:
    """(T_WCf, T_CkCf) of the uncalibrated problem. Arguments as in upstream's method; ``cfg`` is its ``self.cfg``."""
    problem = RayDist(Xf, Xk, _tensor("T_WCf", T_WCf), _tensor("T_WCk", T_WCk), Qk, valid)
    return _poses(sim3solve.solve(problem, options_from(cfg), backend), T_WCf)


def opt_pose_calib_sim3(
    cfg: Mapping[str, Any], Xf: Any, Xk: Any, T_WCf: Any, T_WCk: Any, Qk: Any, valid: Any, meas_k: Any, valid_meas_k: Any, K: Any,
    img_size: tuple[int, int], *, backend: sim3solve.Backend = "auto",
) -> tuple[Any, Any]:  # fmt: skip
    """(T_WCf, T_CkCf) of the calibrated problem. Arguments as in upstream's method; ``cfg`` is its ``self.cfg``."""
    poses = (_tensor("T_WCf", T_WCf), _tensor("T_WCk", T_WCk))
    problem = Calib(Xf, Xk, *poses, Qk, valid, meas_k, valid_meas_k, K)
    return _poses(sim3solve.solve(problem, options_from(cfg, img_size), backend), T_WCf)


def patch(tracker: Any, backend: sim3solve.Backend = "auto") -> None:
    """Give a tracker class, or one tracker, this solver. Patching twice changes the backend alone. Raises ``ProblemError``.

    Options are read from the tracker's ``cfg`` at every call, so later changes of it count.
    """
    missing = [name for name in METHODS if not callable(getattr(tracker, name, None))]
    if missing:
        raise ProblemError("tracker", f"{tracker!r} has no {' and no '.join(missing)}: it is not a MASt3R-SLAM tracker")
    is_class = isinstance(tracker, type)
    if _ORIGINALS not in vars(tracker):
        setattr(tracker, _ORIGINALS, {name: vars(tracker)[name] for name in METHODS if name in vars(tracker)})

    def ray_dist(self: Any, *arguments: Any, **named: Any) -> tuple[Any, Any]:
        return opt_pose_ray_dist_sim3(self.cfg, *arguments, **named, backend=backend)

    def calib(self: Any, *arguments: Any, **named: Any) -> tuple[Any, Any]:
        return opt_pose_calib_sim3(self.cfg, *arguments, **named, backend=backend)

    for name, method in zip(METHODS, (ray_dist, calib), strict=True):
        setattr(tracker, name, method if is_class else method.__get__(tracker))


def unpatch(tracker: Any) -> None:
    """Take ``patch`` back. Does nothing to a tracker that was not patched."""
    originals = vars(tracker).get(_ORIGINALS)
    if originals is None:
        return
    for name in METHODS:
        delattr(tracker, name)
    for name, method in originals.items():
        setattr(tracker, name, method)
    delattr(tracker, _ORIGINALS)


def _tensor(name: str, T: Any) -> Any:
    """The (1,8) tensor of a pose of any kind. A bare tensor has a ``.data`` too, which is itself without its history."""
    data = getattr(T, "data", None)
    if data is None or not hasattr(data, "shape"):
        raise ProblemError(name, f"must be a Sim3 with a (1, 8) tensor in .data, or such a tensor; got {type(T).__name__}")
    return data


def _poses(solution: Solution, like: Any) -> tuple[Any, Any]:
    if not solution.status.has_pose:
        error = PoseNotFound(solution)
        _log.warning("%s", error)
        raise error
    data = _tensor("T_WCf", like)
    is_tensor = not hasattr(like, "act") and not hasattr(like, "retr")
    # The oracle gives NumPy arrays whatever it was given.
    poses = [T.to(data) if hasattr(T, "to") else data.new_tensor(T) for T in (solution.T_WCf, solution.T_CkCf)]
    return (poses[0], poses[1]) if is_tensor else (type(like)(poses[0]), type(like)(poses[1]))
