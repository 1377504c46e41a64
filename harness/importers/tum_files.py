"""The text files of a TUM RGB-D sequence: image lists, trajectory, intrinsics. Errors are ``SourceError`` naming file and line."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from harness.errors import SourceError
from harness.importers import poses

MAX_TEXT_BYTES = 1 << 26
CAMERAS = {
    "fr1": (517.3, 516.5, 318.6, 255.3),
    "fr2": (520.9, 521.0, 325.1, 249.7),
    "fr3": (535.4, 539.2, 320.1, 247.6),
}
"""fx fy cx cy in pixels of 640 x 480, as the benchmark publishes them for the colour cameras (depth is registered to them)."""
PUBLISHED_SHAPE = (480, 640)


@dataclass(frozen=True)
class Stamped:
    """An image and when it was taken, in seconds."""

    stamp: float
    file: Path


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Camera-to-world poses T_WC (M,8) at sorted stamps (M,), from one file."""

    file: Path
    stamps: np.ndarray
    T_WC: np.ndarray

    def at(self, stamp: float, max_gap_s: float) -> np.ndarray:
        """The pose (8,) at a stamp, interpolated between the poses round it, which may lie ``max_gap_s`` apart at most."""
        after = int(np.searchsorted(self.stamps, stamp))
        if after < len(self.stamps) and self.stamps[after] == stamp:
            return np.asarray(self.T_WC[after])
        if not 0 < after < len(self.stamps):
            nearest = self.stamps[min(after, len(self.stamps) - 1)]
            raise SourceError(self.file, "timestamp", f"no pose round {stamp:.6f}: the trajectory's nearest end is {nearest:.6f}")
        before_s, after_s = self.stamps[after - 1], self.stamps[after]
        if after_s - before_s > max_gap_s:
            raise SourceError(
                self.file, "timestamp", f"a gap of {after_s - before_s:.3f} s round {stamp:.6f}; the limit is {max_gap_s:g} s"
            )
        return poses.interpolate(self.T_WC[after - 1], self.T_WC[after], float((stamp - before_s) / (after_s - before_s)))


def read_images(folder: Path, name: str) -> list[Stamped]:
    """``depth`` or ``rgb`` images in order of time: from NAME.txt, or NAME/*.png named by stamps where there is none."""
    listing = folder / f"{name}.txt"
    images = _listed(folder, listing) if listing.is_file() else _named(folder / name)
    if not images:
        raise (
            SourceError(listing, "rows", "lists no image")
            if listing.is_file()
            else SourceError(listing, "file", f"no such file, and no PNG in {folder / name} is named by a timestamp")
        )
    images.sort(key=lambda image: image.stamp)
    return images


def nearest(images: list[Stamped], stamp: float, tolerance_s: float) -> int | None:
    """The index of the image nearest in time, or None when it is further than the tolerance."""
    after = bisect_left(images, stamp, key=lambda image: image.stamp)
    best = min((i for i in (after - 1, after) if 0 <= i < len(images)), key=lambda i: abs(images[i].stamp - stamp), default=None)
    return best if best is not None and abs(images[best].stamp - stamp) <= tolerance_s else None


def associate(a: list[Stamped], b: list[Stamped], tolerance_s: float) -> dict[int, int]:
    """Index in ``a`` -> index in ``b``, each image used once, the closest stamps first (as the benchmark's own associate.py)."""
    stamps = [image.stamp for image in b]
    close = []
    for i, image in enumerate(a):
        first, last = bisect_left(stamps, image.stamp - tolerance_s), bisect_right(stamps, image.stamp + tolerance_s)
        close += [(abs(stamps[j] - image.stamp), i, j) for j in range(first, last)]
    found: dict[int, int] = {}
    taken = set()
    for _, i, j in sorted(close):
        if i not in found and j not in taken:
            found[i] = j
            taken.add(j)
    return found


def read_trajectory(file: Path) -> Trajectory:
    """Rows of ``timestamp tx ty tz qx qy qz qw``, metres, camera to world."""
    stamps, rows = [], []
    for number, words in _rows(file):
        values = _numbers(file, f"line {number}", words, 8)
        if not any(values[4:]):
            raise SourceError(file, f"line {number}", "the quaternion is zero")
        stamps.append(values[0])
        rows.append(poses.pose(values[1:4], values[4:8]))
    if not rows:
        raise SourceError(file, "rows", "holds no pose")
    order = np.argsort(stamps, kind="stable")
    return Trajectory(file, np.array(stamps)[order], np.array(rows)[order])


def find_trajectory(folder: Path) -> Path:
    """groundtruth.txt, or groundtruth_clip.txt (a stretch of it) where there is none."""
    names = ("groundtruth.txt", "groundtruth_clip.txt")
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise SourceError(folder / names[0], "file", f"no such file, nor {names[1]}: a case needs the true pose")
    return found


def find_intrinsics(
    folder: Path, given: str | tuple[float, float, float, float] | None, full: tuple[int, ...] = PUBLISHED_SHAPE
) -> tuple[np.ndarray, str]:
    """K (3,3) in pixels of the full image, and where it is from: as given, else K.txt, else the camera in the folder's name.

    ``full`` is the image's (height, width); published values only fit the published size.
    """
    if isinstance(given, str) and given in CAMERAS:
        return _published(folder, given, full), f"published values of {given}"
    if given is not None:
        return _given(folder, given), "given as fx,fy,cx,cy"
    file = folder / "K.txt"
    if file.is_file():
        rows = [_numbers(file, f"line {number}", words, 3) for number, words in _rows(file)]
        if len(rows) != 3:
            raise SourceError(file, "rows", f"a 3 x 3 matrix has 3 rows, got {len(rows)}")
        return _checked(file, np.array(rows)), "K.txt"
    camera = re.search(r"fr(?:eiburg)?([123])(?!\d)", folder.resolve().name)
    if camera is None:
        names = ", ".join(CAMERAS)
        raise SourceError(file, "file", f"no such file, and the folder's name tells no camera: give fx,fy,cx,cy or one of {names}")
    name = f"fr{camera[1]}"
    return _published(folder, name, full), f"published values of {name}, from the folder's name"


def _published(folder: Path, name: str, full: tuple[int, ...]) -> np.ndarray:
    if full != PUBLISHED_SHAPE:
        raise SourceError(
            folder, "intrinsics", f"those of {name} are for 640x480, the images are {full[1]}x{full[0]}: give fx,fy,cx,cy"
        )
    return _matrix(CAMERAS[name])


def _given(folder: Path, given: str | tuple[float, float, float, float]) -> np.ndarray:
    values = given.split(",") if isinstance(given, str) else given
    try:
        fx, fy, cx, cy = (float(x) for x in values)
    except ValueError:
        raise SourceError(folder, "intrinsics", f"must be fx,fy,cx,cy or one of {', '.join(CAMERAS)}, got {given!r}") from None
    return _checked(folder, _matrix((fx, fy, cx, cy)))


def _matrix(values: tuple[float, float, float, float]) -> np.ndarray:
    fx, fy, cx, cy = values
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _checked(file: Path, K: np.ndarray) -> np.ndarray:
    plain = K[0, 1] == K[1, 0] == K[2, 0] == K[2, 1] == 0 and K[2, 2] == 1
    if not (np.isfinite(K).all() and plain and K[0, 0] > 0 and K[1, 1] > 0):
        raise SourceError(file, "intrinsics", "must be a finite pinhole matrix without skew, focal lengths above 0, last row 0 0 1")
    return K


def _listed(folder: Path, listing: Path) -> list[Stamped]:
    images = []
    for number, words in _rows(listing):
        if len(words) != 2:
            raise SourceError(listing, f"line {number}", f"must be a timestamp and a file, got {len(words)} words")
        stamp = _numbers(listing, f"line {number}", words[:1], 1)[0]
        path = PurePosixPath(words[1])
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(words[1]).drive:
            raise SourceError(listing, f"line {number}", f"{words[1]!r} points outside the sequence")
        images.append(Stamped(stamp, folder / path))
    return images


def _named(folder: Path) -> list[Stamped]:
    stamps = re.compile(r"\d+(\.\d+)?")
    return [Stamped(float(file.stem), file) for file in folder.glob("*.png") if stamps.fullmatch(file.stem)]


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """(line number, words) of every line that is neither empty nor a comment."""
    try:
        if not file.is_file():
            raise SourceError(file, "file", "no such file")
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise SourceError(file, "file", f"has {file.stat().st_size} bytes; the limit is {MAX_TEXT_BYTES}")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(file, "file", error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise SourceError(file, "text", f"is not UTF-8: {error.reason} at byte {error.start}") from None
    lines = ((number, line.split()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, words) for number, words in lines if words and not words[0].startswith("#")]


def _numbers(file: Path, field: str, words: list[str], count: int) -> list[float]:
    if len(words) != count:
        raise SourceError(file, field, f"must hold {count} numbers, got {len(words)} words")
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise SourceError(file, field, str(error)) from None
    if not all(math.isfinite(x) for x in values):
        raise SourceError(file, field, f"holds a number that is not finite: {' '.join(words)}")
    return values
