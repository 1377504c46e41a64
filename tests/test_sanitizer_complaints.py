"""What the tool complains of, known or not, is never passed over; and the states that no machine at hand shows, by stand-ins.

The sentences about devices and about Windows' debugger interface are in the tool's programs; no recording has them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sanitizer_recordings as recordings

from harness.sanitizer import records, state, text
from harness.sanitizer.state import Child, Ending

DEVICE = 'Error: Device not supported. Please refer to the "Supported Devices" section of the sanitizer documentation'
WDDM = "Error: Failed to initialize WDDM debugger interface"
COMPLAINTS = [
    "Error: CUDA Dynamic Parallelism is not supported by the selected tool", "Error: a sentence that nobody has seen yet",
    "Warning: another one", "Internal Sanitizer Error 7", "Error buffer overflow has been detected. Some records have been dropped",
    "Fatal UVM debugger error", "Internal error encountered", WDDM,
]  # fmt: skip
HARMLESS = ["COMPUTE-SANITIZER", "Errors are what this line speaks of", "Saved host backtrace up to driver entry point"]


def with_line(tmp_path: Path, name: str, line: str, version: str) -> state.State:
    """A recorded run, with a line more in its text before the footer."""
    place = recordings.folder(version) / name
    tool = name.split("-")[0]
    lines = (place / "sanitizer.txt").read_text().splitlines()
    footer = next(i for i, it in enumerate(lines) if "SUMMARY" in it)
    (tmp_path / "t").write_text("\n".join([*lines[:footer], f"========= {line}", *lines[footer:]]) + "\n")
    log = text.read(tmp_path / "t", tool)
    found = records.read(place / "sanitizer.xml", tool, (), log.nearest)
    return state.decide(
        tool, found, log, Child(True, True, ("healthy",)), Ending(recordings.ended(version, name)["code"], False, 60.0)
    )


@pytest.mark.parametrize("version", recordings.VERSIONS)
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
@pytest.mark.parametrize("line", COMPLAINTS)
def test_a_complaint_is_a_failure_and_is_quoted(tmp_path: Path, version: str, tool: str, line: str) -> None:
    found = with_line(tmp_path, f"{tool}-healthy", line, version)
    assert found.word == "tool failed" and line in found.reason


@pytest.mark.parametrize("version", recordings.VERSIONS)
@pytest.mark.parametrize("line", HARMLESS)
def test_what_is_no_complaint_is_none(tmp_path: Path, version: str, line: str) -> None:
    assert with_line(tmp_path, "memcheck-healthy", line, version).word == "clean"


@pytest.mark.parametrize("version", recordings.VERSIONS)
@pytest.mark.parametrize("name", ["racecheck-race", "racecheck-race-analysis", "racecheck-race_of_writers"])
def test_the_words_of_a_record_are_no_complaint(version: str, name: str) -> None:
    _, log = recordings.read(version, name)
    assert log.failures == () and not any("says" in note for note in recordings.decide(version, name).notes)


def test_beside_findings_a_complaint_is_a_note(tmp_path: Path) -> None:
    found = with_line(tmp_path, "memcheck-misaligned_read", COMPLAINTS[4], recordings.VERSIONS[1])
    assert found.word == "findings" and f"memcheck says: {COMPLAINTS[4]}" in found.notes


@pytest.mark.parametrize("version", recordings.VERSIONS)
@pytest.mark.parametrize("line", [DEVICE, "Error: The operation is not supported on the current system or device"])
def test_an_unsupported_device_is_its_own_state(tmp_path: Path, version: str, line: str) -> None:
    """Whatever else is there, a result of the child's and a footer of zero included."""
    found = with_line(tmp_path, "memcheck-healthy", line, version)
    assert found.word == "unsupported" and line in found.reason


def test_the_child_may_print_what_it_likes(tmp_path: Path) -> None:
    """Its stderr is the tool's, too: of that only what begins as the tool's lines do is looked at, and for known phrases."""
    place = recordings.folder(recordings.VERSIONS[1]) / "memcheck-healthy"
    (tmp_path / "stderr").write_text("Error: my own\nWarning: mine too\nInternal error of nobody\n")
    assert text.read(place / "sanitizer.txt", "memcheck", tmp_path / "stderr").failures == ()
