"""Depth images of simple worlds, by casting one ray per pixel: boxes to look into, boxes to look at, planes. Metres, float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.importers import poses


@dataclass(frozen=True)
class Box:
    """Axis-aligned, world coordinates."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]


@dataclass(frozen=True)
class Plane:
    """The points X with normal . X = distance."""

    normal: tuple[float, float, float]
    distance: float


@dataclass(frozen=True)
class World:
    """``room`` is seen from inside; ``boxes`` and ``planes`` from outside."""

    room: Box | None = None
    boxes: tuple[Box, ...] = ()
    planes: tuple[Plane, ...] = ()


def camera(size: tuple[int, int], focal: float) -> np.ndarray:
    """K (3,3) in pixels with the principal point in the middle of a (width, height) image."""
    return np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])


def depth_image(world: World, T_WC: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth (H, W) along the optical axis at pixel centres, 0 where a ray meets nothing. ``size`` is (width, height)."""
    v, u = np.mgrid[: size[1], : size[0]].astype(np.float64)
    in_camera = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    ray = in_camera.reshape(-1, 3) @ poses.rotation(T_WC).T  # z component 1 in the camera: its length parameter is the depth
    origin = T_WC[:3]
    depth = np.full(len(ray), np.inf)
    if world.room is not None:
        depth = np.minimum(depth, _slabs(world.room, origin, ray)[1])
    for box in world.boxes:
        near, far = _slabs(box, origin, ray)
        depth = np.minimum(depth, np.where((near < far) & (near > 0), near, np.inf))
    for plane in world.planes:
        towards = ray @ np.asarray(plane.normal)
        there = (plane.distance - origin @ np.asarray(plane.normal)) / np.where(towards == 0, np.nan, towards)
        depth = np.fmin(depth, np.where(there > 0, there, np.inf))
    return np.where(np.isfinite(depth), depth, 0.0).reshape(size[1], size[0])


def _slabs(box: Box, origin: np.ndarray, ray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameters where each ray enters and leaves the box (entry after exit: it misses)."""
    away = np.where(np.abs(ray) < 1e-12, 1e-12, ray)
    one, other = ((np.asarray(corner) - origin) / away for corner in (box.low, box.high))
    return np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
