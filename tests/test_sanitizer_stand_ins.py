"""From --tool to the outcome for what no recording holds: recordings with other words in them, played back by the stand-in."""

from __future__ import annotations

import json
import shutil

import pytest
import sanitizer_recordings as recordings
import test_sanitizer_wiring as wiring
from test_sanitizer_complaints import DEVICE, WDDM

from harness.outcome import Kind

OLD, NEW = recordings.VERSIONS
pytestmark = wiring.pytestmark
fake, run = wiring.fake, wiring.run


@pytest.mark.parametrize(("line", "kind", "state", "says"), [
    (DEVICE, Kind.UNAVAILABLE, "unsupported", "memcheck does not support this device: Error: Device not supported"),
    (WDDM, Kind.INCONCLUSIVE, "tool failed", "WDDM debugger interface; see docs/sanitizers.md for the setting it needs"),
])  # fmt: skip
def test_what_could_not_be_recorded(fake, run, monkeypatch, tmp_path, line, kind, state, says):
    """The sentence of the tool's program in a recording of a healthy run."""
    recorded = recordings.folder(NEW)
    shutil.copytree(recorded / "memcheck-solver-cuda", tmp_path / "stand-in" / "run")
    shutil.copyfile(recorded / "about.json", tmp_path / "stand-in" / "about.json")
    said = tmp_path / "stand-in" / "run" / "sanitizer.txt"
    said.write_text(said.read_text().replace("\n", f"\n========= {line}\n", 1))
    monkeypatch.setenv("FAKE_RECORDING", str(tmp_path / "stand-in" / "run"))
    outcome = run("memcheck")
    assert (outcome.kind, outcome.tool_state) == (kind, state) and says in outcome.reason


@pytest.fixture
def crowded(fake, monkeypatch, tmp_path):
    """A run whose launches came to the limit of records, as NEW writes it; ``then`` is what a start without a list leaves."""

    def play(then: str) -> None:
        recorded = recordings.folder(NEW)
        shutil.copytree(recorded / "memcheck-solver-cuda", tmp_path / "stand-in" / "run", dirs_exist_ok=True)
        shutil.copyfile(recorded / "about.json", tmp_path / "stand-in" / "about.json")
        said = tmp_path / "stand-in" / "run" / "sanitizer.txt"
        more = "ERROR SUMMARY: 12001 errors\n========= ERROR SUMMARY: 12000 errors were not printed. Use --print-limit option"
        said.write_text((recorded / "memcheck-solver-cuda" / "sanitizer.txt").read_text().replace("ERROR SUMMARY: 1 error", more))
        monkeypatch.setenv("FAKE_RECORDING", str(tmp_path / "stand-in" / "run"))
        monkeypatch.setenv("FAKE_UNLISTED", str(recordings.folder(OLD) / then))

    return play


def test_a_solver_with_more_launches_than_records_is_run_again_without_their_list(crowded, run, tmp_path):
    crowded("memcheck-solver-cuda")
    outcome = run("memcheck")
    assert (outcome.kind, outcome.tool_state) == (Kind.OK, "clean"), outcome.reason
    assert outcome.values["watched_by"]["launched"] == ["solve_ray_dist"] and "crowded" not in outcome.values["watched_by"]
    assert outcome.notes == ("run twice under memcheck: the first time its launches filled the records",)
    assert "--dump-kernel-launches" not in json.loads((tmp_path / "job" / "started.json").read_text())["argv"]


def test_what_is_found_without_the_list_is_found(crowded, run):
    crowded("memcheck-misaligned_read")
    outcome = run("memcheck")
    assert (outcome.kind, outcome.tool_state, outcome.findings[0]["kind"]) == (Kind.FINDINGS, "findings", "misaligned")


def test_a_crowded_run_that_launched_nothing_of_the_solvers_stays_what_it_is(crowded, run, tmp_path):
    crowded("memcheck-solver-cuda")
    outcome = run("memcheck", kernels="another")
    assert (outcome.kind, outcome.tool_state) == (Kind.INCONCLUSIVE, "tool failed")
    assert "--dump-kernel-launches" in json.loads((tmp_path / "job" / "started.json").read_text())["argv"]
