"""The specimen of the host symbol collision: found by replay and by audit, and cured by an anonymous namespace."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from audit_specimens import COLLISION, needs_nvcc
from collision_pair import cached_library

from harness.errors import SolverUnavailable
from harness.outcome import Kind, Outcome
from harness.registry import SolverSpec
from harness.replay import Request, replay
from harness.solvers import load
from sim3solve import reference_sim3

ROOT = Path(__file__).resolve().parent.parent
SOLVER = COLLISION / "solver.py"
CASES = ("op-sim3-identity-inv-cuda", "real-fr1-desk-0-8-ray-features")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """Both factories on an operation and on a tracker's frame, as ``harness replay`` would run them."""
    solvers = {name: f"{SOLVER}:{name}" for name in ("collided", "cured")}
    cases = tuple(ROOT / "cases" / case for case in CASES)
    run = replay(Request(cases, tuple(solvers.values()), jobs=2, out=tmp_path_factory.mktemp("reports"), resume=False))
    found = {name: [o for o in run.outcomes if o.solver == solver] for name, solver in solvers.items()}
    for outcome in run.outcomes:
        if outcome.kind is Kind.UNAVAILABLE:
            pytest.skip(str(outcome.reason))
    assert [len(each) for each in found.values()] == [len(CASES)] * 2
    return found


def test_the_collided_solver_dies_in_the_operation(outcomes: dict[str, list[Outcome]]) -> None:
    for outcome in outcomes["collided"]:
        assert outcome.kind is Kind.CRASHED and outcome.stage == "solving" and outcome.expected is False, outcome
        # macOS gives SIGBUS for a page that is there and forbidden.
        assert outcome.exit is not None and outcome.exit.name in ("SIGSEGV", "SIGBUS", "STATUS_ACCESS_VIOLATION"), outcome.exit
        frames = outcome.faulthandler or ""
        assert 'solver.py", line' in frames and " in inv\n" in frames, frames


def test_the_cured_solver_is_right(outcomes: dict[str, list[Outcome]]) -> None:
    for outcome in outcomes["cured"]:
        assert outcome.kind is Kind.OK and outcome.expected is True, outcome


def test_without_a_compiler_it_is_not_run_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SolverUnavailable, match="no-such-compiler"):
        load(SolverSpec("specimen", f"{SOLVER}:collided", ""))


@pytest.mark.skipif(sys.platform == "win32", reason="the failing compiler is a shell script")
def test_a_compiler_that_fails_is_a_reason_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "failing-c++"
    failing.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo failing 1.0 && exit 0\necho no such thing >&2; exit 1\n", encoding="utf-8"
    )
    failing.chmod(0o755)
    monkeypatch.setenv("CXX", str(failing))
    monkeypatch.setenv("SIM3SOLVE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SolverUnavailable, match="no such thing"):
        load(SolverSpec("specimen", f"{SOLVER}:collided", ""))


def test_the_cpu_path_of_the_collided_library_works(outcomes: dict[str, list[Outcome]]) -> None:
    """As in lietorch: the same library is right on the CPU and dies on the GPU."""
    device = importlib.import_module("solver").Device(str(cached_library(False)))
    X = np.array([[1, 2, 3, 0, 0, 0, 1, 2], [1, 2, 3, 0, 0, np.sqrt(0.5), np.sqrt(0.5), 0.5]])
    inverse = np.array([reference_sim3.inverse(row) for row in X])
    assert np.allclose(device.inv_on_cpu(X), inverse, atol=1e-6)


@needs_nvcc
def test_the_cuda_pair_by_audit_alone() -> None:
    """nvcc's own objects and libraries, both ways; nothing is run. The rest of the script needs a GPU."""
    _on_gpu("--build-only")


@pytest.mark.gpu
@needs_nvcc
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs an NVIDIA GPU")
def test_the_cuda_pair_dies_and_is_cured_on_a_gpu() -> None:
    _on_gpu()


def _on_gpu(*words: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    argv = [sys.executable, str(COLLISION / "on_gpu.py"), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0 and done.stdout.rstrip().endswith("all as it must be"), done.stdout + done.stderr
