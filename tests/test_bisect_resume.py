"""A bisect that is cut off loses no run and leaves nothing in the repository: by kill -9, by Ctrl-C, between search and replay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from solver_history import CRASH, ROOT, write_history

from harness.bisect import document as documents
from harness.gitrepo import git
from sim3solve import compiler

CASE = ROOT / "cases" / "degenerate-n-33"
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL, and Ctrl-C for another process only by its console")

try:
    compiler.find()
except compiler.CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)


@pytest.fixture
def shas(tmp_path, monkeypatch) -> list[str]:
    shas = write_history(tmp_path / "repository", {41: CRASH})
    git("reset", "--quiet", "--hard", "main", cwd=tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return shas


def start(tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    argv = [
        sys.executable,
        "-m",
        "harness",
        "bisect",
        str(CASE),
        "--good",
        "main~59",
        "--bad",
        "main",
        "--out",
        str(tmp_path / "out"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*argv, "--json", *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def votes(tmp_path: Path) -> dict[str, list[dict]]:
    return {file.stem: json.loads(file.read_text()) for file in (tmp_path / "out").glob("bisect-*/votes/*.json")}


def wait_for_votes(tmp_path: Path, process: subprocess.Popen[str], files: int) -> None:
    """Both ends and some commits between."""
    deadline = time.monotonic() + 60
    while len(votes(tmp_path)) < files:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)


def children_of(folder: Path) -> list[int]:
    """Processes that were started for a job below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@POSIX
def test_kill_9_loses_no_run_and_the_same_command_goes_on(tmp_path, shas):
    index = Path(".git/index").read_bytes()
    killed = start(tmp_path)
    wait_for_votes(tmp_path, killed, 4)
    killed.kill()
    killed.communicate()
    left = votes(tmp_path)
    (folder,) = (tmp_path / "out").glob("bisect-*")
    assert documents.read(folder).decided is None
    assert len(list(folder.glob("worktree-*"))) == 1  # nobody was left to remove it
    out, err = start(tmp_path).communicate(timeout=120)
    told = json.loads(out)
    assert told["first_bad"]["sha"] == shas[41] and Path(told["folder"]) == folder, err
    now = votes(tmp_path)
    for tree, runs in left.items():
        assert now[tree][: len(runs)] == runs
    assert told["runs"] == sum(map(len, now.values()))
    assert not list(folder.glob("worktree-*")) and not Path(".git/worktrees").exists()
    assert git("for-each-ref", "--format=%(refname)").split() == [b"refs/heads/main"]
    assert Path(".git/index").read_bytes() == index and git("status", "--porcelain") == b""


@POSIX
def test_what_a_killed_one_left_is_removed_by_the_next_of_another_kind(tmp_path, shas):
    killed = start(tmp_path)
    wait_for_votes(tmp_path, killed, 3)
    killed.kill()
    killed.communicate()
    assert Path(".git/worktrees").exists()
    out, _ = start(tmp_path, "--confidence", "0.9").communicate(timeout=120)
    assert json.loads(out)["decided"] and not Path(".git/worktrees").exists()
    assert len(list((tmp_path / "out").glob("bisect-*"))) == 2


@POSIX
@pytest.mark.parametrize("files", [0, 1, 4], ids=["at the start", "at the ends", "in the middle"])
def test_ctrl_c_leaves_no_work_tree_and_no_process_behind(tmp_path, shas, files):
    interrupted = start(tmp_path)
    if files:
        wait_for_votes(tmp_path, interrupted, files)
    else:
        while not list((tmp_path / "out").glob("bisect-*/worktree-*")) and interrupted.poll() is None:
            time.sleep(0.005)
    os.killpg(interrupted.pid, signal.SIGINT)  # as a terminal does: git gets it as well
    out, err = interrupted.communicate(timeout=30)
    assert interrupted.returncode == 125 and "the same command takes it up again" in err and out == ""
    assert not list((tmp_path / "out").glob("bisect-*/worktree-*")) and not Path(".git/worktrees").exists()
    assert git("status", "--porcelain") == b"" and not children_of(tmp_path / "out")
    if files == 4:
        before = votes(tmp_path)
        out, _ = start(tmp_path).communicate(timeout=120)
        assert json.loads(out)["first_bad"]["sha"] == shas[41]
        assert all(votes(tmp_path)[tree][: len(runs)] == runs for tree, runs in before.items())


@POSIX
@pytest.mark.slow
def test_cut_off_between_search_and_replay_only_the_replay_is_made(tmp_path, shas):
    first = start(tmp_path)
    deadline = time.monotonic() + 120
    while not any(documents.read(file.parent).finished for file in (tmp_path / "out").glob("bisect-*/bisect.json")):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.communicate()
    before = votes(tmp_path)
    out, _ = start(tmp_path).communicate(timeout=120)
    told = json.loads(out)
    assert (
        told["first_bad"]["sha"] == shas[41] and votes(tmp_path) == before and len(list((tmp_path / "out").glob("bisect-*"))) == 1
    )
    again, _ = start(tmp_path).communicate(timeout=120)  # what is finished is finished
    assert json.loads(again)["folder"] != told["folder"]


def test_votes_that_were_damaged_are_cast_again(tmp_path, shas):
    from harness.bisect.bench import Ballots
    from harness.bisect.target import Measure
    from harness.gitrepo import Commit

    commit = Commit("a" * 40, "", "", "", "b" * 40)
    ballots = Ballots(tmp_path)
    ballots.add(commit, Measure("OK", "fine", True, ("x",), float("nan"), 3, 1.5))
    (kept,) = Ballots(tmp_path).of(commit)
    assert kept.d != kept.d and (kept.kind, kept.signatures, kept.iterations, kept.ratio) == ("OK", ("x",), 3, 1.5)
    file = tmp_path / "votes" / f"{'b' * 40}.json"
    for damage in ("", "[{}]", "[[1]]", '{"a": 1}', "[" * 100_000, '[{"kind": "OK"}]'):
        file.write_text(damage)
        assert Ballots(tmp_path).of(commit) == []
