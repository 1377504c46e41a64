"""Fixtures that several files of tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from case_factory import make_case
from hostile_case import FULL
from tum_sequence import write_sequence

from harness.case import Case
from harness.casefile import write_case

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # where it is set, each of the hundreds of children would compile the harness anew


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A case on disk with most optional fields set. Tests change copies of it."""
    return write_case(make_case(**FULL), tmp_path_factory.mktemp("original") / "c")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for hostile things, one for a file of tests: making one for each takes longer than the test."""
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fsync: what survives a power cut is not at issue in the test."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TUM RGB-D sequence; not to be changed."""
    return write_sequence(tmp_path_factory.mktemp("tum") / "rgbd_made")


@pytest.fixture
def sequence(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "rgbd_made"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium: the system's, or the one that Playwright installed for itself."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the extra test")
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"needs Chromium: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture
def quiet_page(browser: Any) -> Iterator[Any]:
    """A page of its own; afterwards nothing may have been said on its console, and nothing asked for but files and data."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    said: list[str] = []

    def allow_local(route: Any) -> None:
        if route.request.url.startswith(("file:", "data:")):
            route.continue_()
        else:
            said.append(route.request.url)
            route.abort()

    context.route("**/*", allow_local)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []
