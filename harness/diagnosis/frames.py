"""Python stacks as faulthandler and tracebacks write them, reduced to what is the same on every machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FAULTHANDLER = re.compile(r'^\s*File "([^"\n]{1,1000})", line (\d{1,9}) in (\S[^\n]{0,199})$')
_TRACEBACK = re.compile(r'^\s*File "([^"\n]{1,1000})", line (\d{1,9}), in (\S[^\n]{0,199})$')
_OURS = re.compile(r"(^|/)harness/(worker|solvers|supervisor|__main__|adapters/(revision|checkout)|sanitizer/inside)\.py$")
"""What calls a solver: nothing outside of it is the solver's."""
_WRAPPERS = re.compile(r"(^|/)harness/(adapters/iterations|record/methods)\.py$")
"""What stands between a tracker's own calls, to see them: with the solver's on both sides of it."""
_OUTSIDE = re.compile(r"(^|/)harness/memory/\w+\.py$")
"""What looks at the memory when a solve has ended: it is above no solver, and what it meets is no call of one."""
_NOISE = re.compile(r"(^|/)(torch|importlib|concurrent|multiprocessing)/|^<frozen |(^|/)(threading|runpy)\.py$|^<string>$")
_TOP = 3


@dataclass(frozen=True)
class Frame:
    """One call. ``file`` as it was written, with forward slashes; ``text_line`` is its line in the text it is from, from 1."""

    file: str
    line: int
    function: str
    text_line: int

    @property
    def word(self) -> str:
        """``groups.inv``: the same on every machine and in every version that did not rename it."""
        return f"{self.file.rpartition('/')[2].removesuffix('.py')}.{self.function}"


def from_faulthandler(text: str) -> tuple[Frame, ...]:
    """The stack of the thread that died, or at a time-out of the thread that solves; the innermost call first."""
    blocks = _blocks(text)
    if not blocks:
        return ()
    current = [frames for title, frames in blocks if title.startswith("Current thread")]
    solving = [frames for _, frames in blocks if any(_OURS.search(frame.file) for frame in frames)]
    return tuple((current or solving or [frames for _, frames in blocks])[0])


def from_traceback(text: str) -> tuple[Frame, ...]:
    """The innermost call first. Of chained exceptions the last one's stack, which is what was raised."""
    frames: list[Frame] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("Traceback (most recent call last)"):
            frames = []
        found = _TRACEBACK.match(line)
        if found:
            frames.append(Frame(found[1].replace("\\", "/"), int(found[2]), found[3], number))
    return tuple(reversed(frames))


def top(frames: tuple[Frame, ...], n: int = _TOP) -> tuple[Frame, ...]:
    """The innermost frames that are the solver's: not the harness's, and not torch's, which differ between its versions."""
    return _of_solver(frames)[:n]


def entry(frames: tuple[Frame, ...]) -> Frame | None:
    """The outermost frame that is the solver's: the same at whatever moment of its run the stack is written."""
    solver = _of_solver(frames)
    return solver[-1] if solver else None


def _of_solver(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    solver: list[Frame] = []
    for frame in frames:
        if _OURS.search(frame.file):
            break
        if not _WRAPPERS.search(frame.file):
            solver.append(frame)
    if any(_OUTSIDE.search(frame.file) for frame in solver):
        return ()
    return tuple(frame for frame in solver if not _NOISE.search(frame.file)) or tuple(solver)


def _blocks(text: str) -> list[tuple[str, list[Frame]]]:
    blocks: list[tuple[str, list[Frame]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("Current thread", "Thread 0x")):
            blocks.append((line, []))
        found = _FAULTHANDLER.match(line)
        if found:
            if not blocks:
                blocks.append(("", []))
            blocks[-1][1].append(Frame(found[1].replace("\\", "/"), int(found[2]), found[3], number))
    return [(title, frames) for title, frames in blocks if frames]
