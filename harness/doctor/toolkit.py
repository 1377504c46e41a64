"""The CUDA toolkits, by their nvcc: what extensions such as lietorch are built with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.doctor.ask import Asker
from harness.doctor.check import Check, one_line, skip, warn, worst
from harness.doctor.machine import Machine
from harness.versions import numbers

NAME = "CUDA toolkit"
_RELEASE = re.compile(r"release (\d{1,3}\.\d{1,3})(?:, V([\d.]{1,30}))?")


@dataclass(frozen=True)
class Toolkit:
    """``found`` is PATH or the variable that names it. ``release`` is None when nvcc did not say; ``said`` is what it said then."""

    nvcc: str
    found: str
    release: str | None
    said: str = ""


def ask(machine: Machine, asker: Asker) -> tuple[Toolkit, ...]:
    """Every nvcc that a build could take: on PATH, in CUDA_HOME, CUDA_PATH and in the usual place."""
    places: dict[str, str] = {}
    on_path = machine.program("nvcc")
    if on_path is not None:
        places[on_path] = "PATH"
    roots = [(name, machine.environ.get(name)) for name in ("CUDA_HOME", "CUDA_PATH")]
    for found, root in [*roots, ("/usr/local/cuda", "/usr/local/cuda" if machine.system == "linux" else None)]:
        nvcc = Path(root, "bin", "nvcc.exe" if machine.system == "win32" else "nvcc") if root else None
        if nvcc is not None and nvcc.is_file():
            places.setdefault(str(nvcc), found)
    return tuple(_asked(nvcc, found, asker) for nvcc, found in places.items())


def _asked(nvcc: str, found: str, asker: Asker) -> Toolkit:
    answer = asker.program([nvcc, "--version"])
    release = _RELEASE.search(answer.stdout) if answer.problem is None else None
    if release is None:
        return Toolkit(nvcc, found, None, f"{answer.ended} {one_line(answer.said, 200)}".strip())
    return Toolkit(nvcc, found, release[2] or release[1])


def judge(
    toolkits: tuple[Toolkit, ...],
    machine: Machine,
    driver_cuda: tuple[int, int] | None,
    torch_cuda: str | None,
    why_no_torch_cuda: str = "",
) -> list[Check]:
    """One line for the toolkits, one for toolkit and driver, one for toolkit and torch."""
    if not toolkits:
        missing = [name for name in ("CUDA_HOME", "CUDA_PATH") if machine.environ.get(name)]
        if missing:
            fix = f"set {missing[0]} to a toolkit's folder, or unset it"
            return [warn(NAME, f"{' and '.join(missing)} is set, and no nvcc is in its bin folder or on PATH", fix)]
        fix = "only to build extensions: developer.nvidia.com/cuda-downloads"
        return [skip(NAME, "no nvcc on PATH, in CUDA_HOME or in CUDA_PATH; sim3solve needs none", fix)]
    faults = [
        warn(NAME, f"{kit.nvcc} ({kit.found}) does not answer as nvcc does: {kit.said}", "repair that toolkit or take it away")
        for kit in toolkits
        if kit.release is None
    ]
    kits = [kit for kit in toolkits if kit.release is not None]
    if len({numbers(kit.release)[:2] for kit in kits}) > 1:
        said = ", ".join(f"{kit.release} by {kit.found}" for kit in kits)
        faults.append(warn(NAME, f"there are several, a build may mix them: {said}", "make PATH and CUDA_HOME name the same one"))
    lines = [worst(NAME, faults, ", ".join(f"{kit.release} at {kit.nvcc} ({kit.found})" for kit in kits))]
    return lines + ([_against_driver(kits[0], driver_cuda), _against_torch(kits[0], torch_cuda, why_no_torch_cuda)] if kits else [])


def _against_driver(kit: Toolkit, driver_cuda: tuple[int, int] | None) -> Check:
    name, release = "toolkit for driver", numbers(kit.release)[:2]
    if driver_cuda is None:
        return skip(name, "no driver answers")
    said = f"toolkit {kit.release}, driver for CUDA up to {driver_cuda[0]}.{driver_cuda[1]}"
    if release <= driver_cuda:
        return Check(name, "ok", said)
    fix = "update the driver, or build for this GPU's own architecture (TORCH_CUDA_ARCH_LIST), so that no PTX is needed"
    return warn(name, f"{said}: PTX of this toolkit fails with error 222, unsupported PTX version", fix)


def _against_torch(kit: Toolkit, torch_cuda: str | None, why_not: str) -> Check:
    name, built = "toolkit for torch", numbers(torch_cuda)
    if not built:
        return skip(name, why_not)
    said = f"toolkit {kit.release}, torch for CUDA {torch_cuda}"
    if built[0] == numbers(kit.release)[0]:
        return Check(name, "ok", said)
    fix = f"to build extensions, set CUDA_HOME to a toolkit {built[0]}.x, or install the torch for CUDA {numbers(kit.release)[0]}"
    return warn(name, f"{said}: torch refuses to build CUDA extensions with it", fix)
