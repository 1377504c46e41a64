"""ASan and UBSan: the shipped CPU solver is clean under them; faults planted in it and in a user's library are found, with line.

Without the planted faults a clean run would mean nothing; without the runtime's own word neither would the absence of a report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sanitized_solvers

from harness.batch import run_batch
from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import Kind, Outcome
from harness.process import open_launcher
from harness.registry import resolve
from harness.sanitizer import hostlog, hosttools
from harness.sanitizer.elfnames import asks_for
from sim3solve import compiler, native

ROOT = Path(__file__).parent.parent
SOLVERS = Path(__file__).with_name("sanitized_solvers.py")
CASE = ROOT / "cases" / "degenerate-n-33"
LAYOUTS = [ROOT / "cases" / name for name in ("degenerate-n-33", "layout-misaligned", "layout-offset-views")]


@pytest.fixture(scope="module", autouse=True)
def runtimes() -> None:
    for tool in ("asan", "ubsan"):
        try:
            hosttools.find(tool)
        except hosttools.RuntimeMissing as missing:
            pytest.skip(str(missing))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A user's library, built for each tool as a user would, and for none."""
    folder = tmp_path_factory.mktemp("library")
    source = sanitized_solvers.library_source(folder / "user.c")
    built = {}
    for tool, flags in {"asan": ["-fsanitize=address"], "ubsan": ["-fsanitize=undefined"], "none": []}.items():
        built[tool] = folder / f"libuser-{tool}.so"
        subprocess.run(
            [*compiler.find().command, "-x", "c", "-g", "-O1", "-fPIC", "-shared", *flags, str(source), "-o", str(built[tool])],
            check=True,
        )
    return built


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """Runs a case through a solver under a tool; a library that is built on first use is built before, not on the run's time."""
    folder = tmp_path_factory.mktemp("jobs")
    launcher = open_launcher(folder / "log", preload=(), threads=1)

    def run_task(tool: str, solver: str, case: Path = CASE, **more) -> Outcome:
        name = solver if solver == "native" else f"{SOLVERS}:{solver}"
        task = Task(case, read_document(case), resolve(name), tool, **more)
        return run_isolated(task, Limits(timeout_s=200), folder / task.name, launcher)

    yield run_task
    launcher.close()


def line_of(fault: str, source: Path) -> int:
    return next(number for number, line in enumerate(source.read_text().splitlines(), 1) if line.endswith(f"// {fault}"))


@pytest.mark.parametrize("tool", ["asan", "ubsan"])
@pytest.mark.parametrize("case", LAYOUTS, ids=lambda case: case.name)
def test_the_shipped_solver_is_clean(tool, case, tmp_path):
    """With one thread and with two: both are watched, and give the same bits."""
    outcomes = [in_environment({native.THREADS_VARIABLE: threads}, "native", tool, tmp_path / threads, case) for threads in "12"]
    for outcome in outcomes:
        assert (outcome.kind, outcome.status, outcome.tool_state) == (Kind.OK, "CONVERGED", "clean"), outcome
        assert outcome.values["watched_by"]["name"] == tool and len(outcome.values["watched_by"]["libraries"]) == 1
    one, two = outcomes
    assert (one.T_WCf, one.cost, one.iterations) == (two.T_WCf, two.cost, two.iterations)


# fmt: off
FAULTS = {
    "user_reads_past_the_end": ("asan", "out-of-bounds", "heap", "read", 4, 1),
    "user_writes_past_its_own": ("asan", "out-of-bounds", "heap", "write", 44, 1),
    "user_uses_freed": ("asan", "use-after-free", "heap", "read", 4, 0),
    "user_stores_misaligned": ("ubsan", "misaligned", None, "write", 8, None),
    "user_overflows_an_int": ("ubsan", "undefined", None, None, None, None),
}
# fmt: on


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_users_library_is_found(libraries, fault):
    tool, kind, space, direction, size, distance = FAULTS[fault]
    outcome = with_library(libraries[tool], tool, fault)
    assert (outcome.kind, outcome.tool_state, len(outcome.findings)) == (Kind.FINDINGS, "findings", 1)
    found = outcome.findings[0]
    assert (found["kind"], found["space"], found["direction"], found["size"]) == (kind, space, direction, size)
    where = found["where"]
    source = libraries[tool].with_name("user.c")
    assert (where["path"], where["line"]) == (str(source), line_of(fault, source))
    assert dict(where["snippet"])[where["line"]].endswith(f"// {fault}")
    if distance is not None:
        assert found["nearest_allocation"]["distance"] == distance
    if tool == "asan":  # the process ends there, and Python says from where it was called
        functions = [frame["function"] for frame in found["host_stack"]]
        assert fault in functions and "run_job" in functions
        assert not outcome.exit.crashed and "ended by asan" in outcome.exit.meaning
    if kind == "misaligned":
        assert found["address_mod_size"] == 4


def with_library(library: Path, tool: str, fault: str) -> Outcome:
    return in_environment({sanitized_solvers.LIBRARY: str(library)}, f"{SOLVERS}:{fault}", tool, library.parent / fault)


def in_environment(more: dict[str, str], solver: str, tool: str, folder: Path, case: Path = CASE) -> Outcome:
    """Runs with variables that a launcher that is open already has not."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in more.items():
            patch.setenv(name, value)
        launcher = open_launcher(folder / "log", preload=(), threads=1)
    try:
        task = Task(case, read_document(case), resolve(solver), tool)
        return run_isolated(task, Limits(timeout_s=200), folder / "job", launcher)
    finally:
        launcher.close()


@pytest.mark.parametrize("tool", ["asan", "ubsan"])
def test_a_fine_library_is_clean_and_named(libraries, tool):
    outcome = with_library(libraries[tool], tool, "user_is_fine")
    assert (outcome.kind, outcome.tool_state, outcome.notes) == (Kind.OK, "clean", ()), outcome.reason
    assert outcome.values["watched_by"]["libraries"] == [str(libraries[tool])]


@pytest.mark.parametrize("fault", ["user_is_fine", "user_reads_past_the_end"])
def test_a_library_that_is_not_built_for_the_tool_is_not_clean(libraries, fault):
    """Whatever else is: the solver goes on with the shipped library, which is, and which is not the user's."""
    outcome = with_library(libraries["none"], "asan", fault)
    assert (outcome.kind, outcome.tool_state) == (Kind.INCONCLUSIVE, "never attached")
    assert "-fsanitize=address (it loaded libuser-none.so)" in outcome.reason
    assert outcome.values["watched_by"]["libraries"] == []


def test_a_library_beside_a_watched_one_is_named(libraries):
    outcome = with_library(libraries["asan"], "asan", "user_brings_another")
    assert (outcome.kind, outcome.tool_state) == (Kind.OK, "clean"), outcome.reason
    assert outcome.values["watched_by"]["libraries"] == [str(libraries["asan"])]
    assert outcome.notes == ("asan did not watch libuser-none.so: not built with -fsanitize=address",)


def test_in_a_batch_each_job_says_what_was_watched(libraries, tmp_path, monkeypatch):
    """The second job finds the library loaded already, and it is its own all the same."""
    monkeypatch.setenv(sanitized_solvers.LIBRARY, str(libraries["asan"]))
    launcher = open_launcher(tmp_path / "log", preload=(), threads=1)
    tasks = [Task(case, read_document(case), resolve(f"{SOLVERS}:user_is_fine"), "asan") for case in LAYOUTS[:2]]
    try:
        outcomes = [outcome for _, outcome in run_batch(tasks, Limits(timeout_s=200), tmp_path / "jobs", launcher)]
    finally:
        launcher.close()
    assert (tmp_path / "jobs" / f"batch-{tasks[0].name}").is_dir()
    assert [(it.tool_state, it.values["watched_by"]["libraries"]) for it in outcomes] == [("clean", [str(libraries["asan"])])] * 2


@pytest.mark.parametrize("solver", ["oracle_alone", "native_wrapped"])
def test_a_solver_without_a_library_of_its_own_is_not_clean(run, solver):
    outcome = run("asan", solver)
    assert (outcome.kind, outcome.tool_state) == (Kind.INCONCLUSIVE, "never attached")
    assert "-fsanitize=address" in outcome.reason and "it loaded" not in outcome.reason


def test_a_crash_is_a_crash_and_asan_says_where(libraries):
    outcome = with_library(libraries["asan"], "asan", "user_dereferences_null")
    assert (outcome.kind, outcome.exit.signal, outcome.tool_state) == (Kind.CRASHED, "SIGSEGV", "findings")
    (found,) = outcome.findings
    assert (found["kind"], found["address"], found["direction"]) == ("invalid-access", 0, "read")
    assert found["where"]["path"].endswith("user.c")
    assert "run_job" in [frame["function"] for frame in found["host_stack"]]


def test_what_ubsan_saw_coming_is_its_finding_and_the_exit_stays_what_it_was(libraries):
    outcome = with_library(libraries["ubsan"], "ubsan", "user_dereferences_null")
    assert (outcome.kind, outcome.exit.signal, outcome.exit.crashed) == (Kind.FINDINGS, "SIGSEGV", True)
    assert "null pointer" in outcome.findings[0]["message"]


@pytest.mark.parametrize(
    ("fault", "tool", "kind"), [("a_row_too_far", "asan", "out-of-bounds"), ("a_wide_load", "ubsan", "misaligned")]
)
def test_a_fault_planted_in_the_shipped_solver_is_found(run, fault, tool, kind):
    """#line leads from the one text that is compiled to the true file."""
    outcome = run(tool, fault, ROOT / "cases" / "layout-misaligned" if tool == "ubsan" else CASE)
    assert outcome.kind is Kind.FINDINGS
    assert outcome.findings[0]["kind"] == kind
    assert outcome.findings[0]["where"]["path"] == "sim3solve/kernels/residual.cuh"
    assert outcome.findings[0]["where"]["snippet"]


def test_what_asks_for_a_runtime(libraries):
    assert asks_for(libraries["asan"], b"__asan_") and not asks_for(libraries["asan"], b"__ubsan_handle_")
    assert asks_for(libraries["ubsan"], b"__ubsan_handle_")
    assert not asks_for(libraries["none"], b"__asan_")
    assert not asks_for(Path(__file__), b"__asan_") and not asks_for(Path("/no/such/file"), b"__asan_")


def test_a_runtime_that_is_missing_is_said(monkeypatch):
    hosttools.find.cache_clear()
    monkeypatch.setattr(hosttools, "_answer", lambda argv: "libasan.so")
    with pytest.raises(hosttools.RuntimeMissing, match="install g"):
        hosttools.find("asan")
    monkeypatch.setattr(sys, "platform", "win32")
    hosttools.find.cache_clear()
    with pytest.raises(hosttools.RuntimeMissing, match="Linux only"):
        hosttools.find("asan")
    hosttools.find.cache_clear()


def test_the_command_line(tmp_path):
    """--tool asan with a planted fault and a clean solver side by side: JSON, report and exit code."""
    argv = [
        sys.executable, "-m", "harness", "replay", str(CASE), "--solver", "native", "--solver", f"{SOLVERS}:a_row_too_far",
        "--tool", "asan", "--timeout", "200", "--json",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 1, done.stderr
    fine, planted = json.loads(done.stdout)["outcomes"]
    assert (fine["outcome"], fine["tool_state"], fine["findings"]) == ("OK", "clean", [])
    assert (planted["outcome"], planted["tool_state"]) == ("FINDINGS", "findings")
    assert planted["findings"][0]["where"]["path"] == "sim3solve/kernels/residual.cuh"
    page = (tmp_path / "reports" / "latest" / "index.html").read_text(encoding="utf-8")
    assert "<mark>" in page and "view.data + (i + 1) * view.row" not in page  # the file's own line, not the planted one
    assert "the allocation of" in page and "residual.cuh:" in page


ASAN = """==7==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x60200000001c at pc 0x1 bp 0x2 sp 0x3
WRITE of size 8 at 0x60200000001c thread T0
    #0 0x7f01 in __interceptor_memcpy ../../../../src/libsanitizer/sanitizer_common/sanitizer_common_interceptors.inc:827
    #1 0x7f02 in copy(float const*, long) [clone .part.0] /src/a dir/user.cpp:12:3
    #2 0x7f03  (/lib/x86_64-linux-gnu/libffi.so.8+0x6f79)

0x60200000001c is located 4 bytes before 12-byte region [0x602000000020,0x60200000002c)
allocated by thread T0 here:
    #0 0x7f04 in malloc (/lib/libasan.so.8+0xb1)
"""


def test_a_report_of_another_compiler_is_read():
    """clang's words: before and after where gcc 12 has left and right, and a column."""
    (found,) = hostlog.parse(ASAN, "asan")
    assert (found["kind"], found["direction"], found["size"], found["address"]) == ("out-of-bounds", "write", 8, 0x60200000001C)
    assert found["nearest_allocation"] == {"address": 0x602000000020, "size": 12, "distance": 4}
    assert [frame["line"] for frame in found["host_stack"]] == [827, 12, None]
    assert found["host_stack"][2]["module"] == "/lib/x86_64-linux-gnu/libffi.so.8"
    assert found["where"]["path"].endswith("user.cpp") and found["where"]["line"] == 12


def test_all_reports_of_one_process_are_read():
    line = "a.cpp:{}:1: runtime error: signed integer overflow: 1 + 2 cannot be represented in 'int'\n    #0 0x1 in f a.cpp:{}\n\n"
    found = list(hostlog.parse(line.format(3, 3) + line.format(9, 9) + ASAN, "ubsan"))
    assert [it["where"]["line"] for it in found] == [3, 9, 12]
