"""What the TUM importer refuses, each by file and reason, and the words it takes from a command line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tum_sequence import STEP_S, T0

from harness.errors import SourceError, UsageError
from harness.importers import png
from harness.importers.tum import import_tum, import_tum_words

SMALL = (64, 48)


# --- what is refused, by name ----------------------------------------------------------------------------------------------------


def replace_row(file: Path, row: int, text: str) -> None:
    lines = file.read_text().splitlines()
    lines[row] = text
    file.write_text("\n".join(lines) + "\n")


def edit_png(file: Path, at: int, data: bytes) -> None:
    raw = bytearray(file.read_bytes())
    raw[at : at + len(data)] = data
    file.write_bytes(raw)


def first_depth(folder: Path) -> Path:
    return folder / "depth" / f"{T0:.6f}.png"


def spoil_quaternion(folder: Path) -> None:
    replace_row(folder / "groundtruth.txt", 4, f"{T0} 0 0 0 0 0 0 0")


def cut_gap(folder: Path) -> None:
    file = folder / "groundtruth.txt"
    rows = file.read_text().splitlines()
    file.write_text("\n".join(row for row in rows if row.startswith("#") or abs(float(row.split()[0]) - T0) > 0.06) + "\n")


def end_early(folder: Path) -> None:
    file = folder / "groundtruth.txt"
    rows = file.read_text().splitlines()
    file.write_text("\n".join(row for row in rows if row.startswith("#") or float(row.split()[0]) < T0 + 0.02) + "\n")


def turn_away(folder: Path) -> None:
    """Say that the last frames look the other way."""
    file = folder / "groundtruth.txt"
    rows = [line.split() for line in file.read_text().splitlines()[1:]]
    file.write_text("\n".join(" ".join([*r[:4], "0", "1", "0", "0"]) if float(r[0]) > T0 + 0.05 else " ".join(r) for r in rows))


SPOILS = {
    "no ground truth": (lambda f: (f / "groundtruth.txt").unlink(), "groundtruth.txt", "no such file"),
    "empty ground truth": (lambda f: (f / "groundtruth.txt").write_text("# none\n"), "groundtruth.txt", "holds no pose"),
    "NaN pose": (lambda f: replace_row(f / "groundtruth.txt", 4, f"{T0} nan 0 0 0 0 0 1"), "groundtruth.txt", "line 5"),
    "zero quaternion": (spoil_quaternion, "groundtruth.txt", "quaternion is zero"),
    "short pose row": (lambda f: replace_row(f / "groundtruth.txt", 4, f"{T0} 1 2 3"), "groundtruth.txt", "must hold 8 numbers"),
    "word for a number": (lambda f: replace_row(f / "groundtruth.txt", 4, f"{T0} x 0 0 0 0 0 1"), "groundtruth.txt", "line 5"),
    "not text": (lambda f: (f / "groundtruth.txt").write_bytes(b"\xff\xfe\x00\x01"), "groundtruth.txt", "not UTF-8"),
    "gap in the poses": (cut_gap, "groundtruth.txt", "gap of 0.1"),
    "poses end early": (end_early, "groundtruth.txt", "no pose round"),
    "frames look apart": (turn_away, f"{T0 + 2 * STEP_S:.6f}.png", "no overlap"),
    "empty depth list": (lambda f: (f / "depth.txt").write_text("# none\n"), "depth.txt", "lists no image"),
    "no depth at all": (lambda f: [shutil.rmtree(f / "depth"), (f / "depth.txt").unlink()], "depth.txt", "named by a timestamp"),
    "bad depth row": (lambda f: replace_row(f / "depth.txt", 2, f"{T0}"), "depth.txt", "line 3"),
    "bad depth stamp": (lambda f: replace_row(f / "depth.txt", 2, "soon depth/x.png"), "depth.txt", "line 3"),
    "path outside": (lambda f: replace_row(f / "depth.txt", 2, f"{T0} ../../etc/x.png"), "depth.txt", "outside"),
    "absolute path": (lambda f: replace_row(f / "depth.txt", 2, f"{T0} /etc/x.png"), "depth.txt", "outside"),
    "drive path": (lambda f: replace_row(f / "depth.txt", 2, f"{T0} C:/x.png"), "depth.txt", "outside"),
    "depth file gone": (lambda f: first_depth(f).unlink(), f"{T0:.6f}.png", "no such file"),
    "depth is no PNG": (lambda f: first_depth(f).write_bytes(b"JFIF" * 20), f"{T0:.6f}.png", "not a PNG"),
    "depth cut short": (lambda f: first_depth(f).write_bytes(first_depth(f).read_bytes()[:900]), f"{T0:.6f}.png", "image"),
    "depth of 8 bits": (lambda f: Image.new("L", (320, 240), 9).save(first_depth(f)), f"{T0:.6f}.png", "16-bit greyscale"),
    "depth in colour": (lambda f: Image.new("RGB", (320, 240)).save(first_depth(f)), f"{T0:.6f}.png", "16-bit greyscale"),
    "huge PNG": (lambda f: edit_png(first_depth(f), 16, (60000).to_bytes(4, "big") * 2), f"{T0:.6f}.png", "60000 x 60000"),
    "sizes differ": (lambda f: Image.fromarray(np.ones((60, 80), np.uint16)).save(first_depth(f)), "png", "(60, 80)"),
    "no depth measured": (lambda f: Image.fromarray(np.zeros((240, 320), np.uint16)).save(first_depth(f)), "png", "no pixel"),
    "no intrinsics": (lambda f: (f / "K.txt").unlink(), "K.txt", "give fx,fy,cx,cy"),
    "K of two rows": (lambda f: (f / "K.txt").write_text("1 0 1\n0 1 1\n"), "K.txt", "3 rows"),
    "K of words": (lambda f: (f / "K.txt").write_text("a b c\n0 1 1\n0 0 1\n"), "K.txt", "line 1"),
    "K with skew": (lambda f: (f / "K.txt").write_text("100 5 50\n0 100 50\n0 0 1\n"), "K.txt", "without skew"),
    "K of zeros": (lambda f: (f / "K.txt").write_text("0 0 50\n0 100 50\n0 0 1\n"), "K.txt", "focal"),
}


@pytest.mark.parametrize("what", SPOILS)
def test_a_spoilt_sequence_is_named(sequence, what):
    spoil, file, reason = SPOILS[what]
    spoil(sequence)
    with pytest.raises(SourceError) as caught:
        import_tum(sequence, (0, 2), SMALL)
    assert file in caught.value.file
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"pair": (0, 5)}, "no depth image 5: there are 5"),
        ({"pair": (-1, 0)}, "no depth image -1"),
        ({"pair": (0, T0 + 1.0)}, "within 20 ms"),
        ({"size": (640, 480)}, "cannot make 640x480 of an image of 320x240"),
        ({"size": (0, 10)}, "cannot make 0x10"),
        ({"intrinsics": "1,2,3"}, "must be fx,fy,cx,cy"),
        ({"intrinsics": "fr9"}, "must be fx,fy,cx,cy"),
        ({"intrinsics": "fr1"}, "for 640x480, the images are 320x240"),
        ({"intrinsics": "nan,1,2,3"}, "finite"),
        ({"groundtruth": "/nowhere/path.txt"}, "no such file"),
        ({"folder": "/nowhere"}, "no such folder"),
    ],
)
def test_a_wrong_argument_is_named(made, arguments, reason):
    given = {"folder": made, "pair": (0, 2), "size": SMALL} | arguments
    with pytest.raises(SourceError, match=reason):
        import_tum(**given)


def test_colour_images_are_checked(sequence):
    pytest.importorskip("cv2", reason="needs the extra 'features'")
    colour = sequence / "rgb" / f"{T0 - 0.012:.6f}.png"
    Image.new("RGB", (100, 100)).save(colour)
    with pytest.raises(SourceError, match=r"\(100, 100\), its depth image \(240, 320\)"):
        import_tum(sequence, (0, 2), SMALL, matches="features")
    Image.new("RGB", (320, 240)).save(colour)
    with pytest.raises(SourceError, match="too little texture"):
        import_tum(sequence, (0, 2), SMALL, matches="features")
    replace_row(sequence / "rgb.txt", 1, f"{T0 - 0.3} rgb/{colour.name}")
    with pytest.raises(SourceError, match="no colour image within 20 ms"):
        import_tum(sequence, (0, 2), SMALL, matches="features")


def test_features_without_opencv_say_how_to_get_it(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SourceError, match=r"pip install 'sim3solve\[features\]'"):
        import_tum(made, (0, 2), SMALL, matches="features")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 4000), byte=st.integers(0, 255), cut=st.integers(0, 6000))
def test_a_damaged_png_is_read_or_refused(made, tmp_path, at, byte, cut):
    raw = bytearray(first_depth(made).read_bytes())
    raw[min(at, len(raw) - 1)] = byte
    file = tmp_path / "damaged.png"
    file.write_bytes(raw[: max(0, len(raw) - max(0, cut - 3000))])
    try:
        depth = png.read_depth(file, 5000.0)
    except SourceError as error:
        assert error.file == str(file)
    else:
        assert depth.shape == (240, 320)


# --- the words of the command line -----------------------------------------------------------------------------------------------


def test_words_mean_the_same(made):
    by_words = import_tum_words(made, "0:2", "64x48", kind="calib", intrinsics="262,261,158.3,121.7")
    assert by_words.document.tensors_sha256 == import_tum(made, (0, 2), SMALL, "calib").document.tensors_sha256
    stamps = f"{T0:.6f}:{T0 + 2 * STEP_S:.6f}"
    assert import_tum_words(made, stamps, "64x48", kind="calib").document.tensors_sha256 == by_words.document.tensors_sha256


@pytest.mark.parametrize(
    "wrong",
    [
        {"pair": "0"},
        {"pair": "a:b"},
        {"pair": "-1:2"},
        {"size": "64"},
        {"size": "64x"},
        {"kind": "rays"},
        {"matches": "guess"},
    ],
)
def test_words_that_mean_nothing(made, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        import_tum_words(**({"folder": made, "pair": "0:2", "size": "64x48"} | wrong))
