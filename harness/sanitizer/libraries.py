"""The solver's own libraries in a watched child, and which of them are built for the tool: what ASan or UBSan could see.

That anything in the process is instrumented proves nothing of them. Theirs is what was mapped since before the solver was imported.
The shipped CPU solver is not: the harness itself builds it for the tool, and any solver may call it. Nor are libraries of the
system and of installed packages, unless they are instrumented.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import site
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from harness.jsonfile import write_json
from harness.registry import SolverSpec
from harness.sanitizer.elfnames import asks_for
from harness.sanitizer.hosttools import MARKS
from harness.sanitizer.tools import CHILD

_ENTRIES = {"asan": "__asan_init", "ubsan": "__ubsan_handle_type_mismatch_v1"}
_RUNTIME = re.compile(r"lib(clang_rt\.)?(asan|hwasan|lsan|msan|tsan|ubsan|ubsan_standalone|ubsan_minimal)\b")
"""The tools' own libraries, which have the names that instrumented code asks for."""
_SYSTEM = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec")


@cache
def at_start() -> frozenset[str]:
    """What was mapped when this was first asked: before the solver, in a batch before that of its first job."""
    return frozenset(_mapped())


@contextlib.contextmanager
def noted(folder: Path, tool: str, solver: SolverSpec) -> Iterator[None]:
    """Notes the solver's libraries before the solve and after it. Before the solver is imported, ``at_start`` must be asked."""
    note(folder, tool, solver)
    try:
        yield
    finally:
        note(folder, tool, solver)


def note(folder: Path, tool: str, solver: SolverSpec) -> None:
    """Writes whether the runtime is loaded, and the solver's libraries: those that are built for the tool and the others."""
    new = [file for file in _mapped() if file not in at_start() and not _RUNTIME.match(Path(file).name)]
    theirs = [file for file in new if solver.base == "native" or not _is_shipped(file)]
    instrumented = [file for file in theirs if asks_for(Path(file), MARKS[tool])]
    unwatched = [file for file in theirs if file not in instrumented and not _is_installed(file)]
    runtime = hasattr(ctypes.CDLL(None), _ENTRIES[tool])
    write_json(folder / CHILD, {"runtime": runtime, "instrumented": instrumented, "unwatched": unwatched})


def _mapped() -> list[str]:
    """The files of machine code in this process."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    words = [line.split(maxsplit=5) for line in lines]
    return list(dict.fromkeys(word[5] for word in words if len(word) == 6 and "x" in word[1] and word[5].startswith("/")))


def _is_shipped(file: str) -> bool:
    native = sys.modules.get("sim3solve.native")
    shipped = native.loaded() if native is not None else None
    return shipped is not None and Path(file) == shipped.resolve()


def _is_installed(file: str) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    """Where the system, Python and packages keep their libraries; a checkout that is installed in place is not among them."""
    of_python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    packages = {folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")}
    environments = {f"{prefix}/lib" for prefix in (sys.prefix, sys.base_prefix) if prefix not in ("/usr", "/usr/local")}
    folders = {*_SYSTEM, *of_python, *packages, *environments, site.getusersitepackages()}
    return tuple({path for folder in folders if folder for path in (Path(folder), Path(folder).resolve())})
