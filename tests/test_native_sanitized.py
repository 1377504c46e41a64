"""The CPU library under AddressSanitizer and UndefinedBehaviorSanitizer: clean on every shipped case, its layouts included.

Two planted faults, a row read too far and a load wider than its alignment, must be reported: else a clean run would mean nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from problem_factory import CASES, SHIPPED

from sim3solve import compiler
from sim3solve.build import inline_sources

SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
READ = "const float* row = view.data + i * view.row;"
PLANTED = {
    "a row too far": ("const float* row = view.data + (i + 1) * view.row;", "heap-buffer-overflow"),
    "wide loads": (READ + " x[0] = float(*reinterpret_cast<const double*>(row));", "misaligned address"),
}  # fmt: skip


def runtime(command: tuple[str, ...]) -> str:
    """The sanitizer's runtime, to be loaded before Python's own allocations."""
    found = subprocess.run([*command, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_file():
        pytest.skip(f"{command[0]} has no libasan.so")
    return found


@pytest.fixture(scope="module")
def gnu() -> compiler.Compiler:
    try:
        found = compiler.find()
    except compiler.CompilerMissing as error:
        pytest.skip(str(error))
    if found.style != "gnu" or sys.platform != "linux" or "Free Software Foundation" not in found.version:
        pytest.skip("the sanitized build is made by gcc on Linux")
    return found


def replay(gnu: compiler.Compiler, source: str, names: list[str]) -> subprocess.CompletedProcess[str]:
    asan = runtime(gnu.command)
    library = compiler.shared_library(source, extra_flags=SANITIZE)
    environment = os.environ | {
        "LD_PRELOAD": asan, "PYTHONMALLOC": "malloc", "OPENBLAS_NUM_THREADS": "1",
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:strict_init_order=1",
        "UBSAN_OPTIONS": "print_stacktrace=1", "PYTHONPATH": str(Path(__file__).parent.parent),
    }  # fmt: skip
    argv = [sys.executable, str(Path(__file__).with_name("native_replay.py")), str(library), *(str(CASES / n) for n in names)]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=250)


def test_every_shipped_case_is_clean(gnu: compiler.Compiler) -> None:
    done = replay(gnu, inline_sources("host.cpp"), list(SHIPPED))
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "all done"
    assert [line.split()[0] for line in lines] == list(SHIPPED)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_reported(gnu: compiler.Compiler, fault: str) -> None:
    source = inline_sources("host.cpp")
    assert source.count(READ) == 1
    planted, report = PLANTED[fault]
    done = replay(gnu, source.replace(READ, planted), ["layout-misaligned", "degenerate-n-33"])
    assert done.returncode != 0
    assert report in done.stderr
    assert "residual.cuh" in done.stderr  # #line leads to the true file
    assert "all done" not in done.stdout
