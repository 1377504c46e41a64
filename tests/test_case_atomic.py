"""A write that fails, or whose process is killed, leaves what was there."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from case_factory import (
    assert_same,
    make_case,
    names_in,
    same_bits,
    written,
)

from harness.case import Case
from harness.casefile import read_case, write_case
from harness.errors import CaseError

ROOT = Path(__file__).resolve().parent.parent
NOTHING: set[str] = set()


STEPS = ("mkdir", "fsync", "rename", "replace", "open")


def break_at(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException | Callable[[], Any]) -> Iterator[int]:
    """Fail at the step-th system call of those in STEPS. Yields how many were made."""
    made = [0]

    def broken(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **rest: Any) -> Any:
            made[0] += 1
            if made[0] == step:
                if isinstance(error, BaseException):
                    raise error
                error()
            return call(*args, **rest)

        return wrapped

    for name in STEPS:
        monkeypatch.setattr(os, name, broken(getattr(os, name)))
    yield made[0]
    monkeypatch.undo()
    yield made[0]


def failures(monkeypatch: pytest.MonkeyPatch, error: BaseException, act: Callable[[], Any]) -> Iterator[int]:
    """Let ``act`` fail at its first system call, then at its second, and so on until it succeeds."""
    for step in range(1, 100):
        breaking = break_at(monkeypatch, step, error)
        next(breaking)
        try:
            act()
        except (CaseError, KeyboardInterrupt) as caught:
            next(breaking)
            assert isinstance(caught, CaseError) == isinstance(error, OSError)
            yield step
        else:
            # The removal of a case that was replaced may fail without harm; every other failure is reported.
            assert next(breaking) <= step
            return
    raise AssertionError("never succeeded")


ERRORS = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O error"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    folder = tmp_path / "not" / "yet" / "c"
    steps = 0
    for steps in failures(monkeypatch, error, lambda: write_case(make_case(), folder)):  # noqa: B007
        assert names_in(tmp_path) == NOTHING
    assert steps >= 10
    assert_same(read_case(folder), make_case())


@pytest.mark.skipif(os.name == "nt", reason="counts the POSIX calls of a write")
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_failed_replacement_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    folder = tmp_path / "c"
    old = written(folder, seed=1)
    steps = 0
    for steps in failures(monkeypatch, error, lambda: write_case(make_case(seed=2), folder, replace=True)):  # noqa: B007
        litter = names_in(tmp_path) - {"c"}
        if isinstance(error, KeyboardInterrupt) and litter:  # the new one was in place, and removing the old was interrupted
            assert_same(read_case(folder), make_case(seed=2))
            assert all(name.startswith(".c.") and name.endswith(".old") for name in litter)
        else:
            assert_same(read_case(folder), old)
            assert not litter
    assert steps >= 10
    assert_same(read_case(folder), make_case(seed=2))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file size limit")
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(CaseError) as caught:
            write_case(make_case(n=5000), tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.field == "write"
    assert names_in(tmp_path) == NOTHING


FILL = """
import sys; sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from case_factory import make_case
from harness.casefile import read_case, write_case
from harness.errors import CaseError
disk = Path({disk!r})
write_case(make_case(n=1000, seed=1), disk / "first")
for target, replace in (("second", False), ("first", True)):
    try:
        write_case(make_case(n=5000, seed=2), disk / target, replace=replace)
    except CaseError as error:
        assert error.reason == "No space left on device", error
    else:
        raise SystemExit("the disk was not full")
    assert [path.name for path in disk.iterdir()] == ["first"], list(disk.iterdir())
    assert read_case(disk / "first").document.n_points == 1000
"""


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """On a file system of 128 KiB, in a name space of its own so that no mount outlives the test."""
    script = FILL.format(root=str(ROOT), tests=str(ROOT / "tests"), disk=str(tmp_path))
    mount = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        'mount -t tmpfs -o size=128k none "$0" && exec "$@"',
        str(tmp_path),
    ]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small file system")
    done = subprocess.run([*mount, sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# Killed writers


def forked(act: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    child = multiprocessing.get_context("fork").Process(target=act)
    child.start()
    return child


def is_either(case: Case, a: Case, b: Case) -> bool:
    return any(all(same_bits(case.values[name], one.values[name]) for name in one.values) for one in (a, b))


def valid_or_absent(folder: Path) -> list[Path]:
    """Reads every finished case, which raises where one is damaged."""
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in found:
        read_case(path)
    return found


def test_a_writer_killed_at_any_time_leaves_whole_cases_only(tmp_path: Path) -> None:
    case = make_case(n=3000)
    rng = random.Random(4)
    seen = 0
    for attempt in range(12):
        folder = tmp_path / str(attempt)
        folder.mkdir()

        def write_many(folder: Path = folder) -> None:
            for i in range(10_000):
                write_case(case, folder / f"c{i}")

        child = forked(write_many)
        while not any(folder.iterdir()):
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.04))
        child.kill()
        child.join(10)
        assert child.exitcode == -signal.SIGKILL
        seen += len(valid_or_absent(folder))
    assert seen > 0


@pytest.mark.parametrize("replace", [False, True])
def test_a_writer_killed_at_each_step_leaves_a_whole_case_or_none(tmp_path: Path, replace: bool) -> None:
    old, new = make_case(seed=1), make_case(seed=2)
    for step in range(1, 100):
        folder = tmp_path / str(step)
        folder.mkdir()
        if replace:
            write_case(old, folder / "c")

        def write_until(step: int = step, folder: Path = folder) -> None:
            next(break_at(pytest.MonkeyPatch(), step, lambda: os.kill(os.getpid(), signal.SIGKILL)))
            write_case(new, folder / "c", replace=replace)

        child = forked(write_until)
        child.join(20)
        whole = valid_or_absent(folder)
        if child.exitcode == 0:
            assert_same(read_case(folder / "c"), new)
            assert step > 10
            return
        assert child.exitcode == -signal.SIGKILL
        assert [path.name for path in whole] in ([], ["c"])
        assert all(is_either(read_case(path), old, new) for path in whole)
        if replace and not whole:  # between the two renames the old case has the name it was moved aside to
            (aside,) = folder.glob(".c.*.old")
            assert_same(read_case(aside), old)
    raise AssertionError("never succeeded")
