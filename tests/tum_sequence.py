"""A small sequence in the TUM format, rendered from a made room along a known path, for tests that need no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from harness.importers import association, poses, render
from harness.importers.render import Box, World
from harness.scenes import hashed

SIZE = (320, 240)
K = np.array([[262.0, 0, 158.3], [0, 261.0, 121.7], [0, 0, 1]])
WORLD = World(room=Box((-2.0, -1.3, -1.0), (2.2, 1.1, 3.0)), boxes=(Box((-0.5, 0.35, 1.6), (0.7, 1.1, 2.2)),))
STEP_S = 0.033
T0 = 1305031453.374112
N_FRAMES = 5


def T_WC(stamp: float) -> np.ndarray:
    """The camera's path: constant velocity and a constant turn about one axis, so that lerp and slerp are exact on it."""
    t = stamp - T0
    return poses.pose([0.1 + 0.6 * t, -0.05 - 0.2 * t, 0.3 * t], poses.about([0.2, 1.0, -0.3], 3.0 + 40.0 * t))


def write_sequence(folder: Path) -> Path:
    """depth/, rgb/, depth.txt, rgb.txt, groundtruth.txt (100 Hz, between the depth stamps) and K.txt."""
    for name in ("depth", "rgb"):
        (folder / name).mkdir(parents=True)
    depth_rows, rgb_rows = ["# depth maps", "# timestamp filename"], ["# color images"]
    for i in range(N_FRAMES):
        stamp = T0 + STEP_S * i
        depth = render.depth_image(WORLD, T_WC(stamp), K, SIZE)
        Image.fromarray(colours(stamp, depth)).save(folder / "rgb" / f"{stamp - 0.012:.6f}.png")
        units = np.round(depth * 5000).astype(np.uint16)
        units[:20, :30] = 0  # a corner without depth
        Image.fromarray(units).save(folder / "depth" / f"{stamp:.6f}.png")
        depth_rows.append(f"{stamp:.6f} depth/{stamp:.6f}.png")
        rgb_rows.append(f"{stamp - 0.012:.6f} rgb/{stamp - 0.012:.6f}.png")
    rows = ["# timestamp tx ty tz qx qy qz qw"]
    for k in range(35):
        stamp = T0 - 0.1049 + 0.01 * k
        rows.append(f"{stamp:.6f} " + " ".join(f"{x:.9f}" for x in T_WC(stamp)[:7]))
    (folder / "depth.txt").write_text("\n".join(depth_rows) + "\n")
    (folder / "rgb.txt").write_text("\n".join(rgb_rows) + "\n")
    (folder / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    (folder / "K.txt").write_text("\n".join(" ".join(f"{x:.4f}" for x in row) for row in K) + "\n")
    return folder


def colours(stamp: float, depth: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 of walls tiled with random greys: the same tile looks the same from everywhere."""
    points = poses.act(T_WC(stamp), association.back_project(depth, K))
    tile = np.floor(points / 0.11 + 1000.5).astype(np.int64)
    number = (tile[:, 0] * 4_000 + tile[:, 1]) * 4_000 + tile[:, 2]
    known, which = np.unique(number, return_inverse=True)
    grey = np.array([hashed(3, 0, n, n + 1)[0] % np.uint64(256) for n in known.tolist()], dtype=np.uint8)
    return np.repeat(grey[which.reshape(-1)].reshape(*depth.shape, 1), 3, axis=2)
