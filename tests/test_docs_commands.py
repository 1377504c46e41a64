"""Every command in README.md and docs/*.md runs, or at least exists; docs_commands.py says what stands in for what."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import fake_checkout
import pytest
import tum_sequence
from docs_commands import NOT_RUN, PAGES, ROOT, SUBSTITUTIONS, Command, _command, blocks, commands, inline, python_blocks
from slam_program import write_program
from typer.testing import CliRunner

from harness.cli.main import app

SEGFAULT = "import ctypes; ctypes.string_at(0)"
DIES = f"def make():\n    def solve(problem, options):\n        {SEGFAULT}\n\n    return solve\n"
MAIN = """
from mast3r_slam.frames import frame
from mast3r_slam.tracker import FrameTracker, Sim3

a = frame()
FrameTracker().opt_pose_ray_dist_sim3(a[0], a[1], Sim3(a[2]), Sim3(a[3]), a[4], a[5])
"""
CASES = ("real-fr1-desk-0-8-ray", "layout-misaligned", "degenerate-n-33", "degenerate-nan-valid")
RUN_HERE = {"tutorial-fast-solver.md": 1}
"""Python blocks that need nothing from around them, by their number from 0: they are run as they stand."""
posix = pytest.mark.skipif(os.name == "nt", reason="runs the blocks in bash; PowerShell's are translated to it")


_done: set[str] = set()
"""What need not be run on every page: it takes long and depends on nothing that the page has."""


@cache
def every() -> list[Command]:
    return [command for page in PAGES for command in commands(page)]


def words_after_harness(run: str) -> list[list[str]]:
    """The words of each harness command in a line of shell."""
    found = []
    for part in re.split(r"&&|\|(?!\|)|\s>>?\s", run):
        words = shlex.split(part)
        while words and "=" in words[0]:
            words = words[1:]
        start = 1 if words[:1] == ["harness"] else 3 if words[:3] == ["python", "-m", "harness"] else 0
        found += [words[start:]] if start else []
    return found


def problem_of(words: list[str]) -> str:
    """What is wrong with the words of a harness command; empty when verb and options exist. Nothing is run."""
    verb = 2 if words[:1] in (["case"], ["import"]) and len(words) > 1 and not words[1].startswith("-") else 1
    words = [word for word in words if word not in ("...", "…")]
    shown = CliRunner().invoke(app, [*words[:verb], "--help", *words[verb:]])  # options are read before the help is shown
    return "" if shown.exit_code == 0 else shown.output


def test_the_pages_have_commands():
    assert len(every()) > 60 and {command.page for command in every()} >= {"README.md", "tutorial-crash.md", "recording.md"}
    assert any("HARNESS_RECORD_OPTIONS" in command.text for command in every())


@pytest.mark.parametrize("command", every(), ids=str)
def test_a_command_exists(command):
    """Also those that are not run: verb and options, files, make's targets."""
    found = words_after_harness(command.run)
    for words in found:
        assert problem_of(words) == "", command
    program, *rest = [word for word in shlex.split(command.run) if "=" not in word or word.startswith("-")]
    if program == "python" and rest[0].endswith(".py") and command.not_run and rest[0] != "main.py":
        assert (ROOT / rest[0]).is_file(), command
    if program == "make":
        assert subprocess.run(["make", "-n", *rest], cwd=ROOT, capture_output=True, timeout=60).returncode == 0, command
    known = {"python", "harness", "pytest", "pip", "make", "git", "dask"}
    assert (program in known or command.not_run) and (found or command.not_run or program in ("python", "pytest")), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_in_a_sentence_exists(page):
    for command in inline(page):
        (words,) = words_after_harness(command.run)
        assert problem_of(words) == "", command


def test_commands_that_are_wrong_are_found():
    wrong = [
        "harness replay CASE --nope", "harness repaly CASE", "python -m harness case lsit cases", "harness doctor --timeout",
        "PYTHONPATH=. harness export RUN --sarif x --junti y && true", "harness record --lsat 3 -- python main.py",
    ]  # fmt: skip
    for text in wrong:
        (words,) = words_after_harness(_command("page", 1, text).run)
        assert problem_of(words) != "", text
    assert problem_of(["record", "--last", "3", "--", "python", "main.py", "--dataset", "x"]) == ""


def test_every_line_of_the_table_is_of_use():
    texts = [command.text.replace("\\", "/") for page in PAGES for command in [*commands(page), *inline(page)]]
    for pattern, *_ in (*SUBSTITUTIONS, *NOT_RUN):
        assert any(re.search(pattern, text) for text in texts), pattern


def test_python_blocks_are_python():
    for page in PAGES:
        for text in python_blocks(page):
            compile(text, page.name, "exec")
    known = {"", "sh", "powershell", "python", "text", "json", "yaml", "toml"}
    assert {language for page in PAGES for language, _, _ in blocks(page)} <= known


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run with one failure, made once."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "dies.py").write_text(DIES)
    shutil.copytree(ROOT / "cases" / "degenerate-n-33", folder / "cases" / "degenerate-n-33")
    argv = ["replay", "cases/degenerate-n-33", "--solver", "reference", "--solver", "dies.py:make"]
    done = in_folder(folder, [sys.executable, "-m", "harness", *argv])
    assert done.returncode == 1, done.stderr
    (folder / "reports" / "latest" / "doctor.json").write_text('{"checks": []}')  # a bundle takes its word; others ask the doctor
    return (folder / "reports" / "latest").resolve()


def in_folder(folder: Path, argv: list[str], **variables: str) -> subprocess.CompletedProcess:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, errors="replace", timeout=240)


def sandbox(folder: Path, page: Path, made: Path) -> dict[str, str]:
    """Something like a checkout with what the page speaks of; returns the variables that its commands run with."""
    for name in CASES:
        shutil.copytree(ROOT / "cases" / name, folder / "cases" / name)
    shutil.copy(ROOT / "conftest.py", folder)
    shutil.copytree(made, folder / "reports" / "made")
    (folder / "reports" / "latest").symlink_to("made", target_is_directory=True)
    solvers = [text for text in python_blocks(page) if "def make()" in text and "..." not in text]
    (folder / "my_solver.py").write_text(solvers[0] if solvers else DIES)
    write_program(folder, MAIN, solve=SEGFAULT)
    fake_checkout.make(folder / "checkout", tracker=("def opt_pose_ray_dist_sim3", f"{SEGFAULT}\n    def opt_pose_ray_dist_sim3"))
    tum_sequence.write_sequence(folder / "sequence")
    extension = importlib.util.find_spec("numpy._core._multiarray_umath").origin
    torch = Path(importlib.util.find_spec("torch").origin).parent
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, words in (("python", ""), ("harness", "-m harness"), ("pytest", "-m pytest")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (bin_folder / name).chmod(0o755)
    (folder / "EXTENSION").symlink_to(extension)
    (folder / "TORCH").symlink_to(torch, target_is_directory=True)
    return {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}


def runnable() -> list[Any]:
    """The pages that have a command to run. Those that a reader does not follow from top to bottom take as long as all others."""
    pages = [page for page in PAGES if any(not it.not_run for it in commands(page))]
    first = ("README", "tutorial", "case-study", "recording")
    return [pytest.param(page, id=page.name, marks=() if page.name.startswith(first) else pytest.mark.slow) for page in pages]


@posix
@pytest.mark.parametrize("page", runnable())
def test_the_commands_of_a_page_run(page, made, tmp_path):
    """In order, so that what one writes the next may read. Exit code 1 says that a failure was found, which most pages want."""
    variables = sandbox(tmp_path, page, made)
    for number, text in enumerate(python_blocks(page)):
        if RUN_HERE.get(page.name) == number:
            done = in_folder(tmp_path, [sys.executable, "-c", text], **variables)
            assert done.returncode == 0 and done.stdout.startswith("[["), done.stderr
    for command in commands(page):
        if command.not_run or command.run.removeprefix("python -m ") in _done:
            continue
        done = in_folder(tmp_path, ["bash", "-c", command.run], **variables)
        # The tracker of the page's program dies: where the program itself is what was started, so does that.
        allowed = (0, 1) if words_after_harness(command.run) else (0, 1, -signal.SIGSEGV, 128 + signal.SIGSEGV)
        said = f"{command}\n{command.run}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        assert done.returncode in allowed and "Traceback" not in done.stderr, said
        if words_after_harness(command.run) == [["doctor"]]:
            _done.add("harness doctor")


def test_the_case_study_goes_from_symptom_to_fix_on_both_systems():
    page = ROOT / "docs" / "case-study.md"
    of = {language: [] for language in ("", "sh", "powershell")}
    for language, _, lines in blocks(page):
        of.setdefault(language, []).extend(line.strip() for line in lines)
    assert any('**/*.o"' in line for line in of["sh"]) and any('**/*.obj"' in line for line in of["powershell"])
    assert any(line.startswith("NVCC_APPEND_FLAGS=") for line in of["sh"])
    assert any(line.startswith("$env:NVCC_APPEND_FLAGS = ") for line in of["powershell"])
    for line in of[""]:  # for every shell
        assert not re.match(r"[A-Z_0-9]+=|\$env:|export |set ", line), line
    written = {word for command in commands(page) for word in re.findall(r"--out (\S+\.json)", command.text)}
    read = {word for command in commands(page) for word in re.findall(r"--(?:audit|probe) (\S+\.json)", command.text)}
    assert read and read <= written
