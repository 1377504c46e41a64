"""What a memory mode left in a job folder, added to the outcome: findings, notes, what a fatal access touched. The parent's side.

The child may have died of what it did, and may have written anything over these files: what cannot be read is said, never believed.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from harness.outcome import EXACT, POOL, Kind, Outcome
from harness.sanitizer.finding import KEYS, Finding, finding
from harness.sanitizer.hostlog import INVALID_ACCESS
from harness.sanitizer.tools import CUDA_TOOLS
from harness.worker_files import FAULT, MEMORY

MAX_BYTES = 16 << 20
NEAR_BYTES = 1 << 20
"""Farther from a window than its guard pages reach, an address says nothing about it."""

_KERNEL_SAYS_SO = 0x80  # SI_KERNEL: no address; on x86 an unaligned vector access, or an address that cannot exist
_NO_ADDRESS = (
    "the processor gave no address: a vector access at an address that is no multiple of its size, or one that cannot exist; "
    "a layout sweep tells"
)
_WINDOWS = re.compile(r"access violation (reading|writing) 0x([0-9A-Fa-f]+)")
_ANSWERED = (Kind.OK, Kind.SOLVER_STATUS, Kind.RAISED)


def with_memory(outcome: Outcome, folder: Path) -> Outcome:
    """The outcome with what its memory mode found. One that came back with an answer and has findings is ``FINDINGS``."""
    if outcome.memory == POOL or outcome.kind is Kind.UNAVAILABLE:
        return outcome
    document, problem = _read(folder / MEMORY)
    findings, notes = list(document.get("findings", [])), list(document.get("notes", []))
    kept = {" and ".join(window["tensors"]): window["kept"] for window in document.get("windows", []) if window["kept"]}
    if problem:
        notes.append(problem)
    if outcome.kind is Kind.CRASHED or _says_access_violation(outcome):
        more, why = _fatal(outcome, document, folder / FAULT)
        more = [found for found in more if not any(_same_place(found, other) for other in findings)]
        findings, notes = findings + more, notes + why
        if document.get("attempt") and document["attempt"] != "done":
            notes.append(f"it died with {document['attempt']}")
            notes += [f"of the recorded addresses modulo 512 this was kept: {_words(kept)}"] if kept else []
    if outcome.memory == EXACT and (outcome.device or "").startswith("cuda") and outcome.tool == "none":
        notes.append("on a GPU, exact memory shows an access beside a tensor only to compute-sanitizer: add --tool memcheck")
    kind = Kind.FINDINGS if findings and outcome.kind in _ANSWERED else outcome.kind
    told = tuple(_against_tensors(found, document) for found in outcome.findings)
    values = outcome.values | ({"addresses_kept": kept} if kept else {})
    values |= {"repeatable": False} if document.get("repeatable") is False else {}
    return dataclasses.replace(
        outcome, kind=kind, findings=(*told, *findings), notes=(*outcome.notes, *notes), values=values
    )  # fmt: skip


def _against_tensors(found: Finding, document: dict[str, Any]) -> Finding:
    """A tool's finding with what this mode knows of it: where the tensors are."""
    if found["address"] is None:
        return found
    if found["kind"] == INVALID_ACCESS:  # the tool keeps the signal to itself, not the address
        beside = _nearest(document, found["address"], found["direction"], found["tool"])
        return _retold(found, beside, f"{beside['message']}: {found['message']}") if beside else found
    if found["kind"] != "out-of-bounds" or found["tool"] not in CUDA_TOOLS:
        return found
    window = next((window for window in document.get("windows", []) if _is_inside(found, window)), None)
    if window is None:
        return found
    near = {"address": window["address"], "size": window["size"], "distance": 0}
    known = {"kind": "wrong-device", "space": found["space"], "nearest_allocation": near}
    names = " and ".join(window["tensors"])
    return _retold(found, known, f"{found['message']}, and is in {names}: memory of another GPU or context")


def _is_inside(found: Finding, window: dict[str, Any]) -> bool:
    """With its last byte, too: a wide access may begin inside and be out of bounds all the same."""
    start = int(found["address"]) - int(window["address"])
    return start >= 0 and start + int(found["size"] or 1) <= int(window["size"])


def _retold(found: Finding, known: dict[str, Any], message: str) -> Finding:
    kept = {name: found[name] for name in KEYS if name not in ("tool", "kind", "message", "signature", "address_mod_size")}
    kept |= {name: known[name] for name in ("space", "nearest_allocation")}
    return finding(found["tool"], known["kind"], message, **kept)


def _words(kept: dict[str, str]) -> str:
    return ", ".join(f"{names} {what}" for names, what in kept.items())


def _read(file: Path) -> tuple[dict[str, Any], str]:
    """The child's account, checked, and what is wrong with it."""
    if not file.exists():
        return {}, ""
    try:
        if file.stat().st_size > MAX_BYTES:
            return {}, f"{MEMORY} has {file.stat().st_size} bytes, and was not read"
        document = json.loads(file.read_text(encoding="utf-8"))
        if not all(set(found) == set(KEYS) and isinstance(found["message"], str) for found in document["findings"]):
            raise ValueError("a finding lacks a key")
        if not all(isinstance(note, str) for note in document["notes"]) or not isinstance(document["attempt"], str):
            raise ValueError("a note is no text")
        for window in document["windows"]:
            address, size, room, names = window["address"], window["size"], window["room"], window["tensors"]
            texts = (*names, window["kept"])
            if not all(isinstance(n, int) for n in (address, size, *room)) or not all(isinstance(text, str) for text in texts):
                raise ValueError("a window is malformed")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {}, f"{MEMORY} cannot be read: {type(error).__name__}: {error}"
    return document, ""


def _says_access_violation(outcome: Outcome) -> bool:
    return outcome.exception is not None and _WINDOWS.search(outcome.exception.message) is not None


def _fatal(outcome: Outcome, document: dict[str, Any], file: Path) -> tuple[list[Finding], list[str]]:
    """A finding where a fatal access lies beside a tensor, and in words what else is known of it."""
    seen = _on_windows(outcome) or _on_posix(file)
    if seen is None:
        return [], []
    address, direction, by_kernel = seen
    verb = {"read": "reading", "write": "writing"}.get(direction or "", "touching")
    if by_kernel:
        return [], [_NO_ADDRESS]
    beside = _nearest(document, address, direction, outcome.memory)
    if beside is not None:
        return [beside], []
    return [], [f"it died {verb} 0x{address:x}, which is not beside any tensor"]


def _nearest(document: dict[str, Any], address: int, direction: str | None, tool: str) -> Finding | None:
    """The finding of an access beside a tensor, the nearest one; None where it is beside none."""
    beside = [found for window in document.get("windows", []) if (found := _beside(window, address, direction, tool))]
    return min(beside, key=lambda found: int(found["nearest_allocation"]["distance"]), default=None)


def _on_windows(outcome: Outcome) -> tuple[int, str | None, bool] | None:
    match = _WINDOWS.search(outcome.exception.message) if outcome.exception else None
    return (int(match[2], 16), "read" if match[1] == "reading" else "write", False) if match else None


def _on_posix(file: Path) -> tuple[int, str | None, bool] | None:
    try:
        line = file.read_bytes()[:200].split(b"\n")[0]
        _signal, code, address, direction = (int(word, 16) for word in line.split())
    except (OSError, ValueError):
        return None
    return address, {1: "read", 2: "write"}.get(direction), code == _KERNEL_SAYS_SO


def _beside(window: dict[str, Any], address: int, direction: str | None, tool: str) -> Finding | None:
    """The finding of an access in the guard of this window, or None."""
    start, size = window["address"], window["size"]
    distance = start - address if address < start else address - (start + size) + 1
    if start <= address < start + size or distance > NEAR_BYTES or not window.get("guarded"):
        return None
    where = "before the start of" if address < start else "past the end of"
    done = {"read": "read", "write": "wrote"}.get(direction or "", "touched memory")
    far = f"{distance} byte{'' if distance == 1 else 's'} {where} {' and '.join(window['tensors'])}"
    return finding(
        tool, "out-of-bounds", f"{done} {far}", space="heap", direction=direction, address=address,
        nearest_allocation={"address": start, "size": size, "distance": distance},
    )  # fmt: skip


def _same_place(fatal: Finding, other: Finding) -> bool:
    """Whether the attempt before, in other memory, had already shown what the process then died of."""
    near, other_near = fatal["nearest_allocation"], other.get("nearest_allocation")
    side = "before" if fatal["address"] < near["address"] else "past"
    return (
        isinstance(other_near, dict)
        and fatal["direction"] == other["direction"]
        and (near["size"], near["distance"]) == (other_near.get("size"), other_near.get("distance"))
        and side in other["message"]
    )
