"""Fuzzing and minimizing on a Dask cluster find what they find here, and their workers need nothing but the same harness."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="dask.distributed is not installed")
from dask_cluster import Cluster, cluster

from harness.executors import open_executor
from harness.fuzz.campaign import Campaign, fuzz
from harness.minimize import MinimizeLimits, Target, minimize_case

CASES = Path(__file__).parent.parent / "cases"
FAULTS = Path(__file__).with_name("faults.py")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def left(made: Cluster) -> list[Path]:
    """Folders of children that are still in the workers' own."""
    return [folder for folder in made.folder.glob("local*/**/harness-*") if folder.is_dir()]


@pytest.mark.slow
def test_a_campaign_finds_there_what_it_finds_here(two: Cluster, tmp_path):
    found = []
    for address in (None, two.address):
        campaign = Campaign((CASES / "degenerate-n-33",), f"{FAULTS}:segfault", tmp_path / str(bool(address)), executions=128)
        with open_executor(address, 0) as pool:
            state = fuzz(campaign, executor=pool)
        # Its file lay in the worker's cache.
        said = [re.sub(r"\S*/cargo/[0-9a-f]{64}", str(FAULTS.parent), find.what) for find in state.finds]
        found.append([(find.signature, what, find.rate, find.count) for find, what in zip(state.finds, said, strict=True)])
        assert state.executions >= 128 and all(Path(find.case, "case.json").exists() for find in state.finds)
        assert all(Path(find.minimized, "case.json").exists() for find in state.finds)
    assert found[0] == found[1] and len(found[0]) == 1 and found[0][0][3] >= 128
    assert not left(two)


@pytest.mark.slow
def test_a_worker_that_dies_costs_a_campaign_nothing(tmp_path):
    campaign = Campaign((CASES / "degenerate-n-33",), "native", tmp_path / "campaign", executions=384, same_bits=False)
    with cluster(tmp_path / "cluster") as made:
        killed = threading.Event()

        def kill() -> None:
            while not (tmp_path / "campaign" / "chunks.jsonl").exists():
                time.sleep(0.02)
            made.workers[0].kill()
            killed.set()

        threading.Thread(target=kill, daemon=True).start()
        with open_executor(made.address, 0) as pool:
            state = fuzz(campaign, executor=pool)
        assert killed.is_set() and made.workers[0].wait(10) != 0
    numbers = [line.split('"chunk": ')[1].split(",")[0] for line in (campaign.out / "chunks.jsonl").read_text().splitlines()]
    assert sorted(map(int, numbers)) == list(range(6)) and state.executions == 384 and not state.finds


def test_a_case_is_minimized_there_as_here(two: Cluster, tmp_path):
    target = Target(f"{FAULTS}:segfault", "none", None)
    results = []
    for address in (None, two.address):
        with open_executor(address, 0) as pool:
            results.append(
                minimize_case(CASES / "degenerate-n-33", target, MinimizeLimits(), tmp_path / str(bool(address)), executor=pool)
            )
    here, there = results
    assert (there.state, there.failure, there.after, there.rows) == (here.state, here.failure, here.after, here.rows)
    assert there.verified and there.complete and not left(two)
