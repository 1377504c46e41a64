"""``harness bisect`` on sixty commits with a fault planted in one: it is found, told apart from others, and never guessed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from solver_history import (
    BROKEN,
    COUNT,
    CRASH,
    FLAKY,
    HANGS,
    LONGER,
    MISALIGNED,
    RAISES,
    ROOT,
    SLOWER,
    WORSE,
    WRONG_SIGN,
    write_history,
)

from harness.bisect import bench
from harness.bisect import document as documents
from harness.bisect.document import Bisected
from harness.bisect.drive import Request, bisect
from harness.bisect.hunt import Rules
from harness.bisect.target import Target, parse_when
from harness.errors import HarnessError, UsageError
from harness.gitrepo import git
from harness.isolation import Limits
from harness.outcome import Kind
from harness.replay import Request as ReplayRequest
from harness.replay import replay
from harness.sanitizer import hosttools
from sim3solve import compiler

CASES = ROOT / "cases"
REAL, SMALL = CASES / "real-fr1-desk-0-8-ray", CASES / "degenerate-n-33"

try:
    compiler.find()
except compiler.CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)


@pytest.fixture
def history(tmp_path, monkeypatch):
    def make(planted, n=60):
        shas = write_history(tmp_path / "repository", planted, n)
        git("reset", "--quiet", "--hard", "main", cwd=tmp_path / "repository")
        monkeypatch.chdir(tmp_path / "repository")
        monkeypatch.setenv(COUNT, str(tmp_path / "count"))
        return shas

    return make


def found(tmp_path: Path, case: Path = SMALL, good: str = "main~59", **more) -> Bisected:
    """The result; the repository is as it was."""
    before = state()
    folder, document = bisect(Request(case, good, "main", out=tmp_path / "out", **more))
    assert state() == before and not list(folder.glob("worktree-*")) and not Path(".git/worktrees").exists()
    return document


def state() -> list[bytes]:
    """All that a bisect of somebody else's must leave alone: work tree, index, refs and the list of work trees."""
    asked = (["status", "--porcelain"], ["for-each-ref"], ["rev-parse", "HEAD"], ["worktree", "list", "--porcelain"])
    return [*(git(*words) for words in asked), Path(".git/index").read_bytes()]


@pytest.mark.parametrize(
    ("fault", "at", "case", "target", "says"),
    [
        (CRASH, 41, SMALL, None, "the failure crash | access-violation | __init__.string_at < native.solve"),
        (WRONG_SIGN, 52, REAL, None, "the failure wrong-pose | native"),
        (RAISES, 1, SMALL, None, "the failure raised | ZeroDivisionError | native.solve"),
        pytest.param(WORSE, 6, REAL, "d > 0.02 sigma", "d > 0.02 sigma", marks=pytest.mark.slow),
        pytest.param(LONGER, 11, REAL, "iterations", "iterations > ", marks=pytest.mark.slow),
        pytest.param(SLOWER, 23, REAL, "time", "time > ", marks=pytest.mark.slow),
    ],
    ids=["crash", "wrong-sign", "raises-in-the-second", "parity", "iterations", "slower"],
)
def test_the_commit_with_the_planted_fault_is_found(history, tmp_path, fault, at, case, target, says):
    shas = history({at: fault})
    result = found(tmp_path, case, target=parse_when(target) if target else Target("failure"))
    assert result.decided and result.first_bad.sha == shas[at] and result.first_bad.probability > 0.95
    assert result.before.sha == shas[at - 1]
    assert result.target.startswith(says)
    assert fault.new.strip().splitlines()[0].strip() in result.diff and result.commits == 47 + (at % 5 == 4)
    assert not result.against and len(result.tested) < 14
    neighbours = {row.sha: row for row in result.tested}
    assert neighbours[shas[at]].shown > 3  # run again, more than it took to tell


@pytest.mark.slow
def test_a_misaligned_load_under_ubsan(history, tmp_path):
    try:
        hosttools.find("ubsan")
    except hosttools.RuntimeMissing as missing:
        pytest.skip(str(missing))
    shas = history({31: MISALIGNED})
    result = found(tmp_path, tool="ubsan")
    assert result.decided and result.first_bad.sha == shas[31] and "misaligned" in result.target
    run = replay(ReplayRequest((SMALL,), ("native@main",), out=tmp_path / "plain"))
    assert [outcome.kind for outcome in run.outcomes] == [Kind.OK]  # without the tool nothing is to be seen


@pytest.mark.slow
def test_a_hang(history, tmp_path):
    shas = history({6: HANGS}, n=12)
    result = found(tmp_path, good="main~11", limits=Limits(timeout_s=1.0))
    assert result.decided and result.first_bad.sha == shas[6]
    assert result.target == "the failure timeout | solving | native.solve"


def test_ends_that_cannot_be_run_here_are_said_at_once_and_forgotten(history, tmp_path, monkeypatch):
    shas = history({6: CRASH}, n=12)
    request = Request(SMALL, "main~11", "main", out=tmp_path / "out")
    monkeypatch.setenv("CXX", str(tmp_path / "nowhere"))
    with pytest.raises(HarnessError, match=r"BAD cannot be run here: native@.* there is no such program"):
        bisect(request)
    (folder,) = (tmp_path / "out").glob("bisect-*")
    assert not list((folder / "votes").iterdir())
    monkeypatch.delenv("CXX")
    _, document = bisect(request)
    assert document.decided and document.first_bad.sha == shas[6]


def test_a_full_disk_is_an_error_that_loses_nothing(history, tmp_path, monkeypatch):
    history({6: CRASH}, n=12)
    request = Request(SMALL, "main~11", "main", out=tmp_path / "out")

    def full(path: Path, document: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(bench, "write_json", full)
        with pytest.raises(HarnessError, match=r"votes/.*No space left on device; .* the same command takes it up again"):
            bisect(request)
    assert not Path(".git/worktrees").exists()
    assert bisect(request)[1].decided and len(list((tmp_path / "out").glob("bisect-*"))) == 1


@pytest.mark.slow
def test_a_failure_that_shows_in_half_of_the_runs(history, tmp_path):
    shas = history({37: FLAKY})
    result = found(tmp_path)
    assert shas[37] in [one.sha for one in result.suspects] and len(result.suspects) <= 3
    assert sum(one.probability for one in result.suspects) >= 0.95
    assert 0.2 < result.p_shown_if_bad < 0.8 and result.p_shown_if_good < 0.1
    ends = {row.sha: row for row in result.tested}
    assert ends[shas[0]].absent == 20 and ends[shas[59]].shown + ends[shas[59]].absent >= 20


@pytest.mark.slow
def test_a_failure_that_turns_out_to_be_random_on_the_way(history, tmp_path):
    shas = history({37: FLAKY, 50: (FLAKY.back, CRASH)})
    result = found(tmp_path)  # both ends agree with themselves: BAD always shows it
    rows = {row.sha: row for row in result.tested}
    assert rows[shas[0]].absent == 20 and rows[shas[59]].shown == 20  # and were run again, once that was known to mean nothing
    assert result.p_shown_if_bad < 0.9 and shas[37] in [one.sha for one in result.suspects] and len(result.suspects) <= 3


def test_a_build_that_is_broken_in_the_middle_is_no_bad_commit(history, tmp_path):
    shas = history({16: CRASH, 20: BROKEN, 26: BROKEN.back})
    result = found(tmp_path)
    assert result.decided and result.first_bad.sha == shas[16]
    skipped = [row for row in result.tested if row.verdict == "skipped"]
    assert skipped and all(20 <= shas.index(row.sha) < 26 for row in skipped)
    assert {(row.unavailable, row.shown, row.absent) for row in skipped} == {(1, 0, 0)}


@pytest.mark.slow
def test_a_fault_that_began_while_the_build_was_broken_is_a_range(history, tmp_path):
    shas = history({27: BROKEN, 31: CRASH, 35: BROKEN.back})
    result = found(tmp_path)
    assert result.decided is False and result.first_bad is None and not result.diff
    assert [shas.index(one.sha) for one in result.suspects] == [27, 28, 30, 31, 32, 33, 35]
    assert sum(one.probability for one in result.suspects) > 0.99
    assert result.before.sha == shas[26]


@pytest.mark.slow
def test_another_failure_on_the_way_is_skipped(history, tmp_path):
    shas = history({15: RAISES, 30: (RAISES.back, CRASH)})
    result = found(tmp_path)
    assert [shas.index(one.sha) for one in result.suspects] == [k for k in range(15, 31) if k % 5 != 4]
    assert {row.verdict for row in result.tested if 15 <= shas.index(row.sha) < 30} == {"skipped"}
    assert all(row.other == 3 for row in result.tested if row.verdict == "skipped")
    asked = found(
        tmp_path, good="main~59", target=Target("failure", "crash | access-violation | __init__.string_at < native.solve")
    )
    assert asked.suspects == result.suspects


@pytest.mark.slow
def test_a_failure_that_came_and_went_and_came_again_is_no_one_commits(history, tmp_path):
    shas = history({28: CRASH, 30: CRASH.back, 40: CRASH})
    result = found(tmp_path)
    assert result.decided is False and result.against == (shas[30],)
    assert shas[28] in [one.sha for one in result.suspects]
    again = found(tmp_path, good=shas[30])
    assert again.decided and again.first_bad.sha == shas[40] and not again.against


def test_a_merged_branch_that_brought_it(history, tmp_path):
    shas = history({}, n=6)
    crashing = git("show", "main:sim3solve/native.py").decode().replace(CRASH.old, CRASH.new).encode()
    stream = f"commit refs/heads/side\ncommitter A <a@b> 1700001000 +0000\ndata 4\nSide\nfrom {shas[2]}\n".encode()
    stream += b"M 100644 inline sim3solve/native.py\ndata %d\n%s\n" % (len(crashing), crashing)
    git("fast-import", "--quiet", stdin=stream)
    environment = ("-c", "user.name=A", "-c", "user.email=a@b")
    git(*environment, "merge", "--quiet", "--no-edit", "side")
    result = found(tmp_path, good=shas[0])
    assert result.first_bad.subject == "Side" and result.before.sha == shas[2]


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        ("main", "main~59", "no commit after .* changes the solver; is GOOD the older one?"),
        ("main~1", "main", "no commit after .* changes the solver"),
        ("main~59", "nowhere", "no commit of that name"),
        ("main~50", "main~20", "BAD does not fail, in 20 runs: native@.* agrees"),
        ("main~10", "main", "GOOD cannot be judged by|cannot tell"),
    ],
)
def test_ends_that_are_none(history, tmp_path, good, bad, says):
    history({40: CRASH})
    with pytest.raises(HarnessError, match=says):
        bisect(Request(SMALL, good, bad, out=tmp_path / "out"))


def test_a_number_that_did_not_get_worse_or_that_chance_could_give(history, tmp_path):
    history({}, n=4)
    with pytest.raises(HarnessError, match="it did not get worse"):
        bisect(Request(REAL, "main~3", "main", out=tmp_path / "out", target=parse_when("iterations")))
    with pytest.raises(HarnessError, match="BAD in 0 of 5"):
        bisect(Request(REAL, "main~3", "main", out=tmp_path / "out", target=parse_when("d > 0.05 sigma")))


def test_other_solvers_and_folders_of_cases_are_wrong_use(history, tmp_path):
    history({}, n=3)
    with pytest.raises(UsageError, match="of cuda, native, torch"):
        bisect(Request(SMALL, "main~2", "main", solver="reference", out=tmp_path))
    with pytest.raises(UsageError, match="bisect one of them"):
        bisect(Request(CASES, "main~2", "main", out=tmp_path))
    for confidence in (0.4, 1.0, float("nan")):
        with pytest.raises(UsageError, match="--confidence"):
            Rules(confidence=confidence)


def test_the_command_finds_replays_both_sides_and_writes_the_report(history, tmp_path):
    shas = history({9: CRASH}, n=12)
    argv = [
        sys.executable,
        "-m",
        "harness",
        "bisect",
        str(SMALL),
        "--good",
        "main~11",
        "--bad",
        "main",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run([*argv, "--json"], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["first_bad"]["sha"] == shas[9] and told["decided"] is True
    run = Path(told["run"])
    assert documents.read(run) == documents.read(Path(told["folder"])) and documents.read(run).run == run.name
    outcomes = {file.stem: json.loads(file.read_text())["outcome"] for file in (run / "outcomes").iterdir()}
    by_sha = {shas.index(sha): kind for sha in shas for name, kind in outcomes.items() if sha[:12] in name}
    assert by_sha == {0: "OK", 8: "OK", 9: "CRASHED", 11: "CRASHED"}
    assert shas[9][:12] in (run / "index.html").read_text(encoding="utf-8")
    shown = subprocess.run(argv, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert shown.returncode == 0 and f"first bad commit: {shas[9]}" in shown.stdout and "+    ctypes.string_at(0)" in shown.stdout


def test_rules_that_ask_too_much_of_too_few_runs(history, tmp_path):
    history({2: FLAKY}, n=4)
    with pytest.raises(HarnessError, match=r"5 runs of a commit cannot tell: raise --repeats|BAD does not fail, in 5 runs"):
        bisect(Request(SMALL, "main~3", "main", out=tmp_path / "out", rules=Rules(repeats=5, confidence=0.999)))
