"""What the errors say that a user can mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import os_reason

ROOT = str(Path("/").absolute())  # on Windows with its drive


@pytest.mark.parametrize(("characters", "named"), [(100, False), (240, False), (248, True), (300, True)])
def test_the_length_of_a_path_that_windows_does_not_find(characters, named):
    """Windows calls a path that is too long one that is not there."""
    path = ROOT + "x" * (characters - len(ROOT))
    error = FileNotFoundError(2, "The system cannot find the path specified", path)
    said = os_reason(error, windows=True)
    assert said.startswith("The system cannot find the path specified")
    assert (f"{characters} characters" in said and "docs/windows.md" in said) is named
    assert os_reason(error, windows=False) == "The system cannot find the path specified"


def test_the_longer_of_two_names_counts():
    error = OSError(2, "not found", "short", None, ROOT + "x" * (300 - len(ROOT)))
    assert "300 characters" in os_reason(error, windows=True)
    assert os_reason(OSError("no words"), windows=True) == "no words"
