"""What comes before a solve has a time of its own: a first use compiles, once. What cannot be loaded is no failure of a case."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slow_compiler

from harness import loading
from harness.batch import run_batch
from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import BUILDING, Kind, Outcome
from harness.process import PRELOAD, Launcher, open_launcher
from harness.registry import resolve
from harness.replay import Request, replay
from sim3solve import build, compiler

ROOT = Path(__file__).parent.parent
NAMES = ("degenerate-n-33", "degenerate-n-0", "layout-aliased")
SLOW = """
import os, time
from harness.solvers import Solver
from sim3solve import reference

def solver():
    return Solver(reference.solve, arrays="numpy", devices=("cpu",))

def slow():
    time.sleep(3)
    return solver()

def never():
    time.sleep(3600)

def dies():
    os.abort()
"""


@pytest.fixture(scope="module")
def library() -> Path:
    try:
        return compiler.shared_library(build.inline_sources("host.cpp"))
    except compiler.CompilerMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[Launcher]]:
    """What is put into it is closed at the end."""
    launchers: list[Launcher] = []
    yield launchers
    for launcher in launchers:
        launcher.close()


def tasks(solver: str = "native") -> list[Task]:
    return [Task(ROOT / "cases" / name, read_document(ROOT / "cases" / name), resolve(solver)) for name in NAMES]


def run_all(wanted: list[Task], limits: Limits, folder: Path, opened: list[Launcher], together: bool) -> list[Outcome]:
    """Each in a process of its own, or all in one."""
    launcher = open_launcher(folder / "log", preload=PRELOAD, threads=1)
    opened.append(launcher)
    if together:
        return [outcome for _, outcome in run_batch(wanted, limits, folder, launcher)]
    return [run_isolated(task, limits, folder / task.name, launcher) for task in wanted]


def test_a_build_is_made_once_and_not_in_the_time_of_a_solve(tmp_path, monkeypatch, caplog, library):
    count = slow_compiler.put_in_place(tmp_path, monkeypatch, seconds=6, library=library)
    caplog.set_level(logging.INFO, loading.log.name)
    cases = tuple(ROOT / "cases" / name for name in NAMES)
    run = replay(Request(cases, ("native",), limits=Limits(timeout_s=4.0), jobs=3, out=tmp_path / "runs"))
    assert [outcome.expected for outcome in run.outcomes] == [True] * 3, run.outcomes
    assert count.read_text() == "."
    assert caplog.messages == ["building native: a first use compiles it, and it is kept"]
    assert sum(BUILDING in dict(outcome.stages) for outcome in run.outcomes) == 1
    assert not list((tmp_path / "cache").glob("*/.*.tmp"))


@pytest.mark.parametrize("together", [False, True], ids=["alone", "batch"])
def test_a_build_that_takes_too_long_is_no_time_out_and_is_not_begun_again(tmp_path, monkeypatch, opened, together):
    count = slow_compiler.put_in_place(tmp_path, monkeypatch, seconds=3600)
    outcomes = run_all(tasks(), Limits(timeout_s=1.0, load_limit_s=3.0), tmp_path, opened, together)
    assert {(o.kind, o.reason) for o in outcomes} == {(Kind.UNAVAILABLE, "its build took longer than 3 s")}
    assert len(outcomes) == len(NAMES) and count.read_text() == "."


@pytest.mark.parametrize("together", [False, True], ids=["alone", "batch"])
def test_a_build_that_fails_is_not_tried_again(tmp_path, monkeypatch, opened, together):
    count = slow_compiler.put_in_place(tmp_path, monkeypatch, seconds=0)
    outcomes = run_all(tasks(), Limits(), tmp_path, opened, together)
    assert {o.kind for o in outcomes} == {Kind.UNAVAILABLE} and all("planted: this is no C++" in o.reason for o in outcomes)
    assert len(outcomes) == len(NAMES) and count.read_text() == "." * len(compiler.find().flag_sets())


@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh-interpreter"])
def test_a_factory_has_the_time_of_loading(tmp_path, opened, fresh):
    (tmp_path / "slow.py").write_text(SLOW)
    limits = Limits(timeout_s=2.0, load_limit_s=60.0, fresh_interpreter=fresh)
    [outcome, *_] = run_all(tasks(f"{tmp_path / 'slow.py'}:slow")[:1], limits, tmp_path, opened, together=False)
    assert outcome.kind is Kind.OK and outcome.loaded and dict(outcome.stages)["imported"] >= 3


def test_a_factory_that_never_ends_says_nothing_about_a_case(tmp_path, opened):
    (tmp_path / "slow.py").write_text(SLOW)
    limits = Limits(timeout_s=30.0, load_limit_s=2.0)
    first, *more = run_all(tasks(f"{tmp_path / 'slow.py'}:never"), limits, tmp_path, opened, together=False)
    assert (first.kind, first.reason, first.loaded) == (Kind.UNAVAILABLE, "loading it took longer than 2 s", False)
    assert "in never" in first.faulthandler  # where it was
    assert [(o.kind, o.reason, o.stages) for o in more] == [(Kind.UNAVAILABLE, first.reason, ())] * 2  # were not tried


def test_many_that_want_to_load_one_solver_take_turns_until_it_is_loaded():
    loads, native, skip = loading.Loads(), resolve("native"), resolve("skip")
    with loads.turn(native, "none") as first, loads.turn(skip, "none") as other, loads.turn(native, "ubsan") as watched:
        assert first._mine and other._mine and watched._mine
        first.reached("imported")
        with loads.turn(native, "none") as second:
            assert not second._mine and not second.problem
    with loads.turn(skip, "none") as again:  # the one before came to nothing
        assert again._mine


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(
            ["harness", "fuzz", "cases/degenerate-n-33", "--executions", "128"], "128 executions, 0 finds", marks=pytest.mark.slow
        ),
        (["harness", "minimize", "cases/degenerate-n-33", "--solver", "native", "--jobs", "2"], "healthy: the case does not fail"),
        (["harness", "replay", "cases/degenerate-n-33", "--solver", "native@.", "--bisect-exit"], "1 of 1 as expected"),
        pytest.param(
            ["pytest", "-p", "no:cacheprovider", "cases", "--case", "degenerate-n-33", "--solver", "native"],
            "1 passed",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["fuzz", "minimize", "bisect-exit", "pytest"],
)
def test_with_an_empty_cache_nothing_is_found_that_is_not_there(tmp_path, monkeypatch, library, words, says):
    count = slow_compiler.put_in_place(tmp_path, monkeypatch, seconds=6, library=library)
    limit = ["--case-timeout", "4"] if words[0] == "pytest" else ["--timeout", "4", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", *words, *limit], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0 and says in done.stdout, done.stdout + done.stderr
    assert count.read_text() == "."
    if words[0] == "harness":
        name = next((word for word in words if word.startswith("native@")), "native")
        assert f"building {name.partition('@')[0]}" in done.stderr


@pytest.mark.parametrize("verb", ["fuzz", "minimize"])
@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("nope", "could not be loaded: AttributeError: module 'slow' has no attribute 'nope'"),
        ("dies", "the process died of SIGABRT"),
    ],
)
def test_what_cannot_be_loaded_ends_a_search_in_a_line(tmp_path, verb, factory, says):
    (tmp_path / "slow.py").write_text(SLOW)
    words = [verb, "cases/degenerate-n-33", "--solver", f"{tmp_path / 'slow.py'}:{factory}", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "harness", *words], cwd=ROOT, capture_output=True, text=True, timeout=240)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2 and said.startswith("error: the solver") and says in said and "Traceback" not in said, said
    assert not list((tmp_path / "out").glob("*-min")) and not list((tmp_path / "out").glob("finds/*"))
