"""From two depth images and a known pose to the tensors the tracker hands its solver.

Upstream's data model: ``Xk`` holds every point of the keyframe, row-major by pixel, and ``Xf[i]`` the frame's point matched to
keyframe pixel i. Images are (H, W) float64 metres along the optical axis, 0 where there is no depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.importers import poses

Q_CONF = 1.5
"""Upstream's threshold on Qk."""

SIGMA_REF = 0.03
"""Metres. With it ``Qk > 1.5`` keeps depths up to 3.55 m, where the Kinect's noise reaches 2 cm."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Per keyframe pixel: ``index`` (N,) the matched frame pixel, or the pixel's own number; ``matched`` (N,) bool."""

    index: np.ndarray
    matched: np.ndarray


def depth_sigma(z: np.ndarray) -> np.ndarray:
    """Axial noise of the Kinect in metres at depth z: 0.0012 + 0.0019 (z - 0.4)^2 (Nguyen, Izadi, Lovell, 3DIMPVT 2012)."""
    return np.asarray(0.0012 + 0.0019 * (z - 0.4) ** 2)


def confidence(z: np.ndarray) -> np.ndarray:
    """q(z) = 0.03 m / depth_sigma(z), and 0 where there is no depth. Same shape as z."""
    return np.where(z > 0, SIGMA_REF / depth_sigma(z), 0.0)


def back_project(depth: np.ndarray, K: np.ndarray) -> np.ndarray:
    """The camera-frame point (H*W, 3) of every pixel: on the ray through its centre, 0 where there is no depth."""
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    return np.stack([x * depth, y * depth, depth], axis=-1).reshape(-1, 3)


def match_projective(depth_k: np.ndarray, depth_f: np.ndarray, K: np.ndarray, T_CkCf: np.ndarray) -> Matches:
    """Match each keyframe point to the frame's pixel nearest to its projection under the true pose.

    A match needs depth in both images, and the two depths must agree within 2 cm and three standard deviations: otherwise
    something hides the point.
    """
    height, width = depth_f.shape
    points = poses.act(poses.inverse(T_CkCf), back_project(depth_k, K))
    in_front = (depth_k.reshape(-1) > 0) & (points[:, 2] > 0)
    z = np.where(in_front, points[:, 2], 1.0)
    u = np.floor(K[0, 0] * points[:, 0] / z + K[0, 2] + 0.5)
    v = np.floor(K[1, 1] * points[:, 1] / z + K[1, 2] + 0.5)
    inside = in_front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    index = np.where(inside, v * width + u, 0).astype(np.int64)
    seen = depth_f.reshape(-1)[index]
    visible = inside & (seen > 0) & (np.abs(seen - z) < 0.02 + 3 * depth_sigma(z))
    return Matches(np.where(visible, index, np.arange(len(index))), visible)


def tensors(
    kind: str, depth_k: np.ndarray, depth_f: np.ndarray, K: np.ndarray, matches: Matches, T_WCk: np.ndarray, depth_eps: float = 1e-6
) -> dict[str, np.ndarray]:
    """The tensors of a ``ray_dist`` or ``calib`` case, float32 and bool; the frame starts at the keyframe's pose.

    As upstream, ``Qk = sqrt(q_f q_k)`` and ``valid_opt`` also needs ``Qk > 1.5``. A row without a match keeps the frame's own
    point of that pixel.
    """
    Xk, Xf = back_project(depth_k, K), back_project(depth_f, K)[matches.index]
    Qk = np.sqrt(confidence(Xf[:, 2]) * confidence(Xk[:, 2])).astype(np.float32)[:, None]
    start = T_WCk.astype(np.float32)[None]
    values = {
        "Xf": Xf.astype(np.float32), "Xk": Xk.astype(np.float32), "T_WCf": start.copy(), "T_WCk": start,
        "Qk": Qk, "valid_opt": matches.matched[:, None] & (Qk > Q_CONF),
    }  # fmt: skip
    if kind == "calib":
        values |= measurements(depth_k, depth_eps) | {"K": K.astype(np.float32)}
    return values


def measurements(depth_k: np.ndarray, depth_eps: float = 1e-6) -> dict[str, np.ndarray]:
    """``meas_k`` (N,3): u, v in pixels and log depth, zero where invalid; ``valid_meas_k`` (N,1)."""
    v, u = np.mgrid[: depth_k.shape[0], : depth_k.shape[1]]
    valid = depth_k > depth_eps
    log_z = np.log(np.where(valid, depth_k, 1.0))
    meas_k = np.where(valid[..., None], np.stack([u, v, log_z], axis=-1), 0.0)
    return {"meas_k": meas_k.reshape(-1, 3).astype(np.float32), "valid_meas_k": valid.reshape(-1, 1)}


def scaled_frame(values: dict[str, np.ndarray], scale: float) -> dict[str, np.ndarray]:
    """The same case with the frame's points in units ``scale`` times as large: its true relative scale becomes ``scale``."""
    return values | {"Xf": (values["Xf"].astype(np.float64) / scale).astype(np.float32)}
