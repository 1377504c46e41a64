"""Ctrl-C in a console of Windows: nothing that was cut off is kept as an outcome, so the same command runs it again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.isolation import Limits
from harness.outcome import Kind
from harness.replay import Request, replay

pytestmark = pytest.mark.skipif(os.name != "nt", reason="needs Windows' console and Job Objects")
CASE = Path(__file__).parents[2] / "cases" / "degenerate-n-33"
HANGS_ONCE = """
import time
from pathlib import Path
from harness.solvers import Solver

def make():
    def solve(problem, options, observe=None):
        hanging = Path(__file__).with_name("hanging")
        if hanging.exists():
            raise RuntimeError("the second time")
        hanging.touch()
        time.sleep(3600)
    return Solver(solve, arrays="numpy", devices=("cpu",))
"""


def test_what_ctrl_c_cut_off_is_run_again(tmp_path):
    (tmp_path / "hangs.py").write_text(HANGS_ONCE, encoding="utf-8")
    solver, out = f"{tmp_path / 'hangs.py'}:make", tmp_path / "runs"
    command = [sys.executable, "-m", "harness", "replay", str(CASE), "--solver", solver, "--jobs", "1", "--out", str(out)]
    pressed = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("ctrl_c.py")), str(tmp_path / "hanging"), *command, "--timeout", "3600"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", timeout=600,
        creationflags=subprocess.CREATE_NEW_CONSOLE,
    )  # fmt: skip
    assert pressed.returncode == 130, pressed.stdout
    assert "the same command takes it up again" in pressed.stdout and "Traceback" not in pressed.stdout
    (run,) = out.glob("2*")
    assert [file.name for file in (run / "outcomes").iterdir()] == []
    again = replay(Request((CASE,), (solver,), limits=Limits(timeout_s=3600.0), jobs=1, out=out))
    assert again.folder == run
    assert [outcome.kind for outcome in again.outcomes] == [Kind.RAISED]
