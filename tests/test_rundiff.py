"""Two runs compared by signature: what is new, fixed, changed, the same, not comparable, and how much faster."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest

from harness.outcome import ExceptionInfo, Exit, Kind, Outcome
from harness.run import Run
from harness.rundiff import CHANGED, FIXED, NEW, NOT_COMPARABLE, SAME, diff

ROOT = Path(__file__).parents[1]
FAULTS = ROOT / "tests" / "faults.py"
OK = {"kind": Kind.OK, "status": "CONVERGED", "expected": True, "solve_seconds": 0.01, "parity": {"oracle": {"d_sigma": 0.002}}}
CRASH = {"kind": Kind.CRASHED, "exit": Exit(-11, "SIGSEGV", "", True, "SIGSEGV"), "expected": False}
WINDOWS = {"kind": Kind.CRASHED, "exit": Exit(0xC0000005, "STATUS_ACCESS_VIOLATION", "", True), "expected": False}
RAISED = {"kind": Kind.RAISED, "exception": ExceptionInfo("ValueError", "no 3"), "expected": False}
SILENT = {"kind": Kind.UNAVAILABLE, "reason": "needs an NVIDIA GPU", "expected": None}


def outcome(case: str = "one", solver: str = "torch", tool: str = "none", **fields) -> Outcome:
    fields = fields or OK
    return Outcome(case, solver, tool, fields["kind"], "solving", 1.0, "again", **{k: v for k, v in fields.items() if k != "kind"})


def run(*outcomes: Outcome, sha256: str = "0", **environment) -> Run:
    cases = {it.case: {"sha256": sha256} for it in outcomes}
    about = {"cpu": "a processor", "cores": 2, "gpus": []} | environment
    return Run("run", Path("run"), "2026-11-24T10:00:00+00:00", "x", "test", about, {"tasks": []}, cases, outcomes)


def one(a: dict, b: dict):
    [change] = diff(run(outcome(**a)), run(outcome(**b))).changes
    return change


@pytest.mark.parametrize(
    ("a", "b", "what", "worse"),
    [
        (OK, OK, SAME, False), (OK, CRASH, NEW, True), (CRASH, OK, FIXED, False), (CRASH, CRASH, SAME, False),
        (CRASH, RAISED, CHANGED, True), (OK, SILENT, NOT_COMPARABLE, False), (SILENT, CRASH, NOT_COMPARABLE, False),
        (CRASH, WINDOWS, SAME, False), (RAISED, RAISED | {"exception": ExceptionInfo("ValueError", "no 4")}, SAME, False),
        (OK, OK | {"status": "MAX_ITERS"}, CHANGED, False),
    ],
)  # fmt: skip
def test_what_a_pair_is(a, b, what, worse):
    change = one(a, b)
    assert (change.what, change.worse) == (what, worse)
    assert bool(change.why) == (what in (NOT_COMPARABLE, CHANGED))


def test_what_was_not_watched_is_not_compared():
    clean, blind = (outcome(tool="memcheck", **OK | {"tool_state": state}) for state in ("clean", "never attached"))
    [change] = diff(run(clean), run(blind)).changes
    assert change.what == NOT_COMPARABLE and "memcheck did not watch B: never attached" in change.why


def test_another_case_of_the_same_name_is_not_compared():
    [change] = diff(run(outcome()), run(outcome(**CRASH), sha256="1")).changes
    assert change.what == NOT_COMPARABLE and "values differ" in change.why
    [gone] = diff(run(outcome()), run()).changes
    assert gone.what == NOT_COMPARABLE and gone.why == "only in A"


def test_distinct_bugs_are_counted_over_cases_and_solvers():
    a = run(*(outcome(case, **CRASH) for case in "xyz"), outcome("w"))
    b = run(outcome("x", **CRASH), outcome("y"), outcome("z", **RAISED), outcome("w", **RAISED))
    bugs = {bug.what: bug for bug in diff(a, b).bugs}
    assert (bugs[NEW].a, bugs[NEW].b, bugs[NEW].cases) == (0, 2, ("w", "z"))
    assert (bugs[CHANGED].a, bugs[CHANGED].b) == (3, 1) and bugs[CHANGED].signature.startswith("crash | access-violation")
    assert diff(a, b).worse and not diff(b, b).worse


def test_ratios_and_their_interval():
    fast, slow = ([outcome(f"c{i}", **OK | {"solve_seconds": s * (1 + 0.01 * i)}) for i in range(12)] for s in (0.01, 0.02))
    noisy = [dataclasses.replace(it, solve_seconds=0.01 * (0.5 if i % 2 else 2)) for i, it in enumerate(fast)]
    [speed] = diff(run(*fast), run(*slow)).speeds
    assert speed.pairs == 12 and speed.ratio == pytest.approx(2) and speed.words == "slower" and speed.low <= 2 <= speed.high
    assert diff(run(*slow), run(*fast)).speeds[0].words == "faster"
    assert diff(run(*fast), run(*noisy)).speeds[0].words == "within noise"
    assert "too few" in diff(run(*fast[:5]), run(*slow[:5])).speeds[0].words
    change = one(OK, OK | {"parity": {"oracle": {"d_sigma": 0.006}}})
    assert change.parity == pytest.approx(3) and change.speed == pytest.approx(1)
    assert math.isnan(one(OK | {"solve_seconds": math.nan}, OK).speed) and math.isnan(
        one(OK | {"parity": {"oracle": "x"}}, OK).parity
    )


def test_times_of_two_machines_are_not_compared():
    found = diff(run(outcome()), run(outcome(), cpu="another"))
    assert not found.speeds and "cpu: a processor and another" in found.machines and found.changes[0].what == SAME


def harness(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "harness", *words], cwd=cwd, capture_output=True, text=True, timeout=200)


def test_the_command_compares_runs_on_disk(tmp_path):
    file = tmp_path / "mine.py"
    case = "cases/degenerate-n-33"
    for out, body in (("a", "T = p.T_WCf; return T, T"), ("b", "import ctypes; ctypes.string_at(0)")):
        file.write_text(f"def make():\n    def solve(p, o):\n        {body}\n    return solve\n")
        harness("replay", case, "--solver", f"{file}:make", "--solver", "skip", "--out", str(tmp_path / out))
    a, b = (str(tmp_path / name / "latest") for name in "ab")
    done = harness("compare", a, b)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "crash | access-violation" in done.stdout and "1 same" in done.stdout
    assert harness("compare", b, b).returncode == 0
    wrong = harness("compare", str(tmp_path), b)
    assert wrong.returncode == 2 and "no run is there" in wrong.stderr
    (tmp_path / "a" / "latest" / "run.json").write_text('{"run": ')
    torn = harness("compare", a, b)
    assert torn.returncode == 2 and "run.json" in torn.stderr and "Traceback" not in torn.stderr
