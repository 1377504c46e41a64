"""Make the pictures of the report in docs/: ``python docs/screenshots.py``. Needs Playwright and a Chromium, as the tests do.

A solver with a fault planted on purpose (tests/specimens/on_cpu.py, which reads one float past the end of ``Xf``) is really
replayed beside two healthy ones, and the report of that run is photographed part by part: nothing in the pictures is made up, and a
picture that a change of the report has left behind is made again by one command.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CASES = ("real-fr1-desk-0-8-ray", "real-fr1-rpy-0-2-ray", "synthetic-room-ray")
PLANTED = "tests/specimens/on_cpu.py:past_the_end"
WIDTH = 1200
MOST_BYTES = 300_000
MARGIN = 12

# What is photographed: the elements from the first to the last, whatever is between them.
TO_THE_MATRIX = ("header", "section[aria-labelledby=matrix]")
THE_FAULT = ("article.failure h3", "article.failure .finding")
THE_CASE = ("details.pictures .pic-case", "details.pictures .pic-case")
PICTURES: dict[str, tuple[str, str, tuple[str, str]]] = {
    "report.png": ("exact", "light", TO_THE_MATRIX),
    "report-dark.png": ("exact", "dark", TO_THE_MATRIX),
    "fault.png": ("asan", "light", THE_FAULT),
    "pictures.png": ("exact", "light", THE_CASE),
}
"""File -> (run, colours, elements). A run is named after how the planted fault is brought to light in it."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the report in docs/ from real runs.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where they go (default: docs)")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        pages = {"exact": replay(Path(folder) / "exact", *healthy(), "--memory", "pool", "--memory", "exact"),
                 "asan": replay(Path(folder) / "asan", "--tool", "asan", cases=CASES[:1])}  # fmt: skip
        with chromium() as browser:
            for name, (run, colours, elements) in PICTURES.items():
                image = photograph(browser, pages[run], colours, elements)
                size = save(image, out / name)
                print(f"{out / name}: {image.width} x {image.height}, {size} bytes")  # noqa: T201


def healthy() -> list[str]:
    return [word for name in ("native", "torch") for word in ("--solver", name)]


def replay(out: Path, *words: str, cases: tuple[str, ...] = CASES) -> Path:
    """The page of a run of the planted solver; exit code 1, for it fails."""
    argv = [sys.executable, "-m", "harness", "replay", *(f"cases/{case}" for case in cases), *words, "--solver", PLANTED]
    done = subprocess.run([*argv, "--jobs", "2", "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 1:
        raise SystemExit(f"the planted fault was not found (exit code {done.returncode}):\n{done.stdout}{done.stderr}")
    return out / "latest" / "index.html"


def chromium() -> Any:
    """As a context; the system's browser, or the one that Playwright installed for itself."""
    from contextlib import contextmanager

    from playwright.sync_api import sync_playwright

    @contextmanager
    def opened() -> Any:
        found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            yield browser
            browser.close()

    return opened()


def photograph(browser: Any, page: Path, colours: str, elements: tuple[str, str]) -> Image.Image:
    """From the top of the first element to the bottom of the second, with a margin."""
    context = browser.new_context(viewport={"width": WIDTH, "height": 1000}, color_scheme=colours)
    tab = context.new_page()
    tab.goto(page.resolve().as_uri())
    first, last = (tab.locator(name).first for name in elements)
    tab.evaluate("document.querySelectorAll('.keys').forEach((it) => it.remove())")  # of no use in a picture
    last.evaluate("it => { for (let up = it; up; up = up.parentElement) if ('open' in up) up.open = true; }")
    settle(tab, last)
    boxes = [it.bounding_box() for it in (first, last)]
    top, bottom = min(it["y"] for it in boxes) - MARGIN, max(it["y"] + it["height"] for it in boxes) + MARGIN
    left, right = min(it["x"] for it in boxes) - MARGIN, max(it["x"] + it["width"] for it in boxes) + MARGIN
    clip = {"x": max(left, 0), "y": max(top, 0), "width": min(right, WIDTH) - max(left, 0), "height": bottom - max(top, 0)}
    shot = tab.screenshot(clip=clip)
    context.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def settle(tab: Any, element: Any) -> None:
    """In a window as tall as the page, for points in three dimensions are drawn only in sight; until they are."""
    tab.set_viewport_size({"width": WIDTH, "height": tab.evaluate("document.documentElement.scrollHeight")})
    for figure in element.locator("figure.pic-3d").all():
        tab.wait_for_function("figure => figure.dataset.view", arg=figure.element_handle())
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def save(image: Image.Image, file: Path) -> int:
    """As a PNG that is as small as the README wants it, and no smaller. Returns its bytes."""
    smaller: list[Callable[[], Image.Image]] = [
        lambda: image,
        lambda: image.quantize(256, kmeans=4, dither=Image.Dither.NONE),
        lambda: image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS).quantize(128),
    ]
    for made in smaller:
        data = io.BytesIO()
        made().save(data, "PNG", optimize=True)
        if len(data.getvalue()) <= MOST_BYTES:
            break
    file.write_bytes(data.getvalue())
    return len(data.getvalue())


if __name__ == "__main__":
    main()
