"""Builds the pair of files whose CPU function and GPU launch stub have one name, with the machine's C++ compiler.

``python tests/specimens/collision/collision_pair.py FOLDER [--cured]`` leaves cpu.o, gpu_stand_in.o, device.o and the library
there, for ``harness audit FOLDER/cpu.o FOLDER/gpu_stand_in.o``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sim3solve import build, compiler

HERE = Path(__file__).resolve().parent
SOURCES = ("cpu.cpp", "gpu_stand_in.cpp", "device.cpp")  # cpu first: of two that are folded, linkers keep the first
_GNU_FLAGS = ("-std=c++17", "-O1", "-g", "-fno-inline", "-fPIC")  # what is inlined cannot collide: that hides the fault elsewhere
_MSVC_FLAGS = ("/nologo", "/std:c++17", "/Od", "/Ob0", "/EHsc")
_LIMIT_S = 120.0


@dataclass(frozen=True)
class Pair:
    """Builds into a folder. ``cured``: the CPU side's template stands in an anonymous namespace."""

    command: tuple[str, ...]
    style: str  # "gnu" or "msvc", as ``compiler.Compiler`` has it
    cured: bool
    suffix: str = ".obj" if sys.platform == "win32" else ".o"

    def objects(self, folder: Path) -> list[Path]:
        """Compile the sources. Raises ``build.BuildError`` with what the compiler said."""
        return [self.object(HERE / source, folder) for source in SOURCES]

    def library(self, library: Path) -> None:
        """Compile and link. Raises ``build.BuildError``."""
        objects = [str(each) for each in self.objects(library.parent)]
        if self.style == "msvc":
            _run([*self.command, "/nologo", "/LD", *objects, f"/Fe:{library}"], library.parent)
        else:
            _run([*self.command, "-shared", *objects, "-o", str(library)], library.parent)

    def object(self, source: Path, folder: Path) -> Path:
        """Compile one source. Raises ``build.BuildError`` with what the compiler said."""
        made = folder / (source.stem + self.suffix)
        if self.style == "msvc":
            cure = ("/DANONYMOUS_NAMESPACE",) if self.cured else ()
            _run([*self.command, *_MSVC_FLAGS, *cure, "/c", str(source), f"/Fo:{made}"], folder)
        else:
            cure = ("-DANONYMOUS_NAMESPACE",) if self.cured else ()
            _run([*self.command, *_GNU_FLAGS, *cure, "-c", str(source), "-o", str(made)], folder)
        return made


def cached_library(cured: bool) -> Path:
    """The library from the build cache, or newly built. Raises ``compiler.CompilerMissing`` or ``build.BuildError``."""
    found = compiler.find()
    pair = Pair(found.command, found.style, cured)
    texts = [path.read_text(encoding="utf-8") for path in sorted(HERE.iterdir()) if path.suffix in (".h", ".cpp", ".py")]
    key = ["collision specimen", found.version, repr(pair), *texts]
    return build.cached(key, ".dll" if sys.platform == "win32" else ".so", pair.library)


def _run(argv: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S,
            env=compiler.temporary_in(folder.resolve()),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise build.BuildError(f"{shlex.join(argv)}: {error}") from error
    if done.returncode:
        raise build.BuildError(f"{shlex.join(argv)}: exit {done.returncode}: {(done.stderr + done.stdout).strip()[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cured", action="store_true", help="the CPU side's template in an anonymous namespace")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    try:
        found = compiler.find()
        Pair(found.command, found.style, asked.cured).library(asked.folder / "collision.so")
    except (compiler.CompilerMissing, build.BuildError) as error:
        sys.exit(str(error))
    print(*sorted(str(file) for file in asked.folder.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
