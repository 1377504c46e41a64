"""How far a child had come, in words for whoever reads a verdict."""

from __future__ import annotations

_WORDS = {
    "none": "before it had begun",
    "spawned": "while the solver was being imported",
    "imported": "while the case was being read",
    "loaded": "while its tensors were being put in place",
    "context": "just before the solve",
    "solving": "in the solve, before the end of an iteration was seen",
    "solved": "after the solve, while its result was being written",
    "written": "after it had written its result",
}


def in_words(stage: str) -> str:
    """A clause that follows what happened: ``the process died`` + this."""
    if stage.startswith("iteration "):
        return f"in the solve, after {stage}"
    if stage.startswith("again: "):
        return f"in the solve, repeated with its tensors placed otherwise ({stage.removeprefix('again: ')})"
    return _WORDS.get(stage, f"at stage {stage!r}")
