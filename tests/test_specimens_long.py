"""``long`` strides: what the specimen shows on any machine is bit for bit what a compiler for Windows makes of the same source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sim3solve import compiler

SOURCE = Path(__file__).parent / "specimens" / "on_cpu.cpp"
ROWS = """
#include <cstdio>
int main() {
    float from[12], to[12] = {};
    for (int i = 0; i < 12; ++i) from[i] = i;
    int64_t shape[2] = {4, 3}, strides[2] = {12, 4};
    sim3solve_specimen_long_strides((const char*)from, to, (const LONG*)shape, (const LONG*)strides);
    std::printf("%d:", (int)sizeof(LONG));
    for (float x : to) std::printf(" %g", x);
}
"""
RIGHT = "0 1 2 3 4 5 6 7 8 9 10 11"
WRONG = "0 0 0 3 3 3 6 6 6 9 9 9"  # the column stride is the upper half of the row stride, which is zero
MINGW = next(filter(None, map(shutil.which, ("x86_64-w64-mingw32-g++-posix", "x86_64-w64-mingw32-g++"))), None)


def build(folder: Path, *command: str) -> Path:
    text, program = folder / "rows.cpp", folder / "rows.exe"
    text.write_text(f'#include "{SOURCE}"\n{ROWS}')
    subprocess.run([*command, "-std=c++17", "-O1", str(text), "-o", str(program)], check=True)
    return program


def output(*argv: str | Path) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def host() -> tuple[str, ...]:
    try:
        found = compiler.find()
    except compiler.CompilerMissing as missing:
        pytest.skip(str(missing))
    if found.style != "gnu" or sys.platform == "win32":
        pytest.skip("long has 32 bits here already")
    return found.command


def test_with_32_bits_the_columns_are_lost_and_with_64_not(tmp_path: Path, host: tuple[str, ...]) -> None:
    assert output(build(tmp_path, *host, "-DLONG=int32_t")) == f"4: {WRONG}"
    assert output(build(tmp_path, *host, "-DLONG=int64_t")) == f"8: {RIGHT}"
    assert output(build(tmp_path, *host)) == f"8: {RIGHT}"


@pytest.mark.skipif(MINGW is None or shutil.which("wine") is None, reason="needs mingw and wine")
def test_a_compiler_for_windows_makes_the_same_of_long(tmp_path: Path) -> None:
    assert MINGW is not None
    program = build(tmp_path, MINGW, "-static")
    quiet = {"WINEPREFIX": str(tmp_path / "prefix"), "WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml,winedbg.exe="}
    done = subprocess.run(["wine", str(program)], capture_output=True, text=True, timeout=120, env=os.environ | quiet)
    assert done.stdout.strip() == f"4: {WRONG}"
