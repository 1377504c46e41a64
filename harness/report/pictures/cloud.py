"""The points of a case in three dimensions: few, packed, with every pose to see them at. ``pictures.js`` turns them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from harness.case import Case
from harness.compare import is_similarity, pose_matrix, valid_points
from harness.report.pictures import colormap
from harness.report.pictures.columns import Ranges, colour_numbers
from harness.report.pictures.drawing import SERIES_COLOURS
from harness.report.pictures.material import Material, Pose, Solved
from harness.report.pictures.raster import png_uri
from harness.report.text import count

MOST_POINTS = 720
MOST_STEPS = 40
"""Poses of one trace."""

FAR = 20.0
"""Points more than this many median distances away are left out and counted: one of them would shrink all others to a dot."""

POSTER = (420, 280)
YAW, PITCH, BACK = 0.55, -0.32, 3.0
"""The first view: turned by these radians, from this many radii behind the middle. The same numbers are in ``pictures.js``."""

GREY = (128, 134, 141)
CAMERA = 0.2
"""Depth of a drawn camera, in radii of the view."""

EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1), (1, 5), (5, 2))
IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Cloud:
    """``Xk`` and ``Xf`` (M,3) are the points as they are packed; ``middle`` (3,) and ``radius`` are what the view turns about;
    ``start`` is the pose that it shows first.
    """

    Xk: np.ndarray
    Xf: np.ndarray
    middle: np.ndarray
    radius: float
    start: str
    left_out: str
    scene: str
    poster: str


def cloud(material: Material, scales: Ranges) -> Cloud | None:
    """None where there is no point or no pose to draw."""
    case = material.case
    paths = pose_paths(material)
    if case is None or not paths:
        return None
    Xk, Xf = case.as_float("Xk"), case.as_float("Xf")
    far_k, far_f = np.linalg.norm(Xk, axis=1), np.linalg.norm(Xf, axis=1)
    usable = valid_points(case) & np.isfinite(far_k) & np.isfinite(far_f) & (far_k > 0) & (far_k < 1e30) & (far_f < 1e30)
    if not usable.any():
        return None
    near = usable & (far_k <= FAR * np.median(far_k[usable])) & (far_f <= FAR * np.median(far_f[usable]))
    chosen = scattered(np.flatnonzero(near), MOST_POINTS)
    Xk, packed_k = _pack(Xk[chosen])
    Xf, packed_f = _pack(Xf[chosen])
    start = first_shown(material, paths)
    path = paths[start]["path"]
    middle, radius = _fit(np.concatenate([Xk, _near(transform(path[-1], Xf), Xk)]), _opening(Xk), path)
    scene: dict[str, Any] = {
        "k": packed_k, "f": packed_f, "middle": _short(middle), "radius": _short([radius])[0],
        "K": _short(case.as_float("K").ravel()) if case.document.kind == "calib" else None,
        "low": _short([scales.size.low])[0], "high": _short([scales.size.high])[0],
        "views": [_opening(Xk), _opening(Xf)], "poses": paths, "start": start,
    }  # fmt: skip
    poster = _poster(case, Xk, Xf, scene, path[-1], scales)
    left_out = _left_out(case.document.n_points, int(usable.sum()), int(near.sum()), len(chosen))
    return Cloud(
        Xk, Xf, middle, radius, paths[start]["name"], left_out, json.dumps(scene, separators=(",", ":"), allow_nan=False), poster
    )


def pose_paths(material: Material) -> list[dict[str, Any]]:
    """The initial pose, then every judged solver's: with its steps where it is the oracle's or ends elsewhere."""
    paths: list[dict[str, Any]] = []
    if material.initial is not None:
        paths.append({"name": "initial", "colour": -1, "path": [_short(material.initial)]})
    for it in material.solved:
        if it.pose is None or not it.outcome.judged:
            continue
        name = it.series.label + (" (oracle)" if it.is_oracle else "" if it.agrees else f" ({it.differs})")
        steps = _steps(it, material.initial) if it.is_oracle or not it.agrees else [it.pose]
        paths.append({"name": name, "colour": it.series.order % SERIES_COLOURS, "path": [_short(T) for T in steps]})
    return paths


def first_shown(material: Material, paths: Sequence[dict[str, Any]]) -> int:
    """Which of the poses: the first that is wrong, for that is what one comes to see; else the first that is the oracle's."""
    posed = [it for it in material.solved if it.pose is not None and it.outcome.judged]
    before = len(paths) - len(posed)  # the initial pose
    wrong = next((i for i, it in enumerate(posed) if it.is_wrong), None)
    right = next((i for i, it in enumerate(posed) if it.agrees), None)
    chosen = wrong if wrong is not None else right
    return 0 if chosen is None else before + chosen


def _steps(it: Solved, initial: Pose | None) -> list[Pose]:
    """Poses from the first to the last, some left out of a long trace."""
    assert it.pose is not None
    trace = [record.T_CkCf for record in it.outcome.trace[:-1] if len(record.T_CkCf) == 8 and is_similarity(record.T_CkCf)]
    steps = ([initial] if initial is not None else []) + trace
    every = -(-len(steps) // MOST_STEPS) or 1
    return [*steps[::every], it.pose]


def scattered(indices: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the indices, evenly spread, without the stripes that every n-th pixel of an image would show."""
    if len(indices) <= most:
        return indices
    at = (np.arange(1, 2 * most) * _GOLDEN % 1 * len(indices)).astype(int)
    first = np.sort(np.unique(at, return_index=True)[1])[:most]
    return np.asarray(np.sort(indices[at[first]]))


def _pack(points: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """16 bits per coordinate over the points' own box: the points as they will be unpacked, and [corner, size, base64]."""
    corner = points.min(axis=0)
    size = np.maximum(points.max(axis=0) - corner, 1e-30)
    corner, size = np.array(_short(corner)), np.array(_short(size))
    steps = np.clip(np.round((points - corner) / size * 65535), 0, 65535).astype("<u2")
    return corner + steps / 65535 * size, [corner.tolist(), size.tolist(), base64.b64encode(steps.tobytes()).decode()]


def _short(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(f"{value:.7g}") for value in values]


def _near(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The points no farther than twice the farthest of the others: a pose gone wild does not take all others out of sight."""
    return np.asarray(points[np.linalg.norm(points, axis=1) <= 2 * np.linalg.norm(others, axis=1).max()])


def _fit(points: np.ndarray, opening: Sequence[float], path: Sequence[Sequence[float]]) -> tuple[np.ndarray, float]:
    """Middle (3,) and radius of a first view that holds the cameras and all points but the outermost 2 %."""
    distance = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    inner = points[distance <= np.percentile(distance, 98)]
    middle, radius = np.median(inner, axis=0), float(distance.max()) or float(np.linalg.norm(inner[0])) or 1.0
    width, height = POSTER
    for _ in range(12):  # nearer things look larger, so the frame is found by trying
        cameras = [frustum(T, opening, radius) for T in (IDENTITY, path[-1])]
        seen = project(np.concatenate([inner, *cameras]), middle, radius, POSTER)
        seen = seen[np.isfinite(seen).all(axis=1)]
        low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
        aside, down = ((low + high) / 2 - (width / 2, height / 2)) * radius / (0.46 * height) * 0.7
        middle = middle + view_axes().T @ np.array([aside, down, 0.0])
        radius *= float(np.clip(max((high - low) / (0.9 * width, 0.88 * height)), 0.7, 1.4))
    return middle, radius


def view_axes() -> np.ndarray:
    """(3,3): from the keyframe's axes to those of the first view: right, down, away."""
    cy, sy, cp, sp = np.cos(YAW), np.sin(YAW), np.cos(PITCH), np.sin(PITCH)
    axes: np.ndarray = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return axes


def _opening(points: np.ndarray) -> list[float]:
    """Half width and half height of what a camera sees, at distance 1: 95 % of the points in front of it."""
    front = points[points[:, 2] > 0]
    if len(front) < 8:
        return [0.62, 0.47]
    slopes = np.percentile(np.abs(front[:, :2] / front[:, 2:]), 95, axis=0)
    return _short(np.clip(slopes, 0.1, 2.0))


def transform(T: Sequence[float], points: np.ndarray) -> np.ndarray:
    """Points (M,3) mapped by a pose of 8 numbers."""
    M = pose_matrix(T)
    with np.errstate(all="ignore"):
        return np.asarray(points @ M[:3, :3].T + M[:3, 3])


def project(points: np.ndarray, middle: np.ndarray, radius: float, size: tuple[int, int]) -> np.ndarray:
    """(M,3): pixel x, y and depth in radii of points in the first view on a picture of (width, height). NaN behind the viewer."""
    with np.errstate(all="ignore"):
        x, y, z = view_axes() @ (points - middle).T / radius
        depth = np.where(z + BACK > 0.05, z + BACK, np.nan)
        focal = 0.46 * size[1] * BACK
        return np.stack([size[0] / 2 + focal * x / depth, size[1] / 2 + focal * y / depth, depth], 1)


def error_sizes(case: Case, Xk: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """The residual that colours a point, as ``pictures.js`` has it: degrees between rays, or pixels between projections."""
    with np.errstate(all="ignore"):
        if case.document.kind != "calib":
            cross = np.linalg.norm(np.cross(Xk, Y), axis=1)
            return np.asarray(np.degrees(np.arctan2(cross, (Xk * Y).sum(axis=1))))
        K = case.as_float("K")
        pixels = [points[:, :2] / points[:, 2:] * (K[0, 0], K[1, 1]) for points in (Xk, Y)]
        return np.where((Xk[:, 2] > 0) & (Y[:, 2] > 0), np.linalg.norm(pixels[0] - pixels[1], axis=1), np.nan)


def _poster(case: Case, Xk: np.ndarray, Xf: np.ndarray, scene: dict[str, Any], T: Sequence[float], scales: Ranges) -> str:
    """The first view as a small PNG, for paper and pages without scripts: Xk grey, the transformed Xf in colour, two cameras."""
    middle, radius = np.array(scene["middle"]), scene["radius"]
    palette = np.vstack([[GREY], colormap.sequential()[np.linspace(0, colormap.STEPS - 1, 13).astype(int)]])
    Y = transform(T, Xf)
    image = Image.new("L", POSTER)
    draw = ImageDraw.Draw(image)
    colours = colour_numbers(scales.size, error_sizes(case, Xk, Y), 13)
    for points, numbers, size in ((Xk, np.ones(len(Xk), dtype=int), 1), (Y, colours.astype(int) + 1, 2)):
        seen = project(points, middle, radius, POSTER)
        for (x, y, _), colour in zip(seen, numbers, strict=True):
            if 0 <= x < POSTER[0] and 0 <= y < POSTER[1]:
                draw.rectangle([int(x), int(y), int(x) + size - 1, int(y) + size - 1], fill=int(colour))
    for pose, opening in ((IDENTITY, scene["views"][0]), (T, scene["views"][1])):
        corners = project(frustum(pose, opening, radius), middle, radius, POSTER)
        for i, k in EDGES:
            if np.isfinite(corners[[i, k]]).all() and np.abs(corners[[i, k]]).max() < 1e5:
                draw.line([*map(float, corners[i, :2]), *map(float, corners[k, :2])], fill=1)
    return png_uri(np.asarray(image), palette.astype(np.uint8))


def frustum(T: Sequence[float], opening: Sequence[float], radius: float) -> np.ndarray:
    """(6,3): a camera's centre, the corners of its image, and the tip that shows which way is up. Not scaled by the pose."""
    w, h = opening
    corners = np.array([[0, 0, 0], [-w, -h, 1], [w, -h, 1], [w, h, 1], [-w, h, 1], [0, -1.5 * h, 1]])
    return transform([*T[:7], 1.0], corners * CAMERA * radius / max(w, h, 1.0))


def _left_out(n: int, usable: int, near: int, shown: int) -> str:
    words = [f"{count(shown, 'point')} of {n}"]
    if n > usable:
        words.append(f"{n - usable} masked or not finite")
    if usable > near:
        words.append(f"{usable - near} too far away to show")
    return ", ".join(words)
