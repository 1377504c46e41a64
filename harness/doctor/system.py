"""The operating system, Python, memory, and room on the disks."""

from __future__ import annotations

import struct
from typing import Any

from harness.doctor.ask import Problem, Told
from harness.doctor.check import Check, fail, ok, skip, warn, worst
from harness.doctor.machine import Machine

_GIB = 1 << 30
_LITTLE_MEMORY, _LITTLE_ROOM, _NO_ROOM = 2 * _GIB, _GIB, 100 << 20


def operating_system(basics: dict[str, Any], machine: Machine) -> Check:
    said = f"{basics['os']}, {basics['machine']}, {basics['cpu']}, {basics['cores']} cores"
    if machine.system == "darwin":
        return ok("system", f"{said}; no NVIDIA GPU works here, the solvers for the CPU do")
    return ok("system", said)


def python(basics: dict[str, Any], pointer_bits: int = 8 * struct.calcsize("P")) -> Check:
    said = f"{basics['python']}, {pointer_bits} bits"
    if pointer_bits < 64:
        return fail("python", f"{said}: neither torch nor CUDA has 32-bit packages", "install the 64-bit Python")
    shown = [f"{name} {version}" for name, version in basics["packages"].items() if name != "torch"]
    return ok("python", f"{said}; {', '.join(shown)}")


def memory(available: int, total: int, limit: int | None) -> Check:
    """``limit`` is the control group's, as containers have it."""
    said = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB free" + (f", limited to {limit / _GIB:.1f} GiB" if limit else "")
    if min(available, limit or available) < _LITTLE_MEMORY:
        fix = "end other programs, raise the container's limit, or replay with --jobs 1 and --memory-limit"
        return warn("memory", f"{said}: a child that loads torch needs about 1 GiB", fix)
    return ok("memory", said)


def memory_limit(machine: Machine) -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = (machine.read(path) or "").strip()
        if text.isdigit() and int(text) < 1 << 50:
            return int(text)
    return None


def disk(told: Told, names: tuple[str, ...]) -> Check:
    """``names`` says what each folder asked about is for."""
    line = "disk"
    if isinstance(told, Problem):
        return fail(line, f"a folder that is written to does not answer: {told.message}", "is it on a network disk that is gone?")
    lines = [_folder(line, name, found) for name, found in zip(names, told["folders"], strict=True)]
    return worst(line, lines, "; ".join(check.detail for check in lines))


def _folder(line: str, name: str, found: dict[str, Any]) -> Check:
    where, free = f"{name} ({found['folder']})", found["free_bytes"]
    fix = {"reports": "give --out a folder with room", "build cache": "set SIM3SOLVE_CACHE to a folder with room"}.get(
        name, "set TMPDIR (Windows: TEMP) to a folder with room"
    )
    if found["unwritable"] is not None:
        return fail(line, f"{where} cannot be written: {found['unwritable']}", fix)
    if free is None:
        return skip(line, f"{where}: room not known")
    said = f"{where}: {free / _GIB:.1f} GiB free"
    if free < _NO_ROOM:
        return fail(line, said, fix)
    return warn(line, f"{said}: a run with sanitizers can write more", fix) if free < _LITTLE_ROOM else ok(line, said)
