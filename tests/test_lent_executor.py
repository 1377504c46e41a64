"""A replay on an executor of the caller's own: the same run as here, the executor left open, a broken one said to be."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.outcome import Kind
from harness.replay import Request, replay
from harness.run import JOBS

CASE = Path(__file__).parents[1] / "cases" / "degenerate-n-33"


@pytest.fixture(params=["threads", "processes"])
def lent(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "threads":
        with ThreadPoolExecutor(1) as threads:
            yield threads
    else:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
            yield processes


def asked(folder: Path) -> Request:
    return Request((CASE,), ("reference", "native"), out=folder, command="a test")


def test_the_run_is_the_one_it_would_have_been_here(tmp_path: Path, lent: Executor) -> None:
    here, there = replay(asked(tmp_path / "here")), replay(asked(tmp_path / "there"), executor=lent)
    assert [(it.key, it.kind, it.T_CkCf, it.expected) for it in there.outcomes] == [
        (it.key, it.kind, it.T_CkCf, it.expected) for it in here.outcomes
    ]
    assert all((there.folder / JOBS / f"{CASE.name}__{name}__none" / "machine").is_file() for name in ("reference", "native"))
    assert lent.submit(os.getpid).result(timeout=60) > 0  # it is its owner's, and still open


def test_a_pool_whose_process_died_is_one_sentence_and_nothing_finished_is_lost(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        victim = pool.submit(os.getpid).result(timeout=60)
        os.kill(victim, signal.SIGTERM)
        with pytest.raises(HarnessError, match=r"lost a process of its own.*the same command takes it up again"):
            replay(asked(tmp_path), executor=pool)
    run = replay(asked(tmp_path))
    assert [outcome.kind for outcome in run.outcomes] == [Kind.OK, Kind.OK]
    assert len(list(tmp_path.glob("*/run.json"))) == len({file.resolve() for file in tmp_path.glob("*/run.json")}) + 1  # latest
