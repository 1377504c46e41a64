"""Output that cannot be written: a sentence and exit code 2 from every verb, for 1 would say that a failure was found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import report_run as made
from diagnosis_evidence import seed

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many failures, so that the document is larger than any buffer."""
    crashes = [seed(case=f"c{i}", faulthandler=f'  File "/x/solver.py", line 1 in f{i}\n') for i in range(200)]
    return made.write_run(tmp_path_factory.mktemp("run") / "run", crashes)


def harness(*words: str, out: str = "/dev/full", err: int | str = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    with open(out, "w") as stdout, open(err if isinstance(err, str) else os.devnull, "w") as stderr:
        return subprocess.run(
            [sys.executable, "-m", "harness", *words], stdout=stdout, stderr=stderr if isinstance(err, str) else err, text=True,
            timeout=120, check=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["diagnose", "RUN", "--json"], ["diagnose", "RUN"], ["--help"], ["audit", sys.executable, "--json"],
        ["record", "--out", "TMP", "--json", "--", sys.executable, "-c", "pass"],
    ],
    ids=lambda words: " ".join(words[:1]) + (" as JSON" if "--json" in words else ""),
)  # fmt: skip
def test_a_full_disk_is_one_sentence_and_2(run: Path, tmp_path: Path, words: list[str]) -> None:
    done = harness(*[{"RUN": str(run), "TMP": str(tmp_path)}.get(word, word) for word in words])
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert (done.returncode, said) == (2, ["error: standard output cannot be written: No space left on device"]), done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_reader_that_wants_no_more_is_no_failure_of_the_run(run: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "diagnose", str(run), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(120), said) == (2, b"")


def test_words_that_stderr_cannot_take_change_nothing(run: Path, tmp_path: Path) -> None:
    (run / "probe.json").write_text("{")  # a line on stderr says that it is left out
    done = harness("diagnose", str(run), out=str(tmp_path / "out"), err="/dev/full")
    (run / "probe.json").unlink()
    assert done.returncode == 1
    assert "200 distinct bugs" in (tmp_path / "out").read_text(encoding="utf-8")
