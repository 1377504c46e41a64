"""Matches by image features, with the outliers such matches really have. Needs OpenCV, the extra ``features``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.errors import SourceError
from harness.importers.association import Matches

RATIO = 0.8
"""Lowe's ratio test (IJCV 2004): the best match must be this much nearer than the second best."""


def match_features(
    file: Path, grey_k: np.ndarray, grey_f: np.ndarray, depth_k: np.ndarray, depth_f: np.ndarray
) -> tuple[Matches, str]:
    """SIFT matches of two full-size grey images as matches between the pixels of the (smaller) depth images, and OpenCV's version.

    There is no geometric check: what the ratio test lets through stays, right or wrong. Each keyframe pixel takes its best
    match; both pixels need depth.
    """
    try:
        import cv2
    except ImportError:
        raise SourceError(file, "features", "OpenCV is not installed: pip install 'sim3solve[features]'") from None
    sift = cv2.SIFT.create()
    (points_k, about_k), (points_f, about_f) = (sift.detectAndCompute(grey, None) for grey in (grey_k, grey_f))
    if about_k is None or about_f is None or len(about_f) < 2:
        raise SourceError(file, "features", f"too little texture: {len(points_k)} and {len(points_f)} keypoints")
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(about_k, about_f, k=2)
    kept = sorted((best for best, second in pairs if best.distance < RATIO * second.distance), key=lambda match: -match.distance)
    pixels_k = _pixels([points_k[match.queryIdx].pt for match in kept], grey_k.shape, depth_k.shape)
    pixels_f = _pixels([points_f[match.trainIdx].pt for match in kept], grey_f.shape, depth_f.shape)
    index = np.arange(depth_k.size)
    matched = np.zeros(depth_k.size, dtype=np.bool_)
    index[pixels_k] = pixels_f  # the best comes last, and stays
    matched[pixels_k] = True
    matched &= (depth_k.reshape(-1) > 0) & (depth_f.reshape(-1)[index] > 0)
    return Matches(np.where(matched, index, np.arange(depth_k.size)), matched), cv2.__version__


def _pixels(points: list[Sequence[float]], full: tuple[int, ...], small: tuple[int, ...]) -> np.ndarray:
    """Row-major number of the small image's pixel that covers each point (x, y) of the full image."""
    uv = np.array(points, dtype=np.float64).reshape(-1, 2) + 0.5
    u = np.clip(np.floor(uv[:, 0] * small[1] / full[1]), 0, small[1] - 1)
    v = np.clip(np.floor(uv[:, 1] * small[0] / full[0]), 0, small[0] - 1)
    return np.asarray(v * small[1] + u, dtype=np.int64)
