"""The words of compute-sanitizer's records -> the few words a finding has."""

from __future__ import annotations

import re

_SPACES = ("remote shared", "distributed shared", "constant", "shared", "local", "global")
_DIRECTION = re.compile(r"\b(atomic|write|read)\b", re.IGNORECASE)
_OF_RECORD = {
    "Api": "api-error", "StackOverflow": "stack-overflow", "Hazard": "race", "Analysis": "race", "ClusterEntryExit": "race",
    "Synccheck": "barrier", "Initcheck": "uninitialized", "InitcheckApiError": "uninitialized", "Leak": "leak",
}  # fmt: skip
_OF_TEXT = (
    ("api call", "api-error"), ("stack overflow", "stack-overflow"), ("uninitialized", "uninitialized"),
    ("misaligned", "misaligned"),
    ("before it is allocated", "use-before-allocation"), ("free'd", "use-after-free"), ("use-after-free", "use-after-free"),
    ("out of bounds", "out-of-bounds"), ("double free", "double-free"), ("malloc/free", "bad-free"), ("leaked", "leak"),
    ("hazard", "race"), ("race ", "race"), ("barrier", "barrier"), ("unused", "unused-memory"), ("internal", "tool-internal"),
)  # fmt: skip


def kind_of(record_kind: str, message: str, tool: str) -> str:
    """One word for what is wrong. ``record_kind`` is the tool's own word for the record."""
    if record_kind in _OF_RECORD:
        return _OF_RECORD[record_kind]
    text = message.lower()
    named = next((kind for word, kind in _OF_TEXT if word in text), None)
    if named is not None:
        return named
    if record_kind == "Imprecise":
        return "device-exception"
    return {"racecheck": "race", "synccheck": "barrier", "initcheck": "uninitialized"}.get(tool, record_kind.lower() or "unknown")


def space_of(text: str) -> str | None:
    lowered = text.lower().replace("__", "").replace("_", " ")
    return next((space for space in _SPACES if re.search(rf"\b{space}\b", lowered)), None)


def direction_of(text: str) -> str | None:
    match = _DIRECTION.search(text)
    return match[1].lower() if match else None
