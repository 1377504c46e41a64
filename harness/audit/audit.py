"""The whole audit: files in, one document out. Runs in the audit's child; see ``isolated`` for the way in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.audit import architectures, collisions, linked, signatures, torchsymbols
from harness.audit.binary import read_binaries
from harness.audit.model import Binary, Verdict


@dataclass(frozen=True)
class Request:
    """What to look at: files, a compute capability such as 120 (None: no GPU in mind), torch's folder (None: the installed one)."""

    files: tuple[str, ...]
    gpu: int | None = None
    torch: str | None = None


def audit(request: Request, started: Callable[[str], None] = lambda file: None) -> dict[str, Any]:
    """The document that ``harness audit --json`` prints. ``started`` is called with each file. Raises ``AuditError``."""
    binaries: list[Binary] = []
    for file in dict.fromkeys(request.files):
        started(file)
        binaries += read_binaries(Path(file))
    wanted = any(torchsymbols.wanted(b) for b in binaries)
    located = torchsymbols.locate(request.torch) if wanted or request.torch is not None else None
    folder = located if wanted else None

    @cache
    def torch_of(format: str) -> torchsymbols.Torch | None:
        return torchsymbols.open_torch(folder, "ELF" if format == "ELF" else "PE") if folder is not None else None

    if folder is not None:
        started(str(folder))
    folded = collisions.find(binaries)
    torch_symbols = torchsymbols.find(binaries, torch_of)
    long = signatures.find(binaries)
    torch = next((t for t in map(torch_of, dict.fromkeys(b.format for b in binaries)) if t is not None), None)
    verdicts = [
        collisions.verdict(binaries, folded), *linked.verdicts(binaries), *architectures.verdicts(binaries, request.gpu),
        torchsymbols.verdict(torch_symbols, torch, asked=request.torch is not None), signatures.verdict(binaries, long),
    ]  # fmt: skip
    return {
        "files": [_file(binary) for binary in binaries],
        "collisions": [_collision(c) for c in folded if c.kernel],
        "shared_functions": [_collision(c) for c in folded if not c.kernel],
        "architectures": [each for binary in binaries for each in _architectures(binary)],
        "undefined_torch": [{**asdict(s), "demangled": signatures.demangle(s.symbol)} for s in torch_symbols],
        "long_parameters": [{**asdict(each), "demangled": signatures.demangle(each.kernel)} for each in long],
        "verdicts": [asdict(v) for v in (*verdicts, _nothing_checked(binaries, verdicts)) if v is not None],
    }


def _nothing_checked(binaries: Sequence[Binary], verdicts: Sequence[Verdict | None]) -> Verdict | None:
    """An audit that compared nothing must not look like one that found nothing."""
    if any(verdict is not None and verdict.check == "collisions" for verdict in verdicts) or any(b.linked for b in binaries):
        return None
    have = "CUDA" if any(b.is_cuda for b in binaries) else "host"
    what = f"collisions were not looked for: only {have} objects were given, and it takes a pair"
    return Verdict("collisions", "warn", what, "give the host and the CUDA objects of one link together")


def _file(binary: Binary) -> dict[str, Any]:
    return {
        "path": binary.name, "format": binary.format, "machine": binary.machine, "linked": binary.linked, "cuda": binary.is_cuda,
        "evidence": list(binary.evidence), "has_symbols": binary.has_symbols, "functions": len(binary.functions),
        "kernels": [{"symbol": name, "demangled": signatures.demangle(name)} for name in sorted(binary.kernels)],
    }  # fmt: skip


def _collision(found: collisions.Collision) -> dict[str, Any]:
    return {
        "symbol": found.symbol, "demangled": signatures.demangle(found.symbol), "host_file": found.host_file,
        "cuda_file": found.cuda_file, "binding": found.binding,
    }  # fmt: skip


def _architectures(binary: Binary) -> list[dict[str, Any]]:
    return [
        {
            "file": binary.name, "section": fat.section, "offset": fat.offset, "relocatable": fat.relocatable, "arch": image.arch,
            "kind": image.kind, "isa": image.isa, "size": image.size, "compression": image.compression,
            "kernels": None if image.kernels is None else len(image.kernels), "reason": image.reason,
            "kernel_names": None if image.kernels is None else [signatures.demangle(name) for name in sorted(image.kernels)],
        }
        for fat in binary.fat_binaries
        for image in fat.images
    ]  # fmt: skip
