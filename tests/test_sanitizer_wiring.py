"""From --tool to the outcome, end to end, with a stand-in that plays back what the real compute-sanitizer wrote on a GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sanitizer_recordings as recordings

from harness.casefile import read_document
from harness.cli import main as harness_cli
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import EXACT, Kind, Outcome
from harness.process import open_launcher
from harness.registry import resolve
from harness.sanitizer import locate, watch
from harness.verdict import describe

ROOT = Path(__file__).parent.parent
CASE = ROOT / "cases" / "degenerate-n-33"
FAKE = Path(__file__).with_name("fake_compute_sanitizer.py")
OLD, NEW = recordings.VERSIONS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with an interpreter line")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts the stand-in on PATH; returns what chooses the recording it plays back."""
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / locate.NAME
    script.write_text(f"#!{sys.executable}\n" + FAKE.read_text())
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(watch, "has_gpu", lambda: True)

    def play(version: str, name: str) -> None:
        monkeypatch.setenv("FAKE_RECORDING", str(recordings.folder(version) / name))

    return play


@pytest.fixture
def run(tmp_path: Path):
    def run_task(tool: str, solver: str = "cuda", timeout_s: float = 60.0, kernels: str | None = None, **more) -> Outcome:
        task = Task(CASE, read_document(CASE), resolve(solver), tool, **more)
        launcher = open_launcher(tmp_path / "log", preload=(), threads=1)
        try:
            return run_isolated(task, Limits(timeout_s, kernels=kernels), tmp_path / "job", launcher)
        finally:
            launcher.close()

    return run_task


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_the_shipped_kernel_is_clean(fake, run, tmp_path, tool):
    fake(NEW, f"{tool}-solver-cuda")
    outcome = run(tool, memory=EXACT)
    assert (outcome.kind, outcome.status, outcome.tool, outcome.tool_state) == (Kind.OK, "CONVERGED", tool, "clean")
    assert outcome.memory == EXACT and outcome.how == f"{tool}+exact"
    assert outcome.values["watched_by"] == {
        "name": "compute-sanitizer", "version": NEW, "source": "PATH", "launched": ["solve_ray_dist"],
    }  # fmt: skip
    assert outcome.exit.code == 0 and not outcome.notes  # 97 is the tool's, and no word about the child
    started = json.loads((tmp_path / "job" / "started.json").read_text())
    assert started["program"] == [sys.executable, "-P", "-m", "harness.worker", str(tmp_path / "job")]
    assert started["environment"]["PYTORCH_NO_CUDA_MEMORY_CACHING"] == "1"
    words = started["argv"]
    assert words[words.index("--tool") + 1] == tool
    assert words[words.index("--error-exitcode") + 1] == "97"
    assert json.loads((tmp_path / "job" / "job.json").read_text())["tool"] == tool
    assert {"sanitizer.xml", "sanitizer.txt"} <= {file.name for file in (tmp_path / "job").iterdir()}


def test_expandable_segments_are_turned_off(fake, run, tmp_path, monkeypatch):
    fake(NEW, "memcheck-solver-cuda")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64,expandable_segments:True")
    assert run("memcheck").kind is Kind.OK
    started = json.loads((tmp_path / "job" / "started.json").read_text())
    assert started["environment"]["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:64"


def test_the_old_version_needs_the_childs_word_of_a_launch(fake, run, tmp_path):
    fake(OLD, "memcheck-solver-cuda")
    outcome = run("memcheck")
    assert (outcome.kind, outcome.tool_state) == (Kind.INCONCLUSIVE, "kernel not launched")
    assert "nothing says that a kernel was launched" in outcome.reason
    assert outcome.T_WCf is not None  # the pose is kept, and not called clean


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_a_finding(fake, run, version):
    fake(version, "memcheck-misaligned_read")
    outcome = run("memcheck")
    assert (outcome.kind, outcome.tool_state, len(outcome.findings)) == (Kind.FINDINGS, "findings", 1)
    found = outcome.findings[0]
    assert (found["kind"], found["count"], found["kernel"]) == ("misaligned", 32, "misaligned_read")
    assert "memcheck found 1 fault" in describe(outcome)
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


@pytest.mark.parametrize("version", recordings.VERSIONS)
@pytest.mark.parametrize(
    ("name", "kind", "state", "says"),
    [
        ("memcheck-no_cuda", Kind.INCONCLUSIVE, "never attached", "ended without using CUDA"),
        ("memcheck-init_only", Kind.INCONCLUSIVE, "kernel not launched", "none of the kernels"),
        ("memcheck-segfault_before", Kind.CRASHED, "never attached", "before it first used CUDA"),
        (
            "memcheck-segfault_after",
            Kind.CRASHED,
            "tool failed",
            "died of Segmentation fault on the host",
        ),
        ("memcheck-abort_after", Kind.CRASHED, "tool failed", "died of Aborted"),
        ("memcheck-killed", Kind.INCONCLUSIVE, "tool failed", "didn't terminate successfully"),
        ("memcheck-exit_3", Kind.INCONCLUSIVE, "tool failed", "returned an error"),
        ("memcheck-no_program", Kind.INCONCLUSIVE, "tool failed", "not a valid executable"),
        ("memcheck-healthy-unwritable", Kind.INCONCLUSIVE, "tool failed", "Failed to write XML report"),
    ],
)
def test_what_is_not_clean(fake, run, version, name, kind, state, says):
    fake(version, name)
    outcome = run("memcheck")
    assert (outcome.kind, outcome.tool_state) == (kind, state)
    assert says in f"{outcome.reason} {outcome.notes}"
    if name == "memcheck-segfault_after":  # what speaks for the host, in the words of the tool
        assert ("ERROR SUMMARY: 0 errors" if version.startswith("2025") else "counts launches only") in outcome.notes[-1]
    if kind is Kind.CRASHED:
        assert outcome.exit.signal == ("SIGABRT" if "abort" in name else "SIGSEGV")
        assert outcome.exit.crashed and "Current thread" in outcome.faulthandler


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_a_launch_counts_for_the_kernels_in_question(fake, run, tmp_path, version):
    """Those of ``cuda``, or those that were named, which are then what is instrumented."""
    fake(version, "memcheck-healthy")
    assert run("memcheck").tool_state == "kernel not launched"  # its kernel is none of the solver's
    assert run("memcheck", kernels="other").tool_state == "kernel not launched"
    outcome = run("memcheck", kernels="^heal+thy$")
    assert (outcome.kind, outcome.tool_state, outcome.values["watched_by"]["launched"]) == (Kind.OK, "clean", ["healthy"])
    words = json.loads((tmp_path / "job" / "started.json").read_text())["argv"]
    assert words[words.index("--kernel-name") + 1] == "regex=^heal+thy$"
    assert "--kernels" in outcome.repeat


def test_what_the_child_says_itself_is_kept(fake, run):
    """It ended with a CUDA error in its stderr; that the tool wrote too little is said beside it."""
    fake(NEW, "memcheck-many-limited")
    outcome = run("memcheck")
    assert (outcome.kind, outcome.tool_state) == (Kind.CUDA_ERROR, "tool failed")
    assert "counts 519 records" in outcome.notes[-1]


def test_a_run_at_its_limit(fake, run):
    fake(NEW, "memcheck-endless")
    outcome = run("memcheck", timeout_s=3.0)
    assert (outcome.kind, outcome.tool_state, outcome.limit_s) == (Kind.TIMEOUT, "timed out", 3.0)
    assert "launched last is endless" in outcome.notes[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_tool_that_dies_is_no_crash_of_the_solver(fake, run, monkeypatch, number):
    """All files are there, as after a clean run."""
    fake(NEW, "memcheck-solver-cuda")
    monkeypatch.setenv("FAKE_DEATH", str(int(number)))
    outcome = run("memcheck")
    assert (outcome.kind, outcome.tool_state) == (Kind.INCONCLUSIVE, "tool failed")
    assert f"compute-sanitizer itself died of {number.name}" in outcome.reason


def test_a_solver_that_stays_on_the_cpu_is_not_called_clean(fake, run, monkeypatch, tmp_path):
    """The child really runs here; the tool says, as recorded, that it never saw CUDA."""
    monkeypatch.setenv("FAKE_RUN", "1")
    solver = tmp_path / "mine.py"
    solver.write_text("from harness.solvers import reference as make\n")
    fake(NEW, "memcheck-no_cuda")
    outcome = run("memcheck", f"{solver}:make")
    assert (outcome.kind, outcome.tool_state) == (Kind.UNAVAILABLE, "never attached")
    assert "it ran on the CPU" in outcome.reason


@pytest.mark.parametrize(
    ("tool", "solver", "says"),
    [("memcheck", "native", "runs on the CPU"), ("racecheck", "reference", "runs on the CPU"), ("asan", "torch", "has none"),
     ("ubsan", "cuda", "has none")],
)  # fmt: skip
def test_a_tool_for_the_other_side_is_unavailable(fake, run, tool, solver, says):
    outcome = run(tool, solver)
    assert outcome.kind is Kind.UNAVAILABLE and says in outcome.reason and outcome.tool_state is None


def test_asan_and_poison_which_see_less_together_than_alone_are_not_run_together():
    """A run that ends clean because neither could see would be a lie."""
    with pytest.raises(watch.ToolUnavailable, match="asan has its red zones where poison puts NaN"):
        watch.prepare("asan", resolve("native"), "auto", "poison")


def test_without_a_gpu_and_without_the_tool(run, monkeypatch, tmp_path):
    monkeypatch.setattr(watch, "has_gpu", lambda: False)
    assert "this machine shows none" in run("memcheck").reason
    monkeypatch.setattr(watch, "has_gpu", lambda: True)
    monkeypatch.setattr(locate, "_candidates", lambda search_path, toolkits: [])
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = run("memcheck")
    assert outcome.kind is Kind.UNAVAILABLE and "pip install nvidia-cuda-sanitizer-api" in outcome.reason


def test_a_broken_tool_is_said_to_be_broken(monkeypatch, tmp_path, run):
    script = tmp_path / locate.NAME
    script.write_text("#!/bin/sh\necho nothing\n")
    script.chmod(0o755)
    monkeypatch.setattr(watch, "has_gpu", lambda: True)
    monkeypatch.setattr(locate, "_candidates", lambda search_path, toolkits: [(script, "PATH")])
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert "does not answer as compute-sanitizer does" in run("memcheck").reason


def cli(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line with a GPU pretended: only in this process, so by a one-line program."""
    program = "from harness.sanitizer import watch; watch.has_gpu = lambda: True; from harness.cli.main import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=200
    )


def test_the_command_line(fake, tmp_path):
    """Exact memory by default, the finding in the JSON and in the report, exit code 1."""
    fake(NEW, "memcheck-misaligned_read")
    done = cli("replay", str(CASE), "--solver", "cuda", "--tool", "memcheck", "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    outcome = json.loads(done.stdout)["outcomes"][0]
    assert (outcome["outcome"], outcome["tool"], outcome["memory"], outcome["tool_state"]) == (
        "FINDINGS",
        "memcheck",
        "exact",
        "findings",
    )
    assert outcome["findings"][0]["where"]["path"] == "tests/recordings/faults.cu"
    assert outcome["repeat"].endswith("--solver cuda --tool memcheck")
    page = (tmp_path / "reports" / "latest" / "index.html").read_text(encoding="utf-8")
    assert "misaligned_read" in page and "reinterpret_cast&lt;const float4*&gt;(in + 3)" in page


@pytest.mark.parametrize("verb", ["replay", "fuzz", "minimize", "bisect"])
def test_each_verb_takes_the_kernels_and_refuses_what_is_none(tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    more = {"minimize": ["--solver", "cuda"], "bisect": ["--good", "v1", "--bad", "HEAD"]}.get(verb, [])
    for words, says in ((["--tool", "memcheck", "--kernels", "("], "no regular expression"), (["--kernels", "x"], "is for --tool")):
        monkeypatch.setattr(sys, "argv", ["harness", verb, str(CASE), *more, *words])
        with pytest.raises(SystemExit) as ended:
            harness_cli.main()
        assert ended.value.code == 2 and says in " ".join(capsys.readouterr().err.split())


def test_the_kernels_of_the_command_line_reach_the_tool(fake, tmp_path):
    """A FILE.py solver, whose kernels nobody knows: clean for those that are named, and not for others."""
    solver = tmp_path / "mine.py"
    solver.write_text("from harness.solvers import reference as make\n")
    fake(NEW, "memcheck-healthy")
    for kernels, state in (("healthy", "clean"), ("mine", "kernel not launched")):
        words = ("--solver", f"{solver}:make", "--tool", "memcheck", "--kernels", kernels, "--json", "--fresh")
        done = cli("replay", str(CASE), *words, cwd=tmp_path)
        outcome = json.loads(done.stdout)["outcomes"][0]
        assert outcome["tool_state"] == state, done.stderr
        assert outcome["repeat"].endswith(f"--tool memcheck --kernels {kernels}")


def test_an_unknown_tool_is_wrong_use(tmp_path):
    done = cli("replay", str(CASE), "--tool", "valgrind", cwd=tmp_path)
    assert (
        done.returncode == 2
        and "there are: none, memcheck, racecheck, initcheck, synccheck, asan, ubsan" in done.stderr.replace("\n", " ")
    )


def test_pytest_takes_the_tools_too():
    """On a machine without a GPU every one of them is a skip that says why."""
    argv = [
        sys.executable, "-m", "pytest", "cases", "--case", "degenerate-n-33", "--solver", "native", "--tool", "memcheck", "-rs",
        "-q", "-p", "no:cacheprovider", "--kernels",
    ]  # fmt: skip
    done = subprocess.run([*argv, "solve"], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "1 skipped" in done.stdout and "watches kernels on a GPU" in done.stdout
    done = subprocess.run([*argv, "("], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 4 and "no regular expression" in done.stderr
