"""The specimen ``wrong-device`` as it was run on two NVIDIA H200: what the harness concludes from it is tested on any machine.

Kept are the outcomes of four ways to run it and where the tensors lay in the last of them, as they were before the harness had a
name for this fault: with the places of the tensors the tool's "out of bounds" is told apart. Paths were made neutral.
"""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path

import pytest

from harness.diagnosis.documents import Documents
from harness.diagnosis.ofrun import Diagnosed, diagnosed_run
from harness.diagnosis.signature import signature
from harness.memory.evidence import with_memory
from harness.run import Run, read_run

KEPT = Path(__file__).with_name("recordings") / "wrong-device-two-gpus.tar.xz"
EXACT = "memcheck+exact"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    into = tmp_path_factory.mktemp("kept")
    with tarfile.open(KEPT) as archive:
        archive.extractall(into, filter="data")
    kept = read_run(into / "run")
    (job,) = (into / "run" / "jobs").iterdir()
    outcomes = tuple(with_memory(o, job) if o.how == EXACT else o for o in kept.outcomes)
    return dataclasses.replace(kept, outcomes=outcomes)


@pytest.fixture(scope="module")
def diagnosed(run: Run) -> Diagnosed:
    return diagnosed_run(run, Documents())


def test_an_access_inside_a_tensor_that_memcheck_calls_out_of_bounds_is_another_gpus_memory(run: Run) -> None:
    (outcome,) = (o for o in run.outcomes if o.how == EXACT)
    (found,) = outcome.findings
    assert (found["kind"], found["space"], found["direction"], found["size"]) == ("wrong-device", "global", "read", 4)
    assert found["nearest_allocation"] == {"address": found["address"] - 8192, "size": 12288 * 12, "distance": 0}
    assert found["message"].endswith("is out of bounds, and is in Xf: memory of another GPU or context")
    assert found["where"]["line"] == 103 and found["kernel"] == "specimen_copy"


def test_every_way_to_run_it_has_that_cause(run: Run, diagnosed: Diagnosed) -> None:
    assert [o.how for o in diagnosed.run.outcomes] == ["none", "none+exact", "memcheck", EXACT]
    for outcome in diagnosed.run.outcomes:
        assert outcome.diagnosis is not None
        assert (outcome.diagnosis.cause, outcome.diagnosis.confidence) == ("wrong-device", "proven"), outcome.how
        assert "CUDAGuard" in outcome.diagnosis.fix and "kernels.cu:103" in outcome.diagnosis.sentence
        assert "--memory exact" in outcome.diagnosis.test


def test_without_the_places_of_the_tensors_it_stays_what_the_tool_called_it(run: Run) -> None:
    pool = dataclasses.replace(run, outcomes=tuple(o for o in run.outcomes if o.how == "memcheck"))
    (bug,) = diagnosed_run(pool, Documents()).bugs
    assert bug.diagnosis.cause == "out-of-bounds"


def test_an_error_that_only_the_harness_was_told_of_has_none_of_its_frames(run: Run) -> None:
    """That run was of a harness that asked the dead GPU what had been written, and took its answer for the solver's."""
    (outcome,) = (o for o in run.outcomes if o.how == "none+exact")
    assert outcome.exception is not None and "in looked_at" in outcome.exception.traceback
    assert signature(outcome) == "cuda | 700 cudaErrorIllegalAddress | written of gpu_host.py:wrong_device"
