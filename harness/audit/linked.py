"""What a linked file still shows of a collision: a kernel whose host function does not launch. A hint, never a proof.

The linker has thrown one of the two copies away. If it kept the CPU function, a function with the kernel's mangled name is there
and calls nothing that launches; if the launch stub, one that does; if they were never folded, both.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.audit.collisions import FIX
from harness.audit.model import Binary, Verdict, count

_OBJECTS = "audit the object files it was linked from (build/temp.*/**/*.o, *.obj): they prove it either way"


def folded_kernels(binary: Binary) -> tuple[str, ...]:
    """Kernels with one host function of their name in this linked file, which was looked at and launches nothing.

    Two functions of one name are a stub that stayed in its own file and a CPU function: the very thing that the cure does.
    """
    found = []
    for kernel in sorted(binary.kernels):
        copies = [f for f in binary.functions if f.name == kernel]
        if len(copies) == 1 and copies[0].launches is False:
            found.append(kernel)
    return tuple(found)


def verdicts(binaries: Sequence[Binary]) -> list[Verdict]:
    return [_verdict(binary) for binary in binaries if binary.linked and binary.is_cuda]


def _verdict(binary: Binary) -> Verdict:
    folded = folded_kernels(binary)
    launching = len({f.name for f in binary.functions if f.launches and f.name in binary.kernels})
    if folded:
        names = ", ".join(folded[:3]) + (" ..." if len(folded) > 3 else "")
        what = (
            f"{binary.name}: hint, not proof: no host function named as {count(len(folded), 'kernel')} launches anything, as when "
            f"the linker kept a CPU function and dropped the launch stub: {names}"
        )
        return Verdict("linked", "fail", what, f"{_OBJECTS}; if they collide: {FIX}")
    if launching:
        what = f"{binary.name}: hint, not proof: the host functions of {count(launching, 'kernel')} launch, as stubs do"
        return Verdict("linked", "ok", what)
    return Verdict("linked", "warn", f"{binary.name}: a collision cannot be seen in it: {_why(binary)}", _OBJECTS)


def _why(binary: Binary) -> str:
    if binary.format == "PE":
        return "a linked Windows file does not name its own functions"
    if not binary.has_symbols:
        return "its symbols were stripped"
    if binary.machine != "x86-64":
        return f"calls are followed on x86-64 only, and it is for {binary.machine}"
    return "no function has the name of a kernel" if binary.kernels else "the names of its kernels could not be read"
