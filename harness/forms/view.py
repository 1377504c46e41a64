"""A case as a scene for Rerun: both frames' points in the keyframe's camera, before and after each solver, coloured by residual.

rerun-sdk is an optional extra; it is imported when a scene is made, and never torch with it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from harness.case import Case
from harness.compare import is_similarity, pose_matrix, residual_rows, valid_points, whitened
from harness.errors import HarnessError, UsageError
from harness.jsonfile import write_bytes
from harness.outcome import Outcome
from harness.report.text import clean

INSTALL = "harness view needs rerun-sdk, which is not installed: python -m pip install rerun-sdk"
INITIAL = "initial"
_MASKED, _KEYFRAME, _CAMERA = (120, 120, 120), (90, 160, 230), (230, 230, 230)
_LOW, _MIDDLE, _HIGH = np.array([40, 170, 90.0]), np.array([240, 200, 60.0]), np.array([210, 50, 40.0])
_DEPTH_OF_FRUSTUM = 0.25
"""Of the points' median depth."""


def poses(case: Case, outcomes: Sequence[Outcome]) -> dict[str, tuple[float, ...]]:
    """T_CkCf by name: what the solvers began with, and what each came to; those that are no similarity are left out."""
    T_WCk, T_WCf = (case.as_float(name).ravel() for name in ("T_WCk", "T_WCf"))
    found: dict[str, tuple[float, ...]] = {}
    if is_similarity(T_WCk) and is_similarity(T_WCf):
        found[INITIAL] = _pose(np.linalg.inv(pose_matrix(T_WCk)) @ pose_matrix(T_WCf))
    for outcome in outcomes:
        if outcome.case == case.id and outcome.T_CkCf is not None and is_similarity(outcome.T_CkCf):
            found[outcome.solver if outcome.how == "none" else f"{outcome.solver} {outcome.how}"] = outcome.T_CkCf
    if case.document.truth_T_CkCf is not None:
        found["truth"] = case.document.truth_T_CkCf
    return found


def view(case: Case, outcomes: Sequence[Outcome], save: Path | None) -> list[str]:
    """Show the scene, or write it to ``save`` (.rrd). Returns the entity paths that were logged.

    Raises ``UsageError`` for an op case and without rerun-sdk, ``HarnessError`` where the file cannot be written.
    """
    if case.document.kind == "op":
        raise UsageError(f"{case.path or case.id}: kind: an op case has no points to look at")
    rr = _rerun()
    entities = scene(rr, case, poses(case, outcomes))
    recording = rr.RecordingStream("sim3solve_harness")
    # Rerun's own file sink waits for ever where the disk is full, deaf to Ctrl-C, and leaves half a file.
    kept = None if save is None else recording.memory_recording()
    if kept is None:
        recording.spawn()
    for path, archetype in entities.items():
        recording.log(path, archetype, static=True)
    if save is not None and kept is not None:
        try:
            save.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(save, kept.drain_as_bytes())
        except OSError as error:
            raise HarnessError(f"{save}: cannot be written: {error.strerror or error}") from error
    recording.disconnect()  # waits until the viewer has all of it
    return list(entities)


def scene(rr: ModuleType, case: Case, by_name: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Entity path -> what is logged there. Everything is in the keyframe's camera Ck; x right, y down, z forward."""
    Xk, Xf = case.as_float("Xk"), case.as_float("Xf")
    valid = valid_points(case) & np.isfinite(Xk).all(axis=1) & np.isfinite(Xf).all(axis=1)
    depth = float(np.median(np.abs(Xk[valid, 2]))) if valid.any() else 1.0
    corners = _corners(case, Xk[valid], Xf[valid], depth or 1.0)
    entities: dict[str, Any] = {
        "about": rr.TextDocument(_about(case, valid, by_name), media_type="text/markdown"),
        "Ck": rr.ViewCoordinates.RDF,
        "Ck/camera": _frustum(rr, corners, np.eye(4), "Ck"),
        "Ck/Xk/valid": _points(rr, Xk[valid], _KEYFRAME),
        "Ck/Xk/masked": _points(rr, Xk[~valid], _MASKED),
    }
    for name, T in by_name.items():
        M = pose_matrix(T)
        moved = Xf @ M[:3, :3].T + M[:3, 3]
        base = f"Ck/{_entity(name)}"
        size = _sizes(case, T)[valid]
        entities[f"{base}/camera"] = _frustum(rr, corners, M, f"Cf {name}")
        entities[f"{base}/Xf/valid"] = _points(rr, moved[valid], _colours(size, case.options.huber))
        entities[f"{base}/Xf/masked"] = _points(rr, moved[~valid], _MASKED)
    return entities


def _rerun() -> ModuleType:
    try:
        return importlib.import_module("rerun")
    except ImportError:
        raise UsageError(INSTALL) from None


def _pose(M: np.ndarray) -> tuple[float, ...]:
    from scipy.spatial.transform import Rotation

    scale = float(np.cbrt(np.linalg.det(M[:3, :3])))
    return (*M[:3, 3].tolist(), *Rotation.from_matrix(M[:3, :3] / scale).as_quat().tolist(), scale)


def _entity(name: str) -> str:
    """One part of an entity path; Rerun gives slashes, blanks and signs a meaning."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in name) or "_"


def _points(rr: ModuleType, X: np.ndarray, colours: Any) -> Any:
    finite = np.isfinite(X).all(axis=1)
    many = isinstance(colours, np.ndarray)
    return rr.Points3D(X[finite].astype(np.float32), colors=colours[finite] if many else [colours])


def _sizes(case: Case, T: Sequence[float]) -> np.ndarray:
    """(N,) the largest whitened residual of each point; infinite for one that the pose takes out of sight."""
    rows, seen = residual_rows(case, T)
    return np.where(seen, whitened(case, rows).max(axis=1, initial=0.0), np.inf)


def _colours(size: np.ndarray, huber: float) -> np.ndarray:
    """(N,3) uint8: green at no residual, yellow where Huber's loss turns linear, red from three times that."""
    share = np.nan_to_num(size / huber, nan=3.0, posinf=3.0)[:, None]
    low = _LOW + (_MIDDLE - _LOW) * np.clip(share, 0, 1)
    return np.asarray(low + (_HIGH - _MIDDLE) * np.clip((share - 1) / 2, 0, 1)).round().clip(0, 255).astype(np.uint8)


def _corners(case: Case, Xk: np.ndarray, Xf: np.ndarray, depth: float) -> np.ndarray:
    """(4,3) corners of the image at the frustum's depth: from K and the image's size, else as wide as the points are seen."""
    z = _DEPTH_OF_FRUSTUM * depth
    if case.document.kind == "calib" and case.options.img_size is not None:
        K, (height, width) = case.as_float("K"), case.options.img_size
        x, y = ((np.array([0, side]) - K[i, 2]) / K[i, i] for i, side in ((0, width), (1, height)))
    else:
        ahead = np.vstack([Xk, Xf])
        ahead = ahead[ahead[:, 2] > 1e-6 * depth]
        slopes = ahead[:, :2] / ahead[:, 2:] if len(ahead) else np.array([[-0.5, -0.4], [0.5, 0.4]])
        x, y = (np.percentile(slopes[:, i], (1, 99)) for i in (0, 1))
    return z * np.array([[x[0], y[0], 1], [x[1], y[0], 1], [x[1], y[1], 1], [x[0], y[1], 1]])


def _frustum(rr: ModuleType, corners: np.ndarray, M: np.ndarray, label: str) -> Any:
    at = (corners @ M[:3, :3].T + M[:3, 3]).astype(np.float32)
    eye = M[:3, 3].astype(np.float32)
    strips = [np.vstack([at, at[:1]]), *(np.stack([eye, corner]) for corner in at)]
    return rr.LineStrips3D(strips, colors=[_CAMERA] * len(strips), labels=[clean(label)] + [""] * 4)


def _about(case: Case, valid: np.ndarray, by_name: Mapping[str, Sequence[float]]) -> str:
    lines = [f"# {case.id}", "", clean(case.document.title), "", f"{len(valid)} points, {int(valid.sum())} of them valid.", ""]
    lines += [
        "Everything is in the keyframe's camera. Blue: Xk. Xf is drawn at each pose, green where it fits, yellow where a residual",
        f"reaches Huber's {case.options.huber:g} standard deviations, red from three times that. Grey: masked out.", "",
        f"Poses: {', '.join(map(clean, by_name))}.",
    ]  # fmt: skip
    return "\n".join(lines)
