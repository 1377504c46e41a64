"""A solver of a revision runs as it stood there, beside today's: its own modules, kernels and build, in the harness of today."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from solver_history import CRASH, MISALIGNED, ROOT, SHIFTED, WRONG_SIGN, Edit, write_history

from harness import revision
from harness.adapters.revision import _options
from harness.errors import SolverUnavailable
from harness.gitrepo import GitError, Repository
from harness.isolation import Limits
from harness.outcome import Kind, Outcome
from harness.replay import Request, replay
from harness.sanitizer import hosttools
from sim3solve import Options, compiler

CASE = ROOT / "cases" / "real-fr1-desk-0-8-ray"
NO_FLAGS = (
    Edit("native.py", 'os.environ.get(FLAGS_VARIABLE, "").split()', '"".split()'),
    Edit("native.py", 'FLAGS_VARIABLE = "SIM3SOLVE_CXXFLAGS"', 'ANOTHER = "SIM3SOLVE_CXXFLAGS"'),
)
OLD_KERNELS = Edit("kernels/gauss_newton.cu", '#include "exchange.cuh"', '#include "exchange.cuh"\n#error of the old kernels')
PLAIN, WRONG, CRASHES, FLAGLESS, ODD, CUDA = range(1, 7)

try:
    compiler.find()
except compiler.CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("history") / "repository"
    planted = {
        WRONG: WRONG_SIGN, CRASHES: (WRONG_SIGN.back, CRASH), FLAGLESS: (CRASH.back, *NO_FLAGS),
        ODD: (*(edit.back for edit in NO_FLAGS), SHIFTED, MISALIGNED), CUDA: OLD_KERNELS,
    }  # fmt: skip
    return folder, write_history(folder, planted, n=8)


@pytest.fixture(autouse=True)
def here(history, monkeypatch):
    monkeypatch.chdir(history[0])


def run(tmp_path: Path, solvers: list[str], tool: str = "none", *cases: Path, **limits) -> list[Outcome]:
    request = Request(cases or (CASE,), tuple(solvers), (tool,), Limits(60, **limits), jobs=2, out=tmp_path)
    return list(replay(request).outcomes)


@pytest.mark.parametrize("fresh_interpreter", [False, True])
def test_each_revision_is_itself_in_one_replay_beside_todays(history, tmp_path, fresh_interpreter):
    shas = history[1]
    names = ["native", *(f"native@{shas[k]}" for k in (PLAIN, WRONG, CRASHES)), "native@main"]
    today, plain, wrong, crashed, _ = run(tmp_path, names, fresh_interpreter=fresh_interpreter)
    assert (today.kind, today.expected) == (plain.kind, plain.expected) == (Kind.OK, True)
    assert today.T_CkCf == plain.T_CkCf and today.T_WCf == plain.T_WCf and today.trace == plain.trace
    assert wrong.kind is Kind.OK and wrong.expected is False and wrong.signature == "wrong-pose | native"
    assert crashed.kind is Kind.CRASHED and crashed.expected is False
    assert crashed.signature == "crash | access-violation | __init__.string_at < native.solve"
    assert plain.solver == f"native@{shas[PLAIN][:12]}" and shas[PLAIN][:12] in plain.repeat


def test_two_words_for_one_revision_are_one_solver(history, tmp_path):
    sha = history[1][PLAIN]
    done = replay(Request((CASE,), (f"native@{sha}", f"native@{sha[:9]}", "native@main~6"), out=tmp_path))
    assert done.plan["tasks"] == [[CASE.name, f"native@{sha[:12]}", "none"]]
    assert sha in done.plan["solvers"][f"native@{sha[:12]}"]


def test_the_report_and_the_run_say_which_commit(history, tmp_path):
    from harness.report.write import write_report

    run(tmp_path, ["native@main~2"])
    folder = (tmp_path / "latest").resolve()
    assert f"native@{history[1][-3][:12]}" in write_report(folder).read_text(encoding="utf-8")
    assert history[1][-3] in (folder / "run.json").read_text(encoding="utf-8")


def test_torch_of_a_revision(history, tmp_path):
    old, new = run(tmp_path, [f"torch@{history[1][PLAIN]}", "torch"], "none", ROOT / "cases" / "degenerate-n-33")
    assert old.kind is Kind.OK and old.expected and old.T_CkCf == new.T_CkCf


def test_an_operation_of_a_revision(history, tmp_path):
    case = ROOT / "cases" / "op-sim3-identity-inv-cuda"
    names = [f"native@{history[1][PLAIN]}", "native"]
    old, new = run(tmp_path, names, "none", case)
    assert (old.kind, old.reason, old.values) == (new.kind, new.reason, new.values)


def test_a_checkout_in_a_folder_is_taken_as_it_stands(history, tmp_path):
    checkout = tmp_path / "checkout"
    (checkout / "sim3solve").parent.mkdir()
    shutil.copytree(ROOT / "sim3solve", checkout / "sim3solve", ignore=shutil.ignore_patterns("__pycache__"))
    file = checkout / "sim3solve" / "native.py"
    file.write_text(file.read_text().replace(CRASH.old, '    raise LookupError("not committed")\n' + CRASH.old))
    (outcome,) = run(tmp_path, [f"native@{checkout}"])
    assert outcome.kind is Kind.RAISED and outcome.exception.message == "not committed"
    assert outcome.signature == "raised | LookupError | native.solve"


def test_sources_that_vanished_since_are_unavailable_not_todays(history, tmp_path, monkeypatch):
    monkeypatch.setenv("SIM3SOLVE_CACHE", str(tmp_path / "cache"))
    found = revision.find("native@main")
    monkeypatch.setattr(revision, "find", lambda name: found)
    shutil.rmtree(found.folder)
    (outcome,) = run(tmp_path, ["native@main"])
    assert outcome.kind is Kind.UNAVAILABLE and "not on this machine" in outcome.reason


@pytest.fixture
def ubsan() -> None:
    try:
        hosttools.find("ubsan")
    except hosttools.RuntimeMissing as missing:
        pytest.skip(str(missing))


def test_a_revision_that_knew_no_flags_is_built_for_a_sanitizer_all_the_same(ubsan, history, tmp_path):
    (outcome,) = run(tmp_path, [f"native@{history[1][FLAGLESS]}"], "ubsan")
    assert (outcome.kind, outcome.tool_state) == (Kind.OK, "clean")


def test_a_finding_is_shown_in_the_lines_of_its_revision(ubsan, history, tmp_path):
    odd, plain = run(tmp_path, [f"native@{history[1][ODD]}", f"native@{history[1][PLAIN]}"], "ubsan")
    assert (plain.kind, plain.tool_state) == (Kind.OK, "clean")
    assert odd.kind is Kind.FINDINGS and odd.findings[0]["kind"] == "misaligned"
    where = odd.findings[0]["where"]
    text = dict(map(tuple, where["snippet"]))[where["line"]]
    assert where["path"] == "sim3solve/kernels/host.cpp" and text.strip() == "if (*reinterpret_cast<int32*>(at) != 0)"
    assert text.strip() in odd.signature


@pytest.mark.parametrize("name", ["torch", "cuda"])
def test_what_no_sanitizer_of_the_cpu_watches_says_so(history, tmp_path, name):
    (outcome,) = run(tmp_path, [f"{name}@main"], "ubsan")
    assert outcome.kind is Kind.UNAVAILABLE and "watches C and C++ on the CPU" in outcome.reason


def test_cuda_of_a_revision_is_loaded_up_to_the_gpu(history, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: the next test runs it there")
    (outcome,) = run(tmp_path, [f"cuda@{history[1][PLAIN]}"])
    assert outcome.kind is Kind.UNAVAILABLE and "needs an NVIDIA GPU" in outcome.reason


@pytest.mark.gpu
def test_cuda_of_a_revision_on_a_gpu(history, tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    then, today = run(tmp_path, [f"cuda@{history[1][PLAIN]}", "cuda"])
    assert then.kind is Kind.OK and then.expected and then.T_CkCf == today.T_CkCf


COMPILE = """
import sys
from harness.adapters import revision
solver = revision.cuda(sys.argv[1])
import sim3solve.cuda, sim3solve.cuda_kernels, sim3solve.abi
assert sim3solve.cuda.__file__.startswith(sys.argv[1]), sim3solve.cuda.__file__
assert solver.devices == ("cuda",)
print(sim3solve.cuda_kernels.compile_cubin("90").read_bytes()[:4])
"""


def test_cuda_of_a_revision_builds_its_own_kernels(history):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    said = {}
    for k in (PLAIN, CUDA):
        folder = revision.find(f"cuda@{history[1][k]}").folder
        done = subprocess.run([sys.executable, "-c", COMPILE, str(folder)], cwd=ROOT, capture_output=True, text=True)
        said[k] = done.stdout + done.stderr
    assert said[PLAIN].strip() == r"b'\x7fELF'"
    assert "of the old kernels" in said[CUDA]


def test_an_option_the_revision_did_not_know_must_be_at_its_default():
    then = dataclasses.make_dataclass(
        "Options", [(f.name, f.type, f) for f in dataclasses.fields(Options) if f.name != "depth_eps"]
    )
    assert _options(then, Options(max_iters=7)).max_iters == 7
    with pytest.raises(SolverUnavailable, match="did not know the option depth_eps"):
        _options(then, Options(depth_eps=0.5))


REAL = {"native@bb4b808": True, "native@5bfe055": True, "native@8eea817": False, "torch@1ea1f15": True, "torch@feaa730": False}
"""Whether the arithmetic has changed since."""


@pytest.mark.parametrize("name", REAL)
def test_commits_of_this_repositorys_own_history(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    solver, _, sha = name.partition("@")
    try:
        Repository.around(ROOT).commit(sha)
    except GitError as error:
        pytest.skip(f"no such history here: {error}")
    then, today = run(tmp_path, [name, solver])
    assert then.kind is Kind.OK and then.expected and today.expected
    if REAL[name]:
        assert then.T_CkCf != today.T_CkCf
