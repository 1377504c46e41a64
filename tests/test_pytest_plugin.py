"""``pytest cases/`` as a user meets it: inner pytest runs over a few cases."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from harness.registry import BUILTIN

ROOT = Path(__file__).parent.parent
FAULTS = Path(__file__).with_name("faults.py")


def run_pytest(*words: str) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=180)


def test_each_case_and_solver_is_a_test():
    done = run_pytest("cases", "--case", "degenerate-n-3", "-v")
    assert done.returncode == 0, done.stdout
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|skipped)", done.stdout.splitlines()[-1])}
    assert sum(counts.values()) == 2 * len(BUILTIN)
    assert counts["passed"] >= 2 * len({"reference", "torch", "skip"})
    assert "cases/degenerate-n-33/case.json::torch" in done.stdout


def test_options_choose_cases_and_solvers_and_xdist_works():
    done = run_pytest("cases", "--case", "degenerate-n-0", "--case", "nan-valid", "--solver", "torch", "-n", "2", "-v")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_what_must_fail_is_stated_by_the_case():
    """NON_FINITE is a pass where the case demands it, and a wrong pose a failure with its verdict and the command."""
    done = run_pytest("cases", "--case", "degenerate-nan-valid", "--case", "degenerate-n-33", "--solver", f"{FAULTS}:nan_pair")
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "the case expects OK" in done.stdout and "again: python -m harness replay" in done.stdout


def test_a_crash_fails_one_test_only_and_leaves_its_stack_in_junit(tmp_path):
    xml = tmp_path / "junit.xml"
    done = run_pytest(
        "cases", "--case", "degenerate-n-33", "--solver", f"{FAULTS}:segfault", "--solver", "skip", f"--junitxml={xml}"
    )
    assert "1 failed, 1 passed" in done.stdout
    cases = {case.get("name"): case for case in ET.parse(xml).iter("testcase")}
    failed = next(case for name, case in cases.items() if "segfault" in name)
    assert "SIGSEGV" in failed.find("failure").text
    properties = {p.get("name"): p.get("value") for p in failed.iter("property")}
    assert properties["outcome"] == "CRASHED"
    assert "faults.py" in done.stdout  # the child's faulthandler stack


def test_a_hang_is_ended_by_the_child_limit_not_by_pytest():
    done = run_pytest("cases", "--case", "degenerate-n-33", "--solver", f"{FAULTS}:hang", "--case-timeout", "1.5")
    assert "still at stage 'solving' after 1.5 s" in done.stdout


def test_what_cannot_run_is_skipped_with_its_reason_and_counted():
    done = run_pytest("cases", "--case", "op-sim3", "--solver", "torch", "--device", "auto", "-rs")
    assert done.returncode == 0
    if "1 skipped" in done.stdout:  # no GPU here
        assert "needs an NVIDIA GPU" in done.stdout
        assert "1 tests need an NVIDIA GPU and were not run" in done.stdout
    else:
        assert "1 passed" in done.stdout


def test_an_unknown_solver_is_a_usage_error():
    done = run_pytest("cases", "--solver", "torhc")
    assert done.returncode == 4
    assert "did you mean torch" in done.stderr
