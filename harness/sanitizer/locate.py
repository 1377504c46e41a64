"""Where compute-sanitizer is on this machine, which version it is, and which options that version knows."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NAME = "compute-sanitizer"
PACKAGE = "nvidia-cuda-sanitizer-api"
HOW_TO_GET = f"install the CUDA toolkit, or: pip install {PACKAGE}"
_VERSION = re.compile(r"^Version (\d+(?:\.\d+)+)", re.MULTILINE)
_OPTION = re.compile(r"^ +(?:-\w \[ )?--([a-z0-9-]+)", re.MULTILINE)
_ANSWER_LIMIT_S = 60.0


class SanitizerMissing(RuntimeError):
    """This machine has no compute-sanitizer that runs; the message says where it was looked for and how to get it."""


@dataclass(frozen=True)
class ComputeSanitizer:
    """``source`` is PATH, "CUDA toolkit" or the pip package with its version; ``options`` the long options it knows."""

    path: Path
    version: str
    source: str
    options: frozenset[str]

    def __str__(self) -> str:
        return f"compute-sanitizer {self.version} ({self.source})"


def find() -> ComputeSanitizer:
    """The first that runs of: on PATH, in the CUDA toolkit, in the pip package. Raises ``SanitizerMissing``."""
    return _first(os.environ.get("PATH", ""), os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"))


@cache
def _first(search_path: str, *toolkits: str | None) -> ComputeSanitizer:
    broken: list[str] = []
    for path, source in _candidates(search_path, [root for root in toolkits if root]):
        try:
            return describe(path, source)
        except SanitizerMissing as error:
            broken.append(str(error))
    looked = "; ".join(broken) or f"not on PATH, not in the CUDA toolkit, and the package {PACKAGE} is not installed"
    raise SanitizerMissing(f"no {NAME}: {looked}; {HOW_TO_GET}")


def _candidates(search_path: str, toolkits: list[str]) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    on_path = shutil.which(NAME, path=search_path)
    if on_path:
        found.append((Path(on_path), "PATH"))
    roots = [Path(root) for root in toolkits]
    if sys.platform == "win32":
        programs = Path(os.environ.get("PROGRAMFILES", r"C:\Program Files"), "NVIDIA GPU Computing Toolkit", "CUDA")
        roots += sorted(programs.glob("v*"), reverse=True)
    else:
        roots += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True), Path("/opt/cuda")]
    found += [(file, "CUDA toolkit") for root in roots for file in _programs(root)]
    package = _package()
    if package is not None:
        found.append(package)
    return found


def _programs(root: Path) -> list[Path]:
    """The program in a toolkit; the file in ``bin`` is a script on some systems, a batch file on Windows."""
    names = (f"{NAME}.exe", f"{NAME}.bat") if sys.platform == "win32" else (NAME,)
    return [file for folder in (NAME, "bin") for name in names if (file := root / folder / name).is_file()]


def _package() -> tuple[Path, str] | None:
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    root = Path(str(distribution.locate_file("nvidia")))
    source = f"pip {PACKAGE} {distribution.version}"
    return next(((file, source) for cuda in sorted(root.glob("cu*"), reverse=True) for file in _programs(cuda)), None)


def describe(path: Path, source: str) -> ComputeSanitizer:
    """Ask the program itself. Raises ``SanitizerMissing`` when it does not answer as compute-sanitizer does."""
    version = _VERSION.search(_answer(path, "--version"))
    options = frozenset(_OPTION.findall(_answer(path, "--help")))
    if version is None or not {"tool", "xml", "save"} <= options:
        raise SanitizerMissing(f"{path} does not answer as {NAME} does")
    return ComputeSanitizer(path, version[1], source, options)


def _answer(path: Path, question: str) -> str:
    argv = [str(path), question]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_ANSWER_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SanitizerMissing(f"{path} cannot be started: {error}") from error
    return done.stdout
