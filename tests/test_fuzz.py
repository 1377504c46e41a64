"""Planted faults are found from innocent cases, once each, and kept as cases that show them again; nothing is done twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from problem_factory import shipped

from harness.casefile import read_case, write_case
from harness.dask_executor import WorkersLost
from harness.errors import HarnessError, UsageError
from harness.fuzz import campaign as campaigns
from harness.fuzz.campaign import CHUNK, Campaign, as_they_are, fuzz
from harness.fuzz.chunk import run_part
from harness.fuzz.folder import State, read_state
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
from sim3solve.problem import Status

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

def _singular(problem, options, observe):
    solution = native.solve(problem, options, observe)
    bad = problem.n_points in (384, 385)
    return dataclasses.replace(solution, status=Status.NOT_POSITIVE_DEFINITE) if bad else solution

def _raises(problem, options, observe):
    if problem.n_points % 32 == 7:
        raise KeyError("planted")
    return native.solve(problem, options, observe)

crash, leak, strides, hang, wrong_sign, healthy = map(made, (_crash, _leak, _strides, _hang, _wrong_sign, native.solve))
singular, raises = map(made, (_singular, _raises))
"""


@pytest.fixture
def solvers(tmp_path: Path) -> Path:
    file = tmp_path / "planted.py"
    file.write_text(SOLVERS, encoding="utf-8")
    return file


def campaign(tmp_path: Path, solver: str, executions: int, **more) -> Campaign:
    limits = Limits(timeout_s=3.0)
    return Campaign(INNOCENT, solver, tmp_path / "campaign", executions=executions, jobs=2, limits=limits, seed=10, **more)


def cli(words: list[str], **more) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "harness", *words]
    out = ["--out", str(more.pop("out"))] if "out" in more else []
    return subprocess.run([*argv, *out], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False, **more)


@pytest.mark.parametrize(
    ("fault", "executions", "word", "same_bits"),
    [
        ("crash", 128, "access-violation", False),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in (
            ("leak", 256, "promises a pose", False), ("strides", 256, "other bits", True), ("hang", 128, "timeout", False),
            ("wrong_sign", 256, "not the oracle", False), ("singular", 256, "status |", False), ("raises", 128, "keyerror", False),
        )),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found_once_and_kept_as_a_case_that_shows_it(
    tmp_path: Path, solvers: Path, monkeypatch, fault: str, executions: int, word: str, same_bits: bool
) -> None:
    if fault != "crash":  # which must come to the smallest; of the others a smaller one is enough
        monkeypatch.setattr(campaigns, "MINIMIZE_S", 3.0)
    state = fuzz(campaign(tmp_path, f"{solvers}:{fault}", executions, same_bits=same_bits))
    assert state.executions >= executions
    found = [find for find in state.finds if word in find.signature.lower()]
    assert len(found) == 1, state.finds
    (find,) = found
    assert find.rate == 1.0 and find.count >= 1 and f"{solvers}:{fault}" in find.repeat
    assert cli(shlex.split(find.repeat)[3:]).returncode == 1
    assert bool(find.minimized) is (fault != "strides")  # a replay of a smaller case does not know the other layout
    if fault in ("crash", "wrong_sign"):
        assert cli(["replay", find.minimized, "--solver", f"{solvers}:{fault}", "--timeout", "3"]).returncode == 1
    case = read_case(find.case)
    assert case.document.tags == ("mutant",) and "mutant" in case.document.provenance.source
    if fault == "crash":
        assert read_case(find.minimized).document.n_points == 7  # the least that is 7 modulo 32
    others = [f for f in state.finds if f is not find]
    assert not others or fault == "strides", others  # rows in the wrong order are a wrong pose, too


def test_a_solver_without_a_fault_has_no_find(tmp_path: Path) -> None:
    state = fuzz(campaign(tmp_path, "native", 384))
    assert state.executions == 384 and state.finds == ()


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


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "harness",
        "fuzz",
        str(INNOCENT[0]),
        "--executions",
        "512",
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
    assert 2 <= before.count("\n") < 4
    chunks.write_text(before + '{"chunk": 99, "execu', encoding="utf-8")  # a line cut short
    done = subprocess.run([*argv, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["executions"] == 512
    assert chunks.read_text().startswith(before)
    numbers = [json.loads(line)["chunk"] for line in chunks.read_text().splitlines() if not line.endswith("execu")]
    assert sorted(numbers) == list(range(512 // (2 * CHUNK)))


@pytest.mark.slow
def test_another_campaign_in_the_same_folder_is_refused(tmp_path: Path, monkeypatch) -> None:
    fuzz(campaign(tmp_path, "native", 128))
    with pytest.raises(UsageError, match=r"another campaign is there \(tool differ\)"):
        fuzz(campaign(tmp_path, "native", 128, tool="ubsan"))
    with pytest.raises(UsageError, match=r"\(limits differ\)"):
        fuzz(dataclasses.replace(campaign(tmp_path, "native", 128), limits=Limits(timeout_s=9.0)))
    with monkeypatch.context() as patched, pytest.raises(UsageError, match=r"\(code differ\)"):
        patched.setattr(campaigns, "CODE", "0.0.1 of another day")
        fuzz(campaign(tmp_path, "native", 128))
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
        (["cases", "--device", "foo"], "--device foo: must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_wrong_use_is_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    argv = [sys.executable, "-m", "harness", "fuzz", *words, "--out", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and says in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["campaign.json", "finds/one/find.json"])
@pytest.mark.parametrize("text", ["", "[]", '{"signature": "crash"', '{"executions": "many", "signature": 1}'])
def test_a_damaged_file_is_named_in_a_line(tmp_path: Path, name: str, text: str) -> None:
    fuzz(campaign(tmp_path, "native", 64, same_bits=False))
    file = tmp_path / "campaign" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    with pytest.raises(UsageError, match=rf"{file}: (no campaign|damaged): "):
        fuzz(campaign(tmp_path, "native", 64, same_bits=False))


@pytest.mark.slow
def test_lines_that_say_nothing_are_chunks_to_be_done(tmp_path: Path) -> None:
    fuzz(campaign(tmp_path, "native", 64, same_bits=False))
    chunks = tmp_path / "campaign" / "chunks.jsonl"
    chunks.write_text('[]\n{"chunk": 0}\n{"chunk": "x", "executions": 64, "seconds": 1, "signatures": []}\n\ufffd')
    assert fuzz(campaign(tmp_path, "native", 64, same_bits=False)).executions == 64


class Losing(ThreadPoolExecutor):
    """Parts of more than so many mutants are lost with their workers."""

    def __init__(self, most: int) -> None:
        super().__init__(2)
        self.most, self.ran = most, []

    def submit(self, fn, /, *args, **kwargs):
        if fn is run_part and len(args[1].mutants) > self.most:
            lost: Future = Future()
            lost.set_exception(WorkersLost("4 workers died while they ran it"))
            return lost
        self.ran += [len(args[1].mutants)] if fn is run_part else []
        return super().submit(fn, *args, **kwargs)


def test_a_chunk_that_workers_die_of_is_done_in_halves(tmp_path: Path) -> None:
    with Losing(16) as pool:
        state = fuzz(campaign(tmp_path, "native", 64, same_bits=False), executor=pool)
    assert pool.ran == [16] * 4 and state.executions == 64
    assert len((tmp_path / "campaign" / "chunks.jsonl").read_text().splitlines()) == 1
    with Losing(0) as pool, pytest.raises(HarnessError, match=r"mutant \d+ of seed 10: 4 workers died"):
        fuzz(campaign(tmp_path, "native", 128, same_bits=False), executor=pool)


def test_a_case_is_looked_at_as_it_is(tmp_path: Path, solvers: Path) -> None:
    [(case, told)] = as_they_are(dataclasses.replace(campaign(tmp_path, "native", 1), bases=INNOCENT[:1]))
    assert case.id == INNOCENT[0].name and told is None
    assert not (tmp_path / "campaign" / "chunks.jsonl").exists()
    done = cli(["fuzz", str(ROOT / "cases" / "degenerate-n-0"), "--as-it-is", "--solver", "native", "--json"], out=tmp_path / "out")
    assert done.returncode == 0 and json.loads(done.stdout)["cases"][0]["signature"] is None


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="scratch lies elsewhere")
def test_an_interrupt_leaves_no_scratch_and_says_what_is_kept(tmp_path: Path) -> None:
    begin = f"harness-fuzz-{hashlib.sha256(str((tmp_path / 'out').resolve()).encode()).hexdigest()[:16]}-*"
    words = ["fuzz", str(INNOCENT[0]), "--executions", "4096", "--jobs", "2", "--out", str(tmp_path / "out")]
    argv = [sys.executable, "-m", "harness", *words]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "out" / "chunks.jsonl").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted; finished chunks are kept, and the same command goes on" in " ".join(
        err.split()
    )
    assert "Traceback" not in err and not list(Path("/dev/shm").glob(begin))
