"""Is a pose right? Three yardsticks, all against float64, by mathematics of its own: nothing here is shared with any solver.

The distance between two poses T and T_ref is read off E = T T_ref^-1 as a 4x4 matrix: its rotation angle, its translation relative
to the scene's median depth, the logarithm of its scale, and d = sqrt(delta^T H delta) with delta = Log(E): the distance in
posterior standard deviations, which has no unit. q and -q are one pose. NaN fails every comparison.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.case import Case
from harness.outcome import Outcome

TOLERANCES: dict[str, dict[str, Any]] = {
    "rotation_deg": {
        "limit": 1e-3,
        "reason": "1e-3 degrees moves a point at the edge of a 512-pixel image by 0.01 pixel: far below what a match can tell, and "
        "about 100 times the rounding of a float32 quaternion",
    },
    "translation_rel": {
        "limit": 1e-4,
        "reason": "1e-4 of the median depth is 0.2 mm at 2 m, a tenth of the best depth noise, and about 100 times the rounding of "
        "float32 sums over such points",
    },
    "log_scale": {"limit": 1e-4, "reason": "1e-4 in log scale is 0.01 % of every distance: one with the translation's limit"},
    "d_sigma": {
        "limit": 0.05,
        "reason": "a twentieth of a standard deviation of the estimate itself: no decision drawn from the pose can notice it",
    },
}


def is_similarity(T: Sequence[float] | np.ndarray) -> bool:
    """Whether 8 numbers are a pose at all: finite, a quaternion with a direction, a positive scale. A solver may return anything.

    Beyond 1e30, or with a norm or scale below 1e-30, they are not: squares and cubes of them must stay finite.
    """
    return bool(np.abs(T).max() < 1e30 and np.linalg.norm(T[3:7]) > 1e-30 and T[7] > 1e-30)  # NaN is none of these


def pose_matrix(T: Sequence[float] | np.ndarray) -> np.ndarray:
    """(4,4) similarity matrix of a pose of 8 numbers that ``is_similarity``."""
    from scipy.spatial.transform import Rotation  # SciPy takes half a second that no --help should

    M = np.eye(4)
    M[:3, :3] = T[7] * Rotation.from_quat(np.asarray(T[3:7])).as_matrix()
    M[:3, 3] = T[:3]
    return M


def log(E: np.ndarray) -> np.ndarray:
    """Tangent (7,) of a similarity matrix (4,4). Its W is taken from a matrix exponential, not from a closed form."""
    import scipy.linalg
    from scipy.spatial.transform import Rotation

    scale = np.cbrt(np.linalg.det(E[:3, :3]))
    omega = Rotation.from_matrix(E[:3, :3] / scale).as_rotvec()
    sigma = math.log(scale)
    x, y, z = omega
    block = np.zeros((6, 6))
    block[:3, :3] = np.array([[sigma, -z, y], [z, sigma, -x], [-y, x, sigma]])
    block[:3, 3:] = np.eye(3)
    W = scipy.linalg.expm(block)[:3, 3:]
    return np.concatenate([np.linalg.solve(W, E[:3, 3]), omega, [sigma]])


def pose_error(T: Sequence[float], T_ref: Sequence[float], median_depth: float, H: np.ndarray | None = None) -> dict[str, float]:
    """Distance between two poses (8 numbers each) as the four numbers of ``TOLERANCES``; ``d_sigma`` is NaN without H (7,7)."""
    if not (is_similarity(T) and is_similarity(T_ref)):
        return dict.fromkeys(TOLERANCES, math.nan)
    E = pose_matrix(T) @ np.linalg.inv(pose_matrix(T_ref))
    delta = log(E)
    d2 = math.nan if H is None else float(delta @ H @ delta)
    return {
        "rotation_deg": math.degrees(float(np.linalg.norm(delta[3:6]))),
        "translation_rel": float(np.linalg.norm(E[:3, 3])) / median_depth,
        "log_scale": abs(float(delta[6])),
        "d_sigma": 0.0 if d2 < 0 else math.sqrt(d2),  # rounding may leave -1e-20; NaN stays NaN
    }


def exceeded(error: dict[str, float], *, without: tuple[str, ...] = ()) -> list[str]:
    """The names in ``error`` that are over their limit. NaN is."""
    return [name for name, value in error.items() if name not in without and not (value <= TOLERANCES[name]["limit"])]


def huber_objective(case: Case, T_CkCf: Sequence[float]) -> float:
    """The Huber loss at a relative pose in float64: what every solver minimizes, evaluated apart from all of them."""
    return _objective(case, T_CkCf)[0]


def residual_rows(case: Case, T_CkCf: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of every point at a pose, in their own units and without weights, and which points the pose brings into sight.

    Rows (N,4) of a ray_dist case: difference of the unit rays, of the distances in scene units. Rows (N,3) of a calib case: pixels
    u and v, log depth. Masked points have rows, too, which may be anything; all are NaN at a pose that is no similarity.
    """
    n, calib = len(case.values["Xf"]), case.document.kind == "calib"
    if not is_similarity(T_CkCf):
        return np.full((n, 3 if calib else 4), math.nan), np.zeros(n, dtype=bool)
    M = pose_matrix(T_CkCf)
    o, Xf = case.options, case.as_float("Xf")
    with np.errstate(all="ignore"):
        Y = Xf @ M[:3, :3].T + M[:3, 3]
        if not calib:
            Xk = case.as_float("Xk")
            d, d_k = np.linalg.norm(Y, axis=1), np.linalg.norm(Xk, axis=1)
            return np.hstack([(Xk.T / d_k - Y.T / d).T, (d_k - d)[:, None]]), np.ones(n, dtype=bool)
        assert o.img_size is not None
        K, meas = case.as_float("K"), case.as_float("meas_k")
        u, v = K[0, 0] * Y[:, 0] / Y[:, 2] + K[0, 2], K[1, 1] * Y[:, 1] / Y[:, 2] + K[1, 2]
        (height, width), b = o.img_size, o.pixel_border
        seen = (Y[:, 2] > o.depth_eps) & (u > b) & (u < width - 1 - b) & (v > b) & (v < height - 1 - b)
        return meas - np.stack([u, v, np.log(Y[:, 2])], 1), seen


def valid_points(case: Case) -> np.ndarray:
    """(N,) bool: the points that no mask takes out."""
    valid: np.ndarray = case.values["valid_opt"][:, 0]
    return valid & case.values["valid_meas_k"][:, 0] if case.document.kind == "calib" else valid


def whitened(case: Case, rows: np.ndarray) -> np.ndarray:
    """Absolute residuals in standard deviations: what Huber's loss and weight are functions of. Shape as ``rows``."""
    o = case.options
    sigmas = [o.sigma_pixel, o.sigma_pixel, o.sigma_depth] if case.document.kind == "calib" else [o.sigma_ray] * 3 + [o.sigma_dist]
    with np.errstate(all="ignore"):
        return np.asarray(np.abs(rows / sigmas) * np.sqrt(case.as_float("Qk")))


def _objective(case: Case, T_CkCf: Sequence[float]) -> tuple[float, int]:
    """The Huber loss, and over how many points it is taken: in the calibrated problem those the pose brings into the image."""
    if not is_similarity(T_CkCf):
        return math.nan, 0
    huber = case.options.huber
    rows, seen = residual_rows(case, T_CkCf)
    with np.errstate(all="ignore"):
        a = whitened(case, rows)[seen & valid_points(case)]
        return float(np.where(a < huber, 0.5 * a * a, huber * (a - 0.5 * huber)).sum()), len(a)


def parity(outcome: Outcome, oracle: Outcome, case: Case) -> dict[str, Any] | None:
    """The yardsticks for an outcome that has a pose, or None when it or the oracle has none to compare."""
    if case.document.kind == "op":
        return _op_parity(outcome, oracle)
    if outcome.T_CkCf is None or outcome.T_WCf is None or oracle.T_CkCf is None or not oracle.values:
        return None
    depth = float(oracle.values["median_depth"])
    H = np.array([float(x) for x in oracle.values["H"]]).reshape(7, 7)
    best = oracle.values["optimum"]
    T_best = [float(x) for x in best["T_CkCf"]]
    truth = case.document.truth_T_CkCf
    against_oracle = pose_error(outcome.T_CkCf, oracle.T_CkCf, depth, H)
    (cost, n), (cost_oracle, n_oracle) = (_objective(case, T) for T in (outcome.T_CkCf, oracle.T_CkCf))
    within, why = _judge(against_oracle, cost, cost_oracle, lost_points=n < n_oracle)
    if within and not _world_pose_agrees(outcome, case, depth):
        within, why = False, "T_WCf is not T_WCk T_CkCf"
    return {
        "oracle": against_oracle,
        "optimum": pose_error(outcome.T_CkCf, T_best, depth, H) if best["status"] == "CONVERGED" else None,
        "truth": pose_error(outcome.T_CkCf, truth, depth, H) if truth else None,
        "cost": cost, "cost_oracle": cost_oracle,
        "cost_optimum": huber_objective(case, T_best) if best["status"] == "CONVERGED" else math.nan,
        "iterations_oracle": oracle.iterations, "status_oracle": oracle.status,
        "first_divergence": _first_divergence(outcome, oracle, depth), "within": within, "why": why,
    }  # fmt: skip


def _judge(error: dict[str, float], cost: float, cost_oracle: float, lost_points: bool) -> tuple[bool, str]:
    over = exceeded(error)
    if not over:
        return True, "within every limit"
    text = ", ".join(f"{name} {error[name]:.3g} over {TOLERANCES[name]['limit']:g}" for name in over)
    if cost < cost_oracle and all(math.isfinite(value) for value in error.values()):
        if lost_points:  # a pose that turns the points out of the image has a cost of zero
            return False, f"{text}; its cost is lower over fewer points"
        return True, f"another pose ({text}), but of lower cost: {cost:.6g} under {cost_oracle:.6g}"
    return False, text


def _world_pose_agrees(outcome: Outcome, case: Case, depth: float) -> bool:
    """T_WCf = T_WCk T_CkCf, up to the limits and to the rounding of a float32 world coordinate."""
    assert outcome.T_WCf is not None and outcome.T_CkCf is not None
    T_WCk = case.as_float("T_WCk").ravel()
    if not is_similarity(outcome.T_WCf):
        return False
    expected = pose_matrix(T_WCk) @ pose_matrix(outcome.T_CkCf)
    got = pose_matrix(outcome.T_WCf)
    scale = abs(np.linalg.det(expected[:3, :3])) ** (1 / 3)
    room = TOLERANCES["translation_rel"]["limit"] * depth * T_WCk[7] + 1e-6 * float(np.abs(expected[:3, 3]).max())
    same_translation = float(np.abs(got - expected)[:3, 3].max()) <= room
    return same_translation and bool(np.abs(got - expected)[:3, :3].max() <= 1e-4 * scale)


def _first_divergence(outcome: Outcome, oracle: Outcome, depth: float) -> int | None:
    """The first iteration after which the pose is not the oracle's, or None; ``d_sigma`` is left out, H being the last pose's."""
    for k, (mine, theirs) in enumerate(zip(outcome.trace, oracle.trace, strict=False)):
        if exceeded(pose_error(mine.T_CkCf, theirs.T_CkCf, depth), without=("d_sigma",)):
            return k
    return None


def _op_parity(outcome: Outcome, oracle: Outcome) -> dict[str, Any] | None:
    if "op_value" not in outcome.values or "op_value" not in oracle.values:
        return None
    mine, theirs = (np.array(o.values["op_value"], dtype=np.float64) for o in (outcome, oracle))
    limit = 1e-5  # relative: about 100 roundings of float32
    if mine.shape != theirs.shape:
        return {"within": False, "why": f"the result has shape {mine.shape}, the oracle's {theirs.shape}"}
    if theirs.shape[-1] == 8:
        if not all(is_similarity(T) for poses in (mine, theirs) for T in poses):
            return {"within": False, "why": "the result is not a similarity"}
        mine, theirs = (np.stack([pose_matrix(T) for T in poses]) for poses in (mine, theirs))
    error = float(np.abs(mine - theirs).max(initial=0)) / max(1.0, float(np.abs(theirs).max(initial=0)))
    return {"within": bool(error <= limit), "why": f"largest relative difference {error:.3g}, limit {limit:g}", "op_error": error}
