"""TUM RGB-D sequences, as users download them, to cases.

J. Sturm, N. Engelhard, F. Endres, W. Burgard, D. Cremers, "A Benchmark for the Evaluation of RGB-D SLAM Systems", IROS 2012.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL

from harness.case import MAX_POINTS, Case, Expectation, OptionsDocument, Provenance
from harness.errors import SourceError, UsageError
from harness.importers import association, features, png, poses, tum_files
from harness.importers.assemble import make_case, pose_tuple
from sim3solve.problem import MIN_MATCHES, Status

Kind = Literal["ray_dist", "calib"]
Matching = Literal["projective", "features"]

UNITS_PER_METRE = 5000.0
TOLERANCE_S = 0.02
MAX_GAP_S = 0.1
LICENCE = "CC BY 4.0"
ATTRIBUTION = (
    "Derived from the TUM RGB-D benchmark (https://cvg.cit.tum.de/data/datasets/rgbd-dataset), CC BY 4.0. J. Sturm, N. Engelhard, "
    'F. Endres, W. Burgard, D. Cremers, "A Benchmark for the Evaluation of RGB-D SLAM Systems", IROS 2012. Changes made: a subset '
    "of two frames; depth resampled to a smaller image and back-projected to points; points of the two frames associated; "
    "confidences computed from depth; ground-truth poses interpolated to the depth stamps."
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One depth image of a sequence: full-size depth (H, W) in metres, its stamp, its pose T_WC (8,)."""

    image: tum_files.Stamped
    depth: np.ndarray
    T_WC: np.ndarray


def import_tum(
    folder: Path | str,
    pair: tuple[int | float, int | float],
    size: tuple[int, int],
    kind: Kind = "ray_dist",
    matches: Matching = "projective",
    intrinsics: str | tuple[float, float, float, float] | None = None,
    groundtruth: Path | str | None = None,
    id: str | None = None,
    max_gap_s: float = MAX_GAP_S,
) -> Case:
    """A case of two frames of a sequence: the first of ``pair`` is the keyframe, the second the frame to be tracked.

    ``pair`` are indices into the depth images in order of time (int) or timestamps in seconds (float, nearest within 20 ms).
    ``size`` is (width, height) in pixels: depth is sampled at the nearest pixel, K scaled with c' = (c + 0.5) s - 0.5.
    ``intrinsics`` is "fx,fy,cx,cy", a tuple of these, or a camera (fr1, fr2, fr3); otherwise K.txt or the folder's name tells.
    ``groundtruth`` is a trajectory file; otherwise groundtruth.txt or groundtruth_clip.txt of the folder.

    Confidences come from depth noise: q(z) = 0.03 m / sigma(z) with sigma(z) = 0.0012 + 0.0019 (z - 0.4)^2 (Nguyen et al. 2012)
    and, as upstream, Qk = sqrt(q_f q_k), of which ``valid_opt`` demands more than 1.5. The frame starts at the keyframe's pose.
    Raises ``SourceError`` naming the file and what is wrong with it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(folder, "folder", "no such folder")
    trajectory = tum_files.read_trajectory(Path(groundtruth) if groundtruth is not None else tum_files.find_trajectory(folder))
    images = tum_files.read_images(folder, "depth")
    keyframe, frame = (_frame(folder, images, which, trajectory, max_gap_s) for which in pair)
    if keyframe.depth.shape != frame.depth.shape:
        raise SourceError(frame.image.file, "size", f"is {frame.depth.shape}, the keyframe {keyframe.depth.shape} (height, width)")
    K, origin = tum_files.find_intrinsics(folder, intrinsics, keyframe.depth.shape)
    K_small = scale_intrinsics(K, keyframe.depth.shape, size)
    depth_k, depth_f = (shrink(view, size) for view in (keyframe, frame))
    T_CkCf = poses.compose(poses.inverse(keyframe.T_WC), frame.T_WC)

    versions = {"numpy": np.__version__, "pillow": PIL.__version__}
    if matches == "projective":
        found = association.match_projective(depth_k, depth_f, K_small, T_CkCf)
    else:
        grey_k, grey_f = _greys(folder, images, [keyframe, frame])
        found, versions["opencv"] = features.match_features(frame.image.file, grey_k, grey_f, depth_k, depth_f)
    values = association.tensors(kind, depth_k, depth_f, K_small, found, keyframe.T_WC)
    if values["valid_opt"].sum() < MIN_MATCHES:
        raise SourceError(
            frame.image.file, "matches", f"no overlap: {int(values['valid_opt'].sum())} matches with {keyframe.image.file.name}"
        )

    source = (
        f"{folder.resolve().name}, keyframe {keyframe.image.file.name}, frame {frame.image.file.name}, {size[0]}x{size[1]}, "
        f"{matches} matches, intrinsics: {origin}, poses: {trajectory.file.name}"
    )
    return make_case(
        values,
        id=id or _default_id(folder, pair, kind, matches),
        kind=kind,
        title=f"{folder.resolve().name}: {pair[0]} to {pair[1]}, {matches} matches, {size[0]}x{size[1]}",
        options=OptionsDocument(img_size=(size[1], size[0])) if kind == "calib" else OptionsDocument(),
        truth_T_CkCf=pose_tuple(T_CkCf),
        expect=Expectation(statuses=(Status.CONVERGED,), because=_because(matches, T_CkCf, values)),
        tags=("real", matches),
        provenance=Provenance(source=source, licence=LICENCE, attribution=ATTRIBUTION, versions=versions),
    )


def import_tum_words(
    folder: Path, pair: str, size: str, kind: str = "ray_dist", matches: str = "projective", intrinsics: str | None = None,
    groundtruth: Path | None = None, id: str | None = None,
) -> Case:  # fmt: skip
    """``import_tum`` with the words of a command line: pair ``A:B``, size ``WxH``. Raises ``UsageError`` as well."""
    if kind not in ("ray_dist", "calib"):
        raise UsageError(f"kind must be ray_dist or calib, got {kind!r}")
    if matches not in ("projective", "features"):
        raise UsageError(f"matches must be projective or features, got {matches!r}")
    width_height = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if width_height is None:
        raise UsageError(f"size must be WIDTHxHEIGHT, for example 512x384, got {size!r}")
    which = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?):(\d{1,12}(?:\.\d{1,9})?)", pair)
    if which is None:
        raise UsageError(f"pair must be A:B, two indices or two timestamps, got {pair!r}")
    a, b = (float(word) if "." in word else int(word) for word in which.groups())
    return import_tum(
        folder, (a, b), (int(width_height[1]), int(width_height[2])), "calib" if kind == "calib" else "ray_dist",
        "features" if matches == "features" else "projective", intrinsics, groundtruth, id,
    )  # fmt: skip


def scale_intrinsics(K: np.ndarray, full: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """K (3,3) for an image shrunk from ``full`` (height, width) to ``size`` (width, height)."""
    sx, sy = size[0] / full[1], size[1] / full[0]
    return np.array([[K[0, 0] * sx, 0, (K[0, 2] + 0.5) * sx - 0.5], [0, K[1, 1] * sy, (K[1, 2] + 0.5) * sy - 0.5], [0, 0, 1]])


def shrink(frame: Frame, size: tuple[int, int]) -> np.ndarray:
    """Depth (height, width) of ``size`` (width, height): the full image's pixel nearest to each centre; depth is never averaged."""
    height, width = frame.depth.shape
    if not (1 <= size[0] <= width and 1 <= size[1] <= height and size[0] * size[1] <= MAX_POINTS):
        raise SourceError(frame.image.file, "size", f"cannot make {size[0]}x{size[1]} of an image of {width}x{height}")
    u = (2 * np.arange(size[0]) + 1) * width // (2 * size[0])
    v = (2 * np.arange(size[1]) + 1) * height // (2 * size[1])
    return np.asarray(frame.depth[v[:, None], u[None, :]])


def _frame(
    folder: Path, images: list[tum_files.Stamped], which: int | float, trajectory: tum_files.Trajectory, max_gap_s: float
) -> Frame:
    if isinstance(which, float):
        index = tum_files.nearest(images, which, TOLERANCE_S)
        if index is None:
            raise SourceError(folder / "depth", "pair", f"no depth image within {TOLERANCE_S * 1000:.0f} ms of {which:.6f}")
    elif 0 <= which < len(images):
        index = which
    else:
        raise SourceError(folder / "depth", "pair", f"no depth image {which}: there are {len(images)}, counted from 0")
    image = images[index]
    depth = png.read_depth(image.file, UNITS_PER_METRE)
    if not depth.any():
        raise SourceError(image.file, "depth", "no pixel has depth")
    return Frame(image, depth, trajectory.at(image.stamp, max_gap_s))


def _greys(folder: Path, depths: list[tum_files.Stamped], frames: list[Frame]) -> list[np.ndarray]:
    """The colour images taken with two depth images, as grey values (H, W) of the same size as the depth."""
    colours = tum_files.read_images(folder, "rgb")
    partner = tum_files.associate(depths, colours, TOLERANCE_S)
    greys = []
    for frame in frames:
        index = partner.get(depths.index(frame.image))
        if index is None:
            raise SourceError(
                folder / "rgb", "timestamp", f"no colour image within {TOLERANCE_S * 1000:.0f} ms of {frame.image.file.name}"
            )
        grey = png.read_grey(colours[index].file)
        if grey.shape != frame.depth.shape:
            raise SourceError(colours[index].file, "size", f"is {grey.shape}, its depth image {frame.depth.shape} (height, width)")
        greys.append(grey)
    return greys


def _default_id(folder: Path, pair: tuple[int | float, int | float], kind: str, matches: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-")[:60]
    end = "ray" if kind == "ray_dist" else "calib"
    return f"{name}-{pair[0]}-{pair[1]}-{end}" + ("-features" if matches == "features" else "")


def _because(matches: str, T_CkCf: np.ndarray, values: dict[str, np.ndarray]) -> str:
    degrees = 2 * np.degrees(np.arctan2(np.linalg.norm(T_CkCf[3:6]), abs(T_CkCf[6])))
    metres = np.linalg.norm(T_CkCf[:3])
    share = 100 * values["valid_opt"].mean()
    kept = "by features that no geometry has checked, wrong ones included" if matches == "features" else "under the true pose"
    return (
        f"Real depth, {degrees:.1f} degrees and {100 * metres:.1f} cm apart, {share:.1f} % of the pixels matched {kept}: "
        "every solver must end where the oracle does."
    )
