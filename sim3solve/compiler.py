"""The machine's C++ compiler: which there is, what it is called with, and a shared library from one source text."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim3solve import build

GNU_FLAGS = (
    "-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-fPIC",
    "-pthread",
)  # fmt: skip
MSVC_FLAGS = ("/nologo", "/std:c++17", "/O2", "/EHsc", "/LD")
_COMPILE_LIMIT_S = 300.0
_ADVICE = "install g++ or clang++ (Windows: Visual Studio's C++ build tools), or set CXX to a C++17 compiler"


class CompilerMissing(RuntimeError):
    """This machine has no C++ compiler that can be found; the message says where it was looked for."""


@dataclass(frozen=True)
class Compiler:
    """``command`` starts it, ``style`` is how it takes options, ``version`` changes when its output may."""

    command: tuple[str, ...]
    style: str  # "gnu" or "msvc"
    version: str

    def flag_sets(self) -> list[tuple[str, ...]]:
        """Flags in order of preference: for this very CPU, and for any of its kind where the first are not understood."""
        if self.style == "msvc":
            return [MSVC_FLAGS]
        if sys.platform == "win32":
            # The runtime goes in, for its DLLs lie on no path that Windows searches. mingw's gcc keeps vectors of 32 bytes on a
            # stack that Windows aligns to 16, and its own aligned moves then fault (gcc's bug 54412) unless the assembler makes
            # them unaligned.
            link = ("-static", "-shared")
            return [(*GNU_FLAGS, "-march=native", "-Wa,-muse-unaligned-vector-move", *link), (*GNU_FLAGS, *link)]
        link = ("-shared",)
        return [(*GNU_FLAGS, "-march=native", *link), (*GNU_FLAGS, *link)]

    def argv(self, source: Path, library: Path, flags: tuple[str, ...]) -> list[str]:
        if self.style == "msvc":
            return [*self.command, *flags, str(source), f"/Fe:{library}", f"/Fo:{source.with_suffix('.obj')}"]
        return [*self.command, *flags, str(source), "-o", str(library)]


def find() -> Compiler:
    """CXX, or the first of c++, g++, clang++ and cl.exe. Raises ``CompilerMissing``."""
    chosen = os.environ.get("CXX")
    if chosen:
        command = words_of(chosen)
        if not command or shutil.which(command[0]) is None:
            raise CompilerMissing(f"CXX is {chosen!r}, and there is no such program; {_ADVICE}")
        return _describe(tuple(command))
    for name in ("cl",) if sys.platform == "win32" else ():
        if shutil.which(name):
            return _describe((name,))
    visual_studio = _visual_studio() if sys.platform == "win32" else None
    if visual_studio is not None:
        return _describe(visual_studio)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return _describe((name,))
    looked = "c++, g++ and clang++ are not on PATH" + (", nor does vswhere know of cl.exe" if sys.platform == "win32" else "")
    raise CompilerMissing(f"no C++ compiler: {looked}; {_ADVICE}")


def words_of(command: str, *, windows: bool = sys.platform == "win32") -> list[str]:
    r"""The words of CXX. On Windows a path's backslashes stay what they are, and quotes that are needed for its spaces go."""
    if not windows:
        return shlex.split(command)
    if shutil.which(command):
        return [command]  # one path with spaces and no quotes, as set by hand
    return [word[1:-1] if word[0] == word[-1] == '"' and len(word) > 1 else word for word in shlex.split(command, posix=False)]


def shared_library(source: str, *, extra_flags: tuple[str, ...] = ()) -> Path:
    """The shared library of one self-contained source, from the cache or newly compiled.

    Raises ``CompilerMissing``, or ``build.BuildError`` with what the compiler said.
    """
    compiler = find()
    failure: build.BuildError | None = None
    for flags in compiler.flag_sets():
        flags = (*flags, *extra_flags)
        key = [source, compiler.version, repr(compiler.command), repr(flags), platform.machine(), sys.platform]
        if "-march=native" in flags:
            key.append(cpu_name())
        try:
            return build.cached(key, ".dll" if sys.platform == "win32" else ".so", _Job(compiler, flags, source))
        except CompileFailed as error:
            failure = failure or error
    assert failure is not None
    raise failure


def temporary_in(folder: Path) -> dict[str, str]:
    """This process's environment, with a compiler's temporary files in ``folder``: one that is killed leaves them behind."""
    return os.environ | dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(folder))


class CompileFailed(build.BuildError):
    """The compiler ran and made no library."""


@dataclass(frozen=True)
class _Job:
    compiler: Compiler
    flags: tuple[str, ...]
    source: str

    def __call__(self, library: Path) -> None:
        text = library.with_name("source.cpp")
        text.write_text(self.source, encoding="utf-8", newline="\n")
        # Names in its own folder: mingw's g++ reads its arguments and TMP in the code page, which cannot spell every user's folder.
        argv = self.compiler.argv(Path(text.name), Path(library.name), (*self.flags, *_hide_symbols(library, self.compiler)))
        relative = sys.platform == "win32" and self.compiler.style == "gnu"
        environment = temporary_in(Path() if relative else library.parent)
        try:
            done = subprocess.run(
                argv, cwd=library.parent, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=_COMPILE_LIMIT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CompileFailed(f"{shlex.join(argv)}: still running after {_COMPILE_LIMIT_S:g} s") from None
        except OSError as error:
            raise CompileFailed(f"{argv[0]}: cannot be started: {error.strerror}") from error
        if done.returncode != 0 or not library.exists():
            said = (done.stderr + done.stdout).strip()
            raise CompileFailed(f"{shlex.join(argv)}: exit {done.returncode}: {said[-2000:]}")


def _hide_symbols(library: Path, compiler: Compiler) -> tuple[str, ...]:
    """Our names alone leave the library: the standard library's templates are visible by their own attribute, and may collide."""
    if compiler.style == "msvc" or sys.platform != "linux":
        return ()
    exports = library.with_name("exports.map")
    exports.write_text("{ global: sim3solve_*; local: *; };\n", encoding="utf-8")
    return (f"-Wl,--version-script={exports.name}",)


def _describe(command: tuple[str, ...]) -> Compiler:
    name = Path(command[-1]).stem.lower()
    style = "msvc" if name in ("cl", "clang-cl") else "gnu"
    argv = list(command) if style == "msvc" else [*command, "--version"]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_COMPILE_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerMissing(f"{command[0]} cannot be started: {error}; {_ADVICE}") from error
    if style == "gnu" and done.returncode != 0:
        raise CompilerMissing(f"{shlex.join(argv)} failed: {done.stderr.strip()[-500:]}; {_ADVICE}")
    return Compiler(command, style, done.stdout + (done.stderr if style == "msvc" else ""))  # cl tells its version on stderr


def _visual_studio() -> tuple[str, ...] | None:
    """cl.exe inside the environment that the newest Visual Studio sets up for it."""
    programs = os.environ.get("PROGRAMFILES(X86)", r"C:\Program Files (x86)")
    vswhere = Path(programs, "Microsoft Visual Studio/Installer/vswhere.exe")
    if not vswhere.is_file():
        return None
    component = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64"
    argv = [str(vswhere), "-latest", "-products", "*", "-requires", component, "-property", "installationPath", "-utf8"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    script = Path(done.stdout.strip(), "VC/Auxiliary/Build/vcvars64.bat")
    if not done.stdout.strip() or not script.is_file():
        return None
    return ("cmd", "/d", "/c", "call", str(script), ">nul", "&&", "cl")


@cache
def cpu_name() -> str:
    """What -march=native looks at: the model and the instructions it has."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.processor()} {platform.machine()}"
    wanted = ("model name", "cpu family", "model", "flags", "Features", "CPU implementer", "CPU part")
    lines = {line for line in text.splitlines() if line.split(":")[0].strip() in wanted}
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
