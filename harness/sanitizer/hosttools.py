"""ASan and UBSan of the machine's C++ compiler: which runtime a child must find loaded, and with what settings.

The runtime is loaded before Python's own allocations (``LD_PRELOAD``), so that any library built with ``-fsanitize`` works in a
Python that was not. Linux only: macOS strips the variable from system programs, and Windows has no such loader.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.sanitizer.tools import REPORT
from sim3solve import compiler

_ANSWER_LIMIT_S = 60.0
ERROR_EXIT = 97
BUILD_FLAGS = {
    "asan": ("-O1", "-g", "-fsanitize=address", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    "ubsan": ("-O1", "-g", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
}
"""How the shipped CPU solver is built for a tool. A fault ends the process, so that Python's stack is written."""
MARKS = {"asan": b"__asan_", "ubsan": b"__ubsan_handle_"}
"""The names that code built with a sanitizer asks its runtime for."""
_NAMES = {"asan": "asan", "ubsan": "ubsan_standalone"}
_GNU_NAMES = {"asan": "libasan.so", "ubsan": "libubsan.so"}


class RuntimeMissing(RuntimeError):
    """This machine has no runtime for the tool; the message says how to get it."""


@dataclass(frozen=True)
class HostTool:
    """A runtime to be loaded into a child, and the compiler whose it is."""

    tool: str
    runtime: Path
    compiler: str

    def __str__(self) -> str:
        return f"{self.tool} of {self.compiler}"

    def environment(self, folder: Path) -> dict[str, str]:
        """What the child needs: the runtime, its reports in ``folder``, and a shipped CPU solver that is built for it."""
        # ':' parts options: a path with one is quoted. Signals are the tool's own (2): through faulthandler it would see another.
        common = [f"log_path='{folder / REPORT}'", f"exitcode={ERROR_EXIT}", "abort_on_error=1", "color=never", "symbolize=1"]
        common += [f"handle_{name}=2" for name in ("segv", "sigbus", "sigfpe", "sigill")] + ["handle_abort=0"]
        asan = ["detect_leaks=0", "detect_stack_use_after_return=1", "strict_init_order=1", "protect_shadow_gap=0"]
        ubsan = ["print_stacktrace=1", "halt_on_error=0"]
        return {
            "LD_PRELOAD": str(self.runtime), "PYTHONMALLOC": "malloc", "ASAN_OPTIONS": ":".join(common + asan),
            "UBSAN_OPTIONS": ":".join(common + ubsan), "SIM3SOLVE_CXXFLAGS": " ".join(BUILD_FLAGS[self.tool]),
        }  # fmt: skip


@cache
def find(tool: str) -> HostTool:
    """The runtime of the machine's compiler (``CXX``, or the first there is). Raises ``RuntimeMissing``."""
    if sys.platform != "linux":
        raise RuntimeMissing(f"{tool} runs on Linux only: its runtime cannot be loaded into Python on {platform.system()}")
    try:
        found = compiler.find()
    except compiler.CompilerMissing as error:
        raise RuntimeMissing(f"{tool} is part of a C++ compiler: {error}") from error
    name = found.version.splitlines()[0] if found.version else found.command[0]
    for file in (_GNU_NAMES[tool], f"libclang_rt.{_NAMES[tool]}-{platform.machine()}.so", f"libclang_rt.{_NAMES[tool]}.so"):
        path = Path(_answer((*found.command, f"-print-file-name={file}")))
        if path.is_absolute() and path.is_file():
            return HostTool(tool, path.resolve(), name)
    raise RuntimeMissing(f"{name} has no runtime of {tool} as a shared library: install g++ with lib{tool}, or set CXX to it")


def _answer(argv: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_ANSWER_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeMissing(f"{argv[0]} cannot be started: {error}") from error
    return done.stdout.strip()
