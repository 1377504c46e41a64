"""A finding in words: what was accessed, how far from what, where. Anything may be missing: a run may be of a stranger's making."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.outcome import MEMORY_MODES
from harness.sanitizer.finding import kernel_name

Known = Mapping[str, Any]

_LONGEST = 300


def in_words(finding: Known) -> str:
    """``out-of-bounds read of 4 bytes in heap memory, 1 byte past the end of an allocation of 396 bytes, at copy.cpp:39 (...)``.

    In the brackets stands what the tool says. A memory mode's own words name the tensor, and what is no access of a known size is
    best told by its tool: those words come first.
    """
    message = next(iter(str(finding.get("message") or "").splitlines()), "").strip().rstrip(".")[:_LONGEST]
    if message and (finding.get("tool") in MEMORY_MODES or not isinstance(finding.get("size"), int)):
        return ", ".join(filter(None, [message, _in_kernel(finding), _at(finding)]))
    what = f"{finding.get('kind') or 'a fault without a kind'} {access(finding)}".strip()
    said = f" ({message})" if message else ""
    return ", ".join(filter(None, [what, distance(finding), _in_kernel(finding), _at(finding)])) + said


def access(finding: Known) -> str:
    """``read of 4 bytes in heap memory``."""
    size, space = finding.get("size"), finding.get("space")
    direction = finding.get("direction") or ("access" if isinstance(size, int) or space else "")
    words = [str(direction), f"of {_bytes(size)}" if isinstance(size, int) else "", f"in {space} memory" if space else ""]
    return " ".join(word for word in words if word)


def distance(finding: Known) -> str:
    """Where the address lies against the allocation nearest to it; empty where that is not known."""
    near, address = finding.get("nearest_allocation"), finding.get("address")
    if not isinstance(near, Mapping) or not all(isinstance(near.get(name), int) for name in ("address", "size", "distance")):
        return ""
    allocation = f"an allocation of {_bytes(near['size'])}"
    if near["distance"] == 0:
        return f"inside {allocation}"
    side = "before the start of" if isinstance(address, int) and address < near["address"] else "past the end of"
    return f"{_bytes(near['distance'])} {side} {allocation}"


def place(finding: Known) -> str:
    """``file:line``, or the file alone; empty where no source is known."""
    where = finding.get("where")
    if not isinstance(where, Mapping) or not where.get("path"):
        return ""
    return f"{where['path']}:{where['line']}" if where.get("line") else str(where["path"])


def _in_kernel(finding: Known) -> str:
    name = kernel_name(str(finding.get("kernel") or ""))
    return f"in {name.removeprefix('void ')}" if name else ""


def _at(finding: Known) -> str:
    found = place(finding)
    return f"at {found}" if found else ""


def _bytes(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"
