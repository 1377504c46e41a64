"""Small well-formed inputs for degenerate cases to spoil, and the case round the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness import scenes
from harness.case import Case, Expectation, Generator, Provenance
from harness.importers import association, poses, render
from harness.importers.assemble import make_case
from sim3solve.problem import Status

N = 257  # odd, and one more than a block of 256: tails and misaligned rows are in every case
SIZE = (24, 18)
PROVENANCE = Provenance(source="made by harness.importers.degenerate", licence="Apache-2.0")

Values = dict[str, np.ndarray]


def room(n: int = N) -> Values:
    """``ray_dist`` tensors of a noisy room with n points, some wrong or invalid."""
    return scenes.generate(Generator(scene="room", n_points=n, seed=7))


def exact_room(n: int = N, valid: slice = slice(None)) -> Values:
    """The room without noise, with equal confidences; exactly the rows of ``valid`` are valid."""
    values = room(n)
    values["Xf"] = seen_from(values["Xk"], np.array(scenes.MOTIONS["room"].pose()))
    values["Qk"][:] = 4.0
    values["valid_opt"][:] = False
    values["valid_opt"][valid] = True
    return values


def line(middle: list[float], half: list[float]) -> Values:
    """Points evenly along one line segment, the same in both cameras."""
    values = exact_room()
    values["Xk"] = (np.array(middle) + np.linspace(-1.0, 1.0, N)[:, None] * np.array(half)).astype(np.float32)
    return values | {"Xf": values["Xk"].copy()}


def calibrated() -> Values:
    """``calib`` tensors of a slanted wall with a box before it, seen by two cameras, without noise."""
    world = render.World(boxes=(render.Box((-0.4, -0.3, 1.3), (0.3, 0.4, 1.5)),), planes=(render.Plane((0.2, 0.1, 1.0), 2.2),))
    K = render.camera(SIZE, 21.0)
    motion = poses.pose([0.05, -0.02, 0.04], poses.about([0.2, 1, 0], 3.0))
    depth_k, depth_f = (render.depth_image(world, T, K, SIZE) for T in (poses.IDENTITY, motion))
    matches = association.match_projective(depth_k, depth_f, K, motion)
    return association.tensors("calib", depth_k, depth_f, K, matches, poses.IDENTITY)


def seen_from(Xk: np.ndarray, T_CkCf: np.ndarray) -> np.ndarray:
    """Keyframe points (N,3) in the frame's camera, float32."""
    return poses.act(poses.inverse(T_CkCf), Xk.astype(np.float64)).astype(np.float32)


def case(id: str, title: str, because: str, values: Values, status: Status = Status.CONVERGED, **document: Any) -> Case:
    """A degenerate case that must end in ``status``: with parity where that carries a pose, as a named failure where not."""
    outcomes = ("OK",) if status.has_pose else ("SOLVER_STATUS",)
    return make_case(
        values,
        id=f"degenerate-{id}",
        kind=document.pop("kind", "ray_dist"),
        title=title,
        expect=Expectation(outcomes=outcomes, statuses=(status,), parity=status.has_pose, because=because),
        tags=("degenerate", *document.pop("tags", ())),
        provenance=PROVENANCE,
        **document,
    )
