"""Made scenes whose values need not be stored: the same bits on every platform and with every NumPy.

Random numbers are a hash of (seed, stream, index), splitmix64 on uint64 arrays. Real numbers only meet + - * / and sqrt on
float64, element by element, each of which IEEE 754 fixes to the last bit, and are then rounded once to float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.case import Generator
from harness.document import Pose

CHUNK = 1 << 15
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

# Streams of random numbers: one job each, so that adding a job changes no other.
_PIXEL, _DEPTH_K, _DEPTH_F, _RAY_X, _RAY_Y, _MATCH = range(6)


@dataclass(frozen=True)
class Motion:
    """A true relative pose T_CkCf: integer quaternion (x, y, z, w) whose length is an integer too, metres, scale."""

    quaternion: tuple[int, int, int, int]
    length: int
    translation: tuple[float, float, float]
    scale: float

    def __post_init__(self) -> None:
        if sum(n * n for n in self.quaternion) != self.length * self.length:
            raise ValueError(f"{self.quaternion} has not length {self.length}")

    def pose(self) -> Pose:
        x, y, z, w = (n / self.length for n in self.quaternion)
        return (*self.translation, x, y, z, w, self.scale)

    def rotation(self) -> tuple[tuple[float, float, float], ...]:
        """The rotation matrix, each entry one correctly rounded division of two integers."""
        x, y, z, w = self.quaternion
        rows = (
            (w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z),
        )
        square = self.length * self.length
        return tuple((a / square, b / square, c / square) for a, b, c in rows)


# 7 degrees and 8 cm in the room, 13 degrees and 15 cm before the plane.
MOTIONS = {
    "room": Motion((10, 30, 9, 540), 541, (0.06, -0.03, 0.05), 1.0),
    "plane": Motion((6, -16, 3, 150), 151, (-0.12, 0.04, 0.08), 1.1),
}
KEYFRAME = Motion((4, -8, 1, 40), 41, (1.25, -0.5, 2.0), 1.0)


def truth(generator: Generator) -> Pose:
    """The true T_CkCf of a generated case."""
    return MOTIONS[generator.scene].pose()


def generate(generator: Generator) -> dict[str, np.ndarray]:
    """The ``ray_dist`` tensors of a scene: Xf Xk T_WCf T_WCk Qk valid_opt, float32 and bool, shapes as in ``sim3solve.problem``.

    Nine rows in ten are matched and 2 % of those are wrong; the others are invalid and hold a wrong point. The frame starts at
    the keyframe's pose.
    """
    n = generator.n_points
    start_pose = np.array([KEYFRAME.pose()], np.float32)
    values = {
        "Xf": np.empty((n, 3), np.float32),
        "Xk": np.empty((n, 3), np.float32),
        "T_WCf": start_pose.copy(),
        "T_WCk": start_pose,
        "Qk": np.empty((n, 1), np.float32),
        "valid_opt": np.empty((n, 1), np.bool_),
    }
    for start in range(0, n, CHUNK):
        rows = slice(start, min(start + CHUNK, n))
        _fill(values, rows, generator)
    return values


def hashed(seed: int, stream: int, start: int, stop: int) -> np.ndarray:
    """64 random bits for each index in [start, stop), uint64: splitmix64 (Steele, Lea, Flood, OOPSLA 2014) of the index."""
    key = _mix(np.array([(seed * _GOLDEN + stream + 1) & _MASK], dtype=np.uint64))
    counter = np.arange(start + 1, stop + 1, dtype=np.uint64)
    return _mix(counter * np.uint64(_GOLDEN) + key)


def _mix(h: np.ndarray) -> np.ndarray:
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(h ^ (h >> np.uint64(31)))


def uniform(bits: np.ndarray) -> np.ndarray:
    """[0, 1) from the upper 53 bits, float64."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bell(bits: np.ndarray) -> np.ndarray:
    """Mean 0, standard deviation 1, within 3: the sum of three 21-bit uniforms, float64. Needs no logarithm and no sine."""
    low = np.uint64((1 << 21) - 1)
    total = (bits & low) + ((bits >> np.uint64(21)) & low) + ((bits >> np.uint64(42)) & low)
    return np.asarray(total.astype(np.float64) * 2.0**-20 - 3.0)


def _fill(values: dict[str, np.ndarray], rows: slice, generator: Generator) -> None:
    def draw(stream: int) -> np.ndarray:
        return hashed(generator.seed, stream, rows.start, rows.stop)

    pixel = draw(_PIXEL)
    dx = (pixel >> np.uint64(32)).astype(np.float64) * (1.2 * 2.0**-32) - 0.6
    dy = (pixel & np.uint64(0xFFFFFFFF)).astype(np.float64) * (0.9 * 2.0**-32) - 0.45
    z = _room(dx, dy) if generator.scene == "room" else _plane(dx, dy)
    confidence = 0.03 / (0.0012 + 0.0019 * (z - 0.4) * (z - 0.4))

    chance = uniform(draw(_MATCH))
    matched = chance < 0.9
    wrong = chance > 0.882  # 0.018 of all rows lie below 0.9: matched, yet wrong

    depth_k = z * (1.0 + 0.003 * bell(draw(_DEPTH_K)))
    values["Xk"][rows, 0] = dx * depth_k
    values["Xk"][rows, 1] = dy * depth_k
    values["Xk"][rows, 2] = depth_k

    x, y, depth = _in_frame(MOTIONS[generator.scene], dx * z, dy * z, z)
    stretch = 1.0 + 0.003 * bell(draw(_DEPTH_F))
    x = (x + 0.001 * depth * bell(draw(_RAY_X))) * stretch
    y = (y + 0.001 * depth * bell(draw(_RAY_Y))) * stretch
    values["Xf"][rows, 0] = np.where(wrong, -0.7 * x, x)
    values["Xf"][rows, 1] = np.where(wrong, 0.2 * depth - y, y)
    values["Xf"][rows, 2] = np.where(wrong, 0.8, 1.0) * depth * stretch

    values["Qk"][rows, 0] = confidence
    values["valid_opt"][rows, 0] = matched & (confidence > 1.5)


def _room(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Depth in metres along rays (dx, dy, 1): walls, floor, ceiling, and a box that stands out of the back wall."""
    tiny = 1e-9
    side = np.where(dx > 0, 1.9, 2.1) / np.maximum(np.abs(dx), tiny)
    level = np.where(dy > 0, 1.2, 1.3) / np.maximum(np.abs(dy), tiny)
    z = np.minimum(np.minimum(side, level), 3.4)
    on_box = (dx > -0.15) & (dx < 0.2) & (dy > -0.05) & (dy < 0.25)
    return np.where(on_box, 1.8, z)


def _plane(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    return 2.0 / (1.0 - 0.3 * dx + 0.2 * dy)


def _in_frame(motion: Motion, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, ...]:
    """Keyframe points in the frame's camera: R^T (X - t) / s."""
    R = motion.rotation()
    x, y, z = x - motion.translation[0], y - motion.translation[1], z - motion.translation[2]
    return tuple((R[0][i] * x + R[1][i] * y + R[2][i] * z) / motion.scale for i in range(3))
