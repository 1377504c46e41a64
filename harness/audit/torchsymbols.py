"""Symbols that a file expects of torch, and whether a given torch has them. torch is never loaded, only its files are read."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.audit import elf
from harness.audit.model import Binary, Verdict, count
from harness.errors import AuditError

_SYMBOL = re.compile(
    r"_Z(?:T[VTISh]|GV|GR)?(?:N[rVK]*[RO]?(?:3c10|2at|5torch|6caffe2)|\d+THP)"  # Itanium
    r"|\?.*@(?:c10|at|torch|caffe2)@@"  # MSVC
)
_VERSION = re.compile(r"^__version__\s*=\s*['\"]([^'\"]{1,100})['\"]", re.MULTILINE)


@dataclass(frozen=True)
class TorchSymbol:
    """``exported_by`` is the library that has it, "" when none of torch's has, None when there was no torch to ask."""

    file: str
    symbol: str
    exported_by: str | None


@dataclass(frozen=True)
class Torch:
    """The libraries of one torch, as functions that say whether they define a symbol."""

    version: str
    folder: str
    libraries: tuple[tuple[str, Callable[[str], bool]], ...]

    def exporter(self, symbol: str) -> str:
        return next((name for name, defines in self.libraries if defines(symbol)), "")


def wanted(binary: Binary) -> tuple[str, ...]:
    """What the file leaves for torch to define."""
    return tuple(name for name in binary.undefined if _SYMBOL.match(name.removeprefix("__imp_")))


def locate(given: str | None) -> Path | None:
    """The folder of torch's libraries: in the folder ``given``, or where Python would import torch from. Imports nothing."""
    if given is not None:
        for folder in (Path(given), Path(given) / "lib", Path(given) / "torch" / "lib"):
            if _libraries(folder):
                return folder
        raise AuditError(given, "--torch", "no libc10 and libtorch in it, in lib or in torch/lib")
    spec = importlib.util.find_spec("torch")
    folders = [Path(place) / "lib" for place in (spec.submodule_search_locations or ())] if spec else []
    return next((folder for folder in folders if _libraries(folder)), None)


def open_torch(folder: Path, format: str) -> Torch | None:
    """The torch in a folder, or None when its libraries are not of this format."""
    suffix = {"ELF": ".so"}.get(format, ".dll")
    files = [file for file in _libraries(folder) if file.suffix == suffix]
    return Torch(_version(folder), str(folder), tuple((file.name, _definer(file)) for file in files)) if files else None


def find(binaries: Sequence[Binary], torch_of: Callable[[str], Torch | None]) -> list[TorchSymbol]:
    defined = {f.name for b in binaries for f in b.functions if f.exported}
    found = []
    for binary in binaries:
        torch = torch_of(binary.format)
        for symbol in wanted(binary):
            if symbol not in defined:
                exporter = torch.exporter(symbol.removeprefix("__imp_")) if torch else None
                found.append(TorchSymbol(binary.name, symbol, exporter))
    return found


def verdict(found: Sequence[TorchSymbol], torch: Torch | None, *, asked: bool = False) -> Verdict | None:
    """None when nothing of torch is used, unless somebody asked for it."""
    if not found and asked:
        what = "nothing was looked up in the torch of --torch: no file wants a symbol of it"
        return Verdict("torch", "warn", what, "give the extension that is linked against torch, or its objects")
    if not found:
        return None
    if torch is None or any(each.exported_by is None for each in found):
        what = f"{count(len(found), 'symbol')} to come from torch, and there is no torch of this format to look them up in"
        return Verdict("torch", "warn", what, "name the torch it will run with: --torch DIR (the package or its lib folder)")
    missing = sorted({each.symbol for each in found if not each.exported_by})
    name = f"torch {torch.version} ({torch.folder})"
    if not missing:
        return Verdict("torch", "ok", f"{count(len(found), 'symbol')} wanted of torch, all of them in {name}")
    needs_cuda = [symbol for symbol in missing if "cuda" in symbol.lower()]
    if len(needs_cuda) == len(missing) and not any("cuda" in library for library, _ in torch.libraries):
        what = f"{count(len(missing), 'symbol')} not in {name}, which is a build without CUDA"
        return Verdict("torch", "fail", what, "install a torch with CUDA, or name the one it will run with: --torch DIR")
    what = f"{len(missing)} of {count(len(found), 'symbol')} wanted of torch not in {name}: built against another torch"
    return Verdict("torch", "fail", what, f"rebuild it with torch {torch.version}, or install the torch it was built with")


def _libraries(folder: Path) -> list[Path]:
    names = ("libc10*.so", "libtorch*.so", "c10*.dll", "torch*.dll")
    return sorted(file for pattern in names for file in folder.glob(pattern)) if folder.is_dir() else []


def _definer(file: Path) -> Callable[[str], bool]:
    try:
        if file.suffix == ".so":
            return elf.exports(open(file, "rb"), str(file))  # read from until the child ends
        from harness.audit import coff

        return coff.exports(file.read_bytes(), str(file)).__contains__
    except OSError as error:
        raise AuditError(file, "file", error.strerror or str(error)) from error


def _version(folder: Path) -> str:
    try:
        found = _VERSION.search((folder.parent / "version.py").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = None
    return found[1] if found else "of unknown version"
