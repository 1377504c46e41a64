"""Where the time of one replay went: a bar with a part a phase, and where it ended if it did not end well."""

from __future__ import annotations

import math

from markupsafe import Markup

from harness.outcome import STAGES, Kind, Outcome
from harness.report.pictures.drawing import tag
from harness.report.text import duration, shorten

PHASES = {"spawned": "import", "building": "build", "imported": "load case", "loaded": "place tensors", "context": "prepare",
          "solving": "solve", "solved": "write result", "written": "end"}  # fmt: skip
"""What a child does once it has journalled a stage; an iteration is part of solve."""


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
    """To scale in time, a part a phase, name and duration of each below. Empty where no times were recorded that can be drawn."""
    times = [at for _, at in outcome.stages]
    if not times or not all(math.isfinite(at) and at >= 0 for at in (*times, outcome.seconds)) or times != sorted(times):
        return Markup()
    parts = phases(outcome)
    whole, how = parts[-1][2], ended_by(outcome)
    if whole <= 0:
        return Markup()
    bar, key = Markup(), Markup()
    for i, (name, began, ended) in enumerate(parts):
        kind = "died" if how and i == len(parts) - 1 else "solve" if name == "solve" else "around"
        took, label = duration(ended - began), shorten(name, 60)
        bar += tag(
            "i", tag("b", label), class_=kind, style=f"flex-grow:{max(ended - began, 0.0) / whole:.4f}", title=f"{label}: {took}"
        )
        steps = _steps(outcome) if name == "solve" else ""
        key += tag("li", tag("i", class_=kind), tag("b", label), f" {took}{steps}")
    missing = ", ".join(not_reached(outcome)) if how else ""
    key += tag("li", f"not reached: {missing}", class_="never") if missing else Markup()
    said = shorten(f"{duration(whole)}, {how} during {parts[-1][0]}" if how else duration(whole), 80)
    return tag(
        "div",
        tag("div", bar, class_="bar", role="img", aria_label=f"Time: {said}"),
        tag("ol", key, aria_label="Where the time went"),
        tag("p", said, class_="died" if how else "whole"),
        class_="timeline",
    )


def _steps(outcome: Outcome) -> str:
    """The first and the last iteration that was journalled."""
    names = [name.removeprefix("iteration").strip() for name, _ in outcome.stages if name.startswith("iteration")]
    if not names:
        return ""
    return f", iteration {names[0]}" if len(names) == 1 else f", iterations {names[0]}\u2013{names[-1]}"
