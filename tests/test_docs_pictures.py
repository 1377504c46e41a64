"""The pictures in README.md and docs/index.md: each made by docs/screenshots.py, of what it is said to show, whole and small."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pictures_run as pictures
import pytest
import report_run as made
import sanitizer_recordings as recorded
from PIL import Image

from harness.jsonfile import write_json
from harness.outcome import Kind
from harness.report.write import write_report
from harness.run import OUTCOMES

ROOT = Path(__file__).parent.parent
BY_BENCHMARK = {"speed.png"}
PAGES = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/index.md"))
SHOWN = re.findall(r"\((?:docs/)?([\w-]+\.png)\)", PAGES)


def script() -> Any:
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "docs" / "screenshots.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_of_these_pages_is_made_by_a_script_and_is_small() -> None:
    screenshots = script()
    assert set(SHOWN) == set(screenshots.PICTURES) | BY_BENCHMARK
    for name in SHOWN:
        file = ROOT / "docs" / name
        assert file.stat().st_size <= screenshots.MOST_BYTES, name
        assert Image.open(file).width >= 800


def test_its_help_says_what_it_does() -> None:
    shown = subprocess.run([sys.executable, "docs/screenshots.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--out" in shown.stdout and "pictures of the report" in shown.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run as the script's, but made up: a healthy solver, and a fault that was recorded."""
    real = recorded.read(recorded.VERSIONS[0], "memcheck-misaligned_read")[0].findings
    bad = made.outcome(
        pictures.RAY, "bad.py:make", Kind.FINDINGS, tool="asan", stage="solving", expected=False, findings=tuple(real)
    )
    run = pictures.write(tmp_path_factory.mktemp("shots") / "run", [pictures.oracle(pictures.RAY)])
    write_json(run.folder / OUTCOMES / "bad.json", bad.to_json())
    return write_report(run.folder)


@pytest.mark.parametrize("name", ["report.png", "report-dark.png", "fault.png", "pictures.png"])
def test_a_picture_holds_the_whole_of_what_it_names(browser: Any, page: Path, tmp_path: Path, name: str) -> None:
    screenshots = script()
    _, colours, elements = screenshots.PICTURES[name]
    image = screenshots.photograph(browser, page, colours, elements)
    assert screenshots.save(image, tmp_path / name) <= screenshots.MOST_BYTES
    pixels = np.asarray(image).astype(int)
    assert (pixels.mean() < 90) == (colours == "dark")
    end = pixels[-screenshots.MARGIN - 40 : -screenshots.MARGIN]
    assert np.abs(end - end[0, 0]).max() > 40  # it ends with something, and not in the middle of the page's ground
    if name == "pictures.png":
        view = pixels[-460:-60, 100:700]  # of the points in three dimensions
        assert (np.abs(view - view[2, 2]).max(axis=2) > 30).mean() > 0.02


def test_what_it_replays_is_there() -> None:
    screenshots = script()
    assert all((ROOT / "cases" / case / "case.json").is_file() for case in screenshots.CASES)
    file, _, factory = screenshots.PLANTED.partition(":")
    assert f"\n{factory} = " in (ROOT / file).read_text(encoding="utf-8")
