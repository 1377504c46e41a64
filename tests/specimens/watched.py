"""A specimen under valgrind, or clang's MemorySanitizer: neither can watch a whole Python, so it is a program of its own."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from on_cpu import SOURCE

from harness.errors import SolverUnavailable
from harness.solvers import Solver
from sim3solve import build, compiler, native
from sim3solve.problem import Options, Problem, Solution

MAIN = """
#include <cstdio>
int main(int, char** argv) {
    long count = std::strtol(argv[3], nullptr, 10);
    float* from = static_cast<float*>(std::malloc(count * sizeof(float)));
    float* to = static_cast<float*>(std::malloc(count * sizeof(float)));
    std::FILE* file = std::fopen(argv[1], "rb");
    if (!file || std::fread(from, sizeof(float), count, file) != static_cast<size_t>(count)) return 2;
    sim3solve_specimen_uninitialised_sum(from, to, count);
    for (long i = 0; i < count; ++i) if (!(to[i] == to[i])) return 3;  // the first use that decides something
    file = std::fopen(argv[2], "wb");
    return !file || std::fwrite(to, sizeof(float), count, file) != static_cast<size_t>(count) || std::fclose(file);
}
"""
FOUND = 97
FLAGS = ("-std=c++17", "-O1", "-g")


class UninitialisedRead(RuntimeError):
    """The tool's own words."""


def uninitialised_sum() -> Solver:
    """Adds the points up in a program that valgrind or MemorySanitizer watches; raises ``UninitialisedRead`` with what it says."""
    before, program = _watched()

    def solve(problem: Problem, options: Options, observe) -> Solution:
        Xf = np.ascontiguousarray(problem.Xf, dtype=np.float32)
        with tempfile.TemporaryDirectory() as folder:
            points, sums = Path(folder, "points"), Path(folder, "sums")
            points.write_bytes(Xf.tobytes())
            argv = [*before, str(program), str(points), str(sums), str(Xf.size)]
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
            if done.returncode == FOUND:
                raise UninitialisedRead(done.stderr.strip())
            if done.returncode != 0:
                raise RuntimeError(f"{argv[0]} ended with code {done.returncode}: {done.stderr.strip()[-2000:]}")
            copy = np.frombuffer(sums.read_bytes(), dtype=np.float32).reshape(Xf.shape)
        return native.solve(dataclasses.replace(problem, Xf=copy), options, observe)

    return Solver(solve, arrays="numpy", devices=("cpu",))


def _watched() -> tuple[list[str], Path]:
    """(words before the program's, the program). Raises ``SolverUnavailable`` where there is neither tool."""
    try:
        if sys.platform == "linux" and shutil.which("valgrind"):
            watch = ["valgrind", "--quiet", "--track-origins=yes", f"--error-exitcode={FOUND}", "--exit-on-first-error=yes"]
            return watch, _program(compiler.find().command, FLAGS)
        if sys.platform == "linux" and shutil.which("clang++"):
            watch = ["env", f"MSAN_OPTIONS=exit_code={FOUND}:halt_on_error=1"]
            return watch, _program(("clang++",), (*FLAGS, "-fsanitize=memory", "-fsanitize-memory-track-origins"))
    except (compiler.CompilerMissing, build.BuildError) as error:
        raise SolverUnavailable(str(error)) from error
    raise SolverUnavailable("neither valgrind nor clang++ is on PATH")


def _program(command: Sequence[str], flags: Sequence[str]) -> Path:
    source = f'#line 1 "tests/specimens/{SOURCE.name}"\n{SOURCE.read_text(encoding="utf-8")}\n#line 1 "main.cpp"\n{MAIN}'

    def compile_to(file: Path) -> None:
        text = file.with_name("main.cpp")
        text.write_text(source, encoding="utf-8")
        words = [*command, *flags, str(text), "-o", str(file)]
        temporary = compiler.temporary_in(file.parent)
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", env=temporary)
        if done.returncode != 0:
            raise build.BuildError(f"{command[0]}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")

    return build.cached([source, *command, *flags], ".program", compile_to)
