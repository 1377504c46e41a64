"""Where the time of one replay went, drawn: a bar a phase, and where it ended if it did not end well."""

from __future__ import annotations

import math

from markupsafe import Markup

from harness.outcome import STAGES, Kind, Outcome
from harness.report.pictures.drawing import tag, text
from harness.report.text import duration, shorten

PHASES = {"spawned": "import", "building": "build", "imported": "load case", "loaded": "place tensors", "context": "prepare",
          "solving": "solve", "solved": "write result", "written": "end"}  # fmt: skip
"""What a child does once it has journalled a stage; an iteration is part of solve."""

_WIDTH, _TRACK, _TOP, _HEIGHT, _LETTER = 760.0, 560.0, 3.0, 17.0, 6.3


def phase(stage: str) -> str:
    """A stage of no name here (``again: zeros``) is a phase of its own."""
    return "solve" if stage.startswith("iteration") else PHASES.get(stage, stage)


def ended_by(outcome: Outcome) -> str:
    """In two words, what ended a replay before it had written its result; empty when nothing did."""
    if outcome.kind in (Kind.UNAVAILABLE, Kind.OK, Kind.SOLVER_STATUS):
        return ""
    if outcome.kind is Kind.TIMEOUT:
        return "ended at the limit"
    if outcome.exit and outcome.exit.crashed:
        return f"died: {outcome.exit.signal or outcome.exit.name}"
    if outcome.kind is Kind.RAISED and outcome.exception:
        return f"raised {outcome.exception.type}"
    if outcome.kind is Kind.CUDA_ERROR and outcome.cuda:
        return f"CUDA error {outcome.cuda.code}"
    if any(name == "written" for name, _ in outcome.stages):
        return ""
    return "ended" if outcome.tool == "none" else f"ended by {outcome.tool}"


def not_reached(outcome: Outcome) -> tuple[str, ...]:
    """The stages after the furthest one reached, for an outcome that left no result."""
    reached = {name for name, _ in outcome.stages} | {outcome.stage}
    if "written" in reached:
        return ()
    return STAGES[max((STAGES.index(name) for name in reached if name in STAGES), default=-1) + 1 :]


def phases(outcome: Outcome) -> list[tuple[str, float, float]]:
    """(phase, began, ended) in seconds since the child was asked for, neighbours of one name joined."""
    begins = [(phase(name), at) for name, at in outcome.stages]
    ends = [at for _, at in begins[1:]] + [max(outcome.seconds, begins[-1][1] if begins else 0.0)]
    joined: list[tuple[str, float, float]] = []
    for (name, began), ended in zip(begins, ends, strict=True):
        if joined and joined[-1][0] == name:
            joined[-1] = (name, joined[-1][1], ended)
        else:
            joined.append((name, began, ended))
    return joined


def timeline(outcome: Outcome) -> Markup:
    """To scale in time. Empty where no times were recorded, or such as cannot be drawn."""
    times = [at for _, at in outcome.stages]
    if not times or not all(math.isfinite(at) and at >= 0 for at in (*times, outcome.seconds)) or times != sorted(times):
        return Markup()
    parts = phases(outcome)
    whole, how = parts[-1][2], ended_by(outcome)
    if whole <= 0:
        return Markup()
    paths, words = ["", ""], []
    for i, (name, began, ended) in enumerate(parts):
        x, width = _TRACK * began / whole, max(1.0, _TRACK * (ended - began) / whole)
        if how and i == len(parts) - 1:
            paths.append(_bar(x, width))
        else:
            paths[i % 2] += _bar(x, width)
        label = shorten(name, 60)
        if width > _LETTER * len(label) + 8:
            words.append(text(x + 4, _TOP + 12.5, label))
    classes = ("", "even", "died")
    drawn = [tag("path", d=d, class_=name) if name else tag("path", d=d) for name, d in zip(classes, paths, strict=False) if d]
    said = shorten(f"{duration(whole)}, {how} during {parts[-1][0]}" if how else duration(whole), 80)
    below = text(_TRACK, 35, said, text_anchor="end", **({"class_": "died"} if how else {}))
    if how:
        drawn.append(tag("path", d=f"M{_TRACK - 5:g} 6l10 10m0-10l-10 10", class_="cross"))
    missing = ", ".join(not_reached(outcome)) if how else ""
    if missing:
        x, width = _TRACK + 10, _WIDTH - _TRACK - 11
        drawn.append(tag("path", d=_bar(x, width), class_="never"))
        words.append(text(x, 35, shorten(f"not reached: {missing}", 36)))
    # The list of stages beside it has the times in words.
    return tag(
        "svg", *drawn, *words, below, class_="timeline", viewBox=f"0 0 {_WIDTH:g} 39", role="img", aria_label=f"Time: {said}"
    )


def _bar(x: float, width: float) -> str:
    return f"M{x:.1f} {_TOP:g}h{width:.1f}v{_HEIGHT:g}h-{width:.1f}z"
