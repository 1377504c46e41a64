"""Synthetic cases with known truth: two cameras look into a made world, their depth gets the Kinect's noise, and the pair is
associated exactly as a real one is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.case import Case, Expectation, OptionsDocument, Provenance
from harness.importers import association, poses, render
from harness.importers.assemble import make_case, pose_tuple
from harness.importers.render import Box, Plane, World
from harness.scenes import bell, hashed, uniform
from sim3solve.problem import Status

SIZE = (64, 48)
FOCAL = 56.0
PROVENANCE = Provenance(source="made by harness.importers.synthetic", licence="Apache-2.0")

_NOISE_K, _NOISE_F, _WRONG, _WRONG_PARTNER = range(100, 104)

ROOM = Box((-2.0, -1.3, -1.0), (2.2, 1.1, 3.4))
TABLE = Box((-0.5, 0.35, 1.6), (0.7, 1.1, 2.4))
SLATS = tuple(Box((-1.1 + 0.45 * i, -0.8, 1.2 + 0.45 * i), (-0.8 + 0.45 * i, 0.9, 1.3 + 0.45 * i)) for i in range(5))
T_WCk = poses.pose([0.2, -0.1, 0.15], poses.about([0.2, 1.0, -0.1], 6.0))


@dataclass(frozen=True)
class Scene:
    """One pair: a world, the true motion, and what is wrong with the matches."""

    id: str
    title: str
    world: World
    axis: tuple[float, float, float]
    degrees: float
    translation: tuple[float, float, float]
    because: str
    kind: str = "ray_dist"
    scale: float = 1.0
    outliers: float = 0.0
    seed: int = 1

    def T_CkCf(self) -> np.ndarray:
        """The true relative pose (8,), with the scale of the frame's points."""
        return poses.pose(self.translation, poses.about(self.axis, self.degrees), self.scale)


_EASY = Scene(
    "room-ray",
    "A room with a table, 5 degrees and 8 cm apart",
    World(room=ROOM, boxes=(TABLE,)),
    axis=(0.3, 1.0, 0.1),
    degrees=5.0,
    translation=(0.07, -0.02, 0.04),
    because="An easy pair: every solver must find the oracle's pose.",
)
SCENES = (
    _EASY,
    replace(
        _EASY,
        id="room-calib",
        kind="calib",
        title="The same room, calibrated",
        because="An easy calibrated pair: every solver must find the oracle's pose.",
    ),
    replace(
        _EASY,
        id="depth-steps",
        title="Five slats at five depths: many pixels lie beside a depth edge",
        world=World(room=ROOM, boxes=SLATS),
        axis=(0.0, 1.0, 0.4),
        degrees=6.0,
        translation=(0.1, 0.03, -0.05),
        because="Occlusion leaves gaps in the matches, and matches at edges have large residuals for Huber's weights.",
    ),
    replace(
        _EASY,
        id="outliers",
        title="The room with 30 % wrong matches",
        outliers=0.3,
        seed=2,
        because="Huber's weights must hold against 30 % wrong matches, each to a random point of the frame.",
    ),
    replace(
        _EASY,
        id="outliers-calib",
        kind="calib",
        title="The room with 30 % wrong matches, calibrated",
        axis=(0.2, 1.0, 0.0),
        degrees=4.0,
        translation=(0.05, 0.02, 0.06),
        outliers=0.3,
        seed=3,
        because="Huber's weights must hold against 30 % wrong matches in pixels and log depth too.",
    ),
    replace(
        _EASY,
        id="scale-change",
        title="The frame's points are 1.3 times too small",
        axis=(0.1, 1.0, -0.2),
        degrees=4.0,
        translation=(-0.06, 0.02, 0.05),
        scale=1.3,
        seed=4,
        because="Scale is the seventh degree of freedom: the solve starts at 1 and must arrive at the oracle's value.",
    ),
    replace(
        _EASY,
        id="scale-change-calib",
        kind="calib",
        title="The frame's points are 1.3 times too large, calibrated",
        axis=(0.1, 1.0, -0.2),
        degrees=4.0,
        translation=(-0.06, 0.02, 0.05),
        scale=1 / 1.3,
        seed=5,
        because="As scale-change, the other way round, with scale seen through log depth.",
    ),
    replace(
        _EASY,
        id="planar",
        title="A single slanted wall",
        world=World(planes=(Plane((0.25, -0.15, 1.0), 2.2),)),
        axis=(1.0, 0.6, 0.2),
        translation=(0.08, 0.05, -0.03),
        seed=6,
        because="One plane fixes all seven degrees of freedom, for matches carry depth, but shifts and turns look alike.",
    ),
    replace(
        _EASY,
        id="low-overlap",
        title="A turn of 38 degrees: less than a third of the keyframe is still in view",
        axis=(0.05, 1.0, 0.02),
        degrees=38.0,
        translation=(0.25, 0.0, 0.1),
        seed=7,
        because="Far from the start, with few matches, all at one side: many iterations, and no room for a wrong update rule.",
    ),
)


def synthetic_cases(size: tuple[int, int] = SIZE) -> list[Case]:
    """Every synthetic case at (width, height) pixels; the field of view stays."""
    return [synthetic_case(scene, size) for scene in SCENES]


def synthetic_case(scene: Scene, size: tuple[int, int] = SIZE) -> Case:
    """One case. The association uses the noisy depth and the true pose, as for real frames."""
    K = render.camera(size, FOCAL * size[0] / SIZE[0])
    metric = replace(scene, scale=1.0).T_CkCf()
    views = [(T_WCk, _NOISE_K), (poses.compose(T_WCk, metric), _NOISE_F)]
    depth_k, depth_f = (_noisy(render.depth_image(scene.world, T, K, size), scene.seed, stream) for T, stream in views)
    matches = association.match_projective(depth_k, depth_f, K, metric)
    matches = _with_wrong(matches, depth_f, scene)
    values = association.tensors(scene.kind, depth_k, depth_f, K, matches, T_WCk)
    return make_case(
        association.scaled_frame(values, scene.scale),
        id=f"synthetic-{scene.id}",
        kind=scene.kind,
        title=scene.title,
        options=OptionsDocument(img_size=(size[1], size[0])) if scene.kind == "calib" else OptionsDocument(),
        truth_T_CkCf=pose_tuple(scene.T_CkCf()),
        expect=Expectation(outcomes=("OK",), statuses=(Status.CONVERGED,), because=scene.because),
        tags=("synthetic",),
        provenance=PROVENANCE,
    )


def _noisy(depth: np.ndarray, seed: int, stream: int) -> np.ndarray:
    noise = bell(hashed(seed, stream, 0, depth.size)).reshape(depth.shape)
    return np.where(depth > 0, depth + association.depth_sigma(depth) * noise, 0.0)


def _with_wrong(matches: association.Matches, depth_f: np.ndarray, scene: Scene) -> association.Matches:
    """Send a share of the matches to random pixels of the frame that have depth."""
    n = len(matches.index)
    wrong = matches.matched & (uniform(hashed(scene.seed, _WRONG, 0, n)) < scene.outliers)
    there = np.flatnonzero(depth_f.reshape(-1) > 0)
    partner = there[(uniform(hashed(scene.seed, _WRONG_PARTNER, 0, n)) * len(there)).astype(np.int64)]
    return association.Matches(np.where(wrong, partner, matches.index), matches.matched)
