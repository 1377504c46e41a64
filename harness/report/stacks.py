"""Stacks as a reader wants them: the calls of the solver in sight, those of the harness around it folded away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.report.text import count

_FRAME = re.compile(r'^\s*File "([^"\n]{1,1000})", line \d+,? in ')
_OURS = re.compile(
    r"(^|[/\\])harness[/\\](worker|solvers|supervisor|process|remote|batch|__main__|adapters[/\\]\w+)\.py$"
    r"|^<frozen runpy>$|(^|[/\\])runpy\.py$"
)
_MODULES = "Extension modules: "
_FEW, _LONG = 2, 160
"""Frames, and characters of a list of modules, that are not worth a fold."""


@dataclass(frozen=True)
class Piece:
    """A part of a text; ``folded`` is what it is called where it is folded away, else empty."""

    text: str
    folded: str = ""


def pieces(text: str) -> tuple[Piece, ...]:
    """The text in order, nothing left out: joined by line breaks, the pieces are the text."""
    found: list[Piece] = []
    for lines, kind in _runs(text.split("\n")):
        words = _called(lines, kind)
        if found and not words and not found[-1].folded:
            found[-1] = Piece(f"{found[-1].text}\n" + "\n".join(lines))
        else:
            found.append(Piece("\n".join(lines), words))
    return tuple(found)


def _called(lines: list[str], kind: str) -> str:
    frames = sum(bool(_FRAME.match(line)) for line in lines)
    if kind == "ours" and frames > _FEW:
        return f"{count(frames, 'call')} of the harness"
    return "Extension modules" if kind == "modules" and len(lines[0]) > _LONG else ""


def _runs(lines: list[str]) -> Iterator[tuple[list[str], str]]:
    """Neighbouring lines of one kind. The lines of source below a frame of a traceback are the frame's."""
    run: list[str] = []
    before = kind = ""
    for line in lines:
        frame = _FRAME.match(line)
        if frame:
            kind = "ours" if _OURS.search(frame[1]) else "text"
        elif not (kind == "ours" and line.startswith("    ")):
            kind = "modules" if line.startswith(_MODULES) else "text"
        if run and kind != before:
            yield run, before
            run = []
        run.append(line)
        before = kind
    if run:
        yield run, before
