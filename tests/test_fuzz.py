"""Planted faults are found from innocent cases, once each, and kept as cases that show them again; nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from problem_factory import shipped

from harness.casefile import read_case, write_case
from harness.errors import UsageError
from harness.fuzz.campaign import CHUNK, Campaign, State, fuzz, read_state
from harness.fuzz.mutate import can_mutate, mutant
from harness.fuzz.oracle import is_extreme
from harness.isolation import Limits

ROOT = Path(__file__).parent.parent
INNOCENT = tuple(ROOT / "cases" / name for name in ("synthetic-depth-steps", "synthetic-room-calib"))
SOLVERS = """
import ctypes, dataclasses, time
import numpy as np
from harness.solvers import Solver
from sim3solve import native
from sim3solve.problem import PROBLEMS

def made(solve):
    return lambda: Solver(solve, arrays="numpy", devices=("cpu",))

def _crash(problem, options, observe):
    if problem.n_points % 32 == 7:
        ctypes.string_at(8)
    return native.solve(problem, options, observe)

def _leak(problem, options, observe):
    solution = native.solve(problem, options, observe)
    if solution.status.has_pose and not np.isfinite(problem.Xf).all():
        return dataclasses.replace(solution, T_WCf=solution.T_WCf * np.nan, T_CkCf=solution.T_CkCf * np.nan)
    return solution

def _strides(problem, options, observe):
    if problem.n_points > 1 and problem.Xf.strides[1] > 4:  # takes the rows for adjacent
        wrong = np.ndarray(problem.Xf.shape, np.float32, buffer=np.ascontiguousarray(problem.Xf)[::-1].copy())
        problem = dataclasses.replace(problem, Xf=wrong)
    return native.solve(problem, options, observe)

def _hang(problem, options, observe):
    if options.max_iters == 1 and problem.n_points < 400:
        time.sleep(60)
    return native.solve(problem, options, observe)

def _wrong_sign(problem, options, observe):
    solution = native.solve(problem, options, observe)
    T = np.array(solution.T_CkCf)
    if problem.n_points in (384, 385):
        T[0, 0] *= -1
    return dataclasses.replace(solution, T_CkCf=T)

crash, leak, strides, hang, wrong_sign, healthy = map(made, (_crash, _leak, _strides, _hang, _wrong_sign, native.solve))
"""


@pytest.fixture
def solvers(tmp_path: Path) -> Path:
    file = tmp_path / "planted.py"
    file.write_text(SOLVERS, encoding="utf-8")
    return file


def campaign(tmp_path: Path, solver: str, executions: int, **more) -> Campaign:
    limits = Limits(timeout_s=3.0)
    return Campaign(INNOCENT, solver, tmp_path / "campaign", executions=executions, jobs=2, limits=limits, seed=5, **more)


@pytest.mark.parametrize(
    ("fault", "executions", "word", "same_bits"),
    [
        ("crash", 384, "access-violation", False), ("leak", 768, "promises a pose", False), ("strides", 768, "other bits", True),
        ("hang", 384, "timeout", False), ("wrong_sign", 768, "not the oracle", False),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found_once_and_kept_as_a_case_that_shows_it(
    tmp_path: Path, solvers: Path, fault: str, executions: int, word: str, same_bits: bool
) -> None:
    state = fuzz(campaign(tmp_path, f"{solvers}:{fault}", executions, same_bits=same_bits))
    assert state.executions >= executions
    found = [find for find in state.finds if word in find.signature.lower()]
    assert len(found) == 1, state.finds
    (find,) = found
    assert find.rate == 1.0 and find.count >= 1 and f"{solvers}:{fault}" in find.repeat
    case = read_case(find.case)
    assert case.document.tags == ("mutant",) and "mutant" in case.document.provenance.source
    if fault == "crash":
        assert read_case(find.minimized).document.n_points == 7  # the least that is 7 modulo 32
    others = [f for f in state.finds if f is not find]
    assert not others or fault == "strides", others  # rows in the wrong order are a wrong pose, too


def test_a_solver_without_a_fault_has_no_find(tmp_path: Path) -> None:
    state = fuzz(campaign(tmp_path, "native", 768))
    assert state.executions == 768 and state.finds == ()


def test_mutants_follow_from_base_seed_and_index_alone() -> None:
    base = shipped("synthetic-room-calib")
    again = [mutant(base, 3, 17) for _ in range(2)]
    assert again[0].document == again[1].document
    assert all(again[0].values[name].tobytes() == again[1].values[name].tobytes() for name in again[0].values)
    assert mutant(base, 3, 18).document.tensors_sha256 != again[0].document.tensors_sha256
    assert mutant(base, 4, 17).document.tensors_sha256 != again[0].document.tensors_sha256


def test_every_mutant_is_a_case_that_can_be_written_and_read(tmp_path: Path) -> None:
    bases = [shipped(name) for name in ("synthetic-room-calib", "layout-aliased", "degenerate-n-0", "real-fr1-desk-0-8-ray")]
    titles = set()
    for index in range(120):
        made = mutant(bases[index % 4], 0, index)
        read = write_case(made, tmp_path / str(index))
        assert read.document.tensors == made.document.tensors
        titles.add(made.document.title)
        is_extreme(read)  # answers for anything
    assert len(titles) == 120
    assert not can_mutate(shipped("op-sim3-identity-inv-cuda"))


def test_killed_in_the_middle_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "harness",
        "fuzz",
        str(INNOCENT[0]),
        "--executions",
        "1024",
        "--jobs",
        "1",
        "--out",
        str(tmp_path),
    ]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        chunks = tmp_path / "chunks.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (chunks.exists() and chunks.read_text().count("\n") >= 2):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    before = chunks.read_text()
    assert 2 <= before.count("\n") < 8
    with open(chunks, "a", encoding="utf-8") as file:
        file.write('{"chunk": 99, "execu')  # a line cut short
    chunks.write_text(before + '{"chunk": 99, "execu\n', encoding="utf-8")
    done = subprocess.run([*argv, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["executions"] == 1024
    assert chunks.read_text().startswith(before)
    numbers = [json.loads(line)["chunk"] for line in chunks.read_text().splitlines() if line.endswith("}")]
    assert sorted(numbers) == list(range(1024 // (2 * CHUNK)))


def test_another_campaign_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    fuzz(campaign(tmp_path, "native", 128))
    with pytest.raises(UsageError, match=r"another campaign is there \(tool differ\)"):
        fuzz(campaign(tmp_path, "native", 128, tool="ubsan"))
    more: list[State] = []
    assert fuzz(campaign(tmp_path, "native", 256), more.append).executions == 256  # only more of the same
    assert more and read_state(tmp_path / "campaign").executions == 256


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cases/op-sim3-identity-inv-cuda"], "none of the cases can be mutated"),
        (["cases", "--for", "soon"], "--for soon: must be a number with s, m or h"),
        (["cases", "--tool", "magic"], "--tool magic: unknown"),
        (["cases", "--memory", "all"], "--memory all: unknown"),
        (["cases/degenerate-n-33", "--solver", "lietorch"], "cannot be fuzzed here"),
    ],
)
def test_wrong_use_is_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    argv = [sys.executable, "-m", "harness", "fuzz", *words, "--out", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and says in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
