"""``git bisect run harness replay ... --bisect-exit``: 0 good, 1 bad, 125 for what cannot be told, and never another code."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from diagnosis_evidence import died, outcome, unavailable
from solver_history import BROKEN, CRASH, RAISES, ROOT, write_history

from harness.bisect import exitcode
from harness.bisect.exitcode import BAD, GOOD, SKIP, Verdict, code_of, guarded
from harness.diagnosis.signature import signature
from harness.gitrepo import git
from harness.outcome import Kind

CASE = ROOT / "cases" / "degenerate-n-33"
FAULTS = Path(__file__).with_name("faults.py")
FINE = dataclasses.replace(outcome(Kind.OK, status="CONVERGED"), expected=True)
CRASHED = dataclasses.replace(died(), expected=False)
VAGUE = dataclasses.replace(outcome(Kind.INCONCLUSIVE, reason="nobody knows"), expected=False)


def test_codes_of_outcomes():
    assert code_of([FINE]) == GOOD and code_of([]) == SKIP
    assert code_of([FINE, CRASHED]) == BAD and code_of([unavailable("no compiler"), CRASHED]) == BAD
    assert code_of([FINE, unavailable("no compiler")]) == SKIP and code_of([VAGUE]) == SKIP
    named = signature(CRASHED)
    assert code_of([CRASHED], named) == BAD and code_of([CRASHED], "another") == SKIP and code_of([FINE], "another") == GOOD


def ends(with_what: BaseException | None) -> int:
    def run() -> None:
        if with_what is not None:
            raise with_what

    return guarded(run)


def test_nothing_but_a_verdict_is_one(capsys):
    assert [ends(Verdict(code)) for code in (GOOD, BAD, SKIP)] == [GOOD, BAD, SKIP]
    assert {ends(SystemExit(code)) for code in (0, 1, 2, 125, 130, 255, None, "text")} == {SKIP}
    assert {ends(error) for error in (KeyboardInterrupt(), MemoryError(), ValueError("x"), None)} == {SKIP}
    assert "ValueError: x" in capsys.readouterr().err


@pytest.fixture
def repository(tmp_path, monkeypatch):
    def make(planted, n):
        shas = write_history(tmp_path / "repository", planted, n)
        monkeypatch.chdir(tmp_path / "repository")
        return shas

    return make


def replay(tmp_path: Path, *words: str, **more) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "harness", "replay", *words, "--out", str(tmp_path / "out"), exitcode.OPTION]
    return subprocess.run(argv, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, **more)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((str(CASE), "--solver", "native@main~3"), GOOD),
        ((str(CASE), "--solver", "native@main~1"), BAD),
        ((str(CASE), "--solver", "native@main~1", "--signature", "crash | x"), SKIP),
        ((str(CASE), "--solver", "native@main"), SKIP),  # does not build
        ((str(CASE), "--solver", "native@nowhere"), SKIP),
        (("no-such-case", "--solver", "native@main"), SKIP),
        ((str(CASE), "--no-such-option"), SKIP),
        ((str(CASE), "--timeout", "0"), SKIP),
    ],
)
def test_codes_of_the_command(repository, tmp_path, words, code):
    repository({2: CRASH, 3: BROKEN}, n=4)
    assert replay(tmp_path, *words).returncode == code


def test_a_signature_alone_is_wrong_use(tmp_path):
    argv = [sys.executable, "-m", "harness", "replay", str(CASE), "--signature", "x", "--out", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "--signature is for --bisect-exit" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_is_no_verdict(tmp_path):
    argv = [
        sys.executable,
        "-m",
        "harness",
        "replay",
        str(CASE),
        "--solver",
        f"{FAULTS}:hang",
        "--out",
        str(tmp_path),
        exitcode.OPTION,
    ]
    started = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("*/jobs/*hang*/journal.jsonl")):
        assert started.poll() is None
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    assert "interrupted" in started.communicate(timeout=30)[1] and started.returncode == SKIP


@pytest.mark.parametrize("checkout", [False, True], ids=["native@BISECT_HEAD", "native@."])
@pytest.mark.slow
def test_git_bisect_run_by_hand(repository, tmp_path, checkout):
    shas = repository({3: BROKEN, 4: BROKEN.back, 8: CRASH, 10: (CRASH.back, RAISES), 11: (RAISES.back, CRASH)}, n=13)
    if checkout:
        git("reset", "--quiet", "--hard", "main")
    git("bisect", "start", *([] if checkout else ["--no-checkout"]), "main", "main~12")
    named = "crash | access-violation | __init__.string_at < native.solve"
    words = [
        sys.executable,
        "-P",
        "-m",
        "harness",
        "replay",
        str(CASE),
        "--solver",
        "native@." if checkout else "native@BISECT_HEAD",
    ]
    done = subprocess.run(
        ["git", "bisect", "run", *words, exitcode.OPTION, "--signature", named, "--out", str(tmp_path / "out")],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert f"{shas[8]} is the first bad commit" in done.stdout, done.stdout + done.stderr
