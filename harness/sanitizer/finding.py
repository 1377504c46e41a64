"""What a sanitizer found, in the one shape that outcomes and the report know; the same fault many times is one with a count."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Finding = dict[str, Any]

KEYS = (
    "tool", "kind", "space", "direction", "size", "address", "address_mod_size", "nearest_allocation", "kernel", "where", "thread",
    "block", "host_stack", "count", "message", "signature",
)  # fmt: skip
_FRAMES = 3  # of the host stack, in a signature where there is no kernel


def finding(tool: str, kind: str, message: str, *, other_place: str = "", **known: Any) -> Finding:
    """A finding with every key of the documented shape; what is not known is None. ``host_stack`` is never None.

    ``other_place`` is the line at the other end of a race: it tells two races apart that meet in one line.
    """
    made: Finding = dict.fromkeys(KEYS) | {"tool": tool, "kind": kind, "message": message, "count": 1, "host_stack": []} | known
    unknown = made.keys() - set(KEYS)
    if unknown:
        raise TypeError(f"a finding has no {sorted(unknown)}")
    if made["address"] is not None and made["size"]:
        made["address_mod_size"] = made["address"] % made["size"]
    made["signature"] = signature(made) + (f":{other_place}" if other_place else "")
    return made


def signature(found: Finding) -> str:
    """The same for the same fault in another run: what and where, but no address, thread or process."""
    where = found["where"] or {}
    place = place_name(where.get("path"), where.get("line"))
    function = kernel_name(found["kernel"])
    words = [found["tool"], found["kind"], found["space"], found["direction"], found["size"], function, place]
    if function is None and place is None:
        words += _callers(found["host_stack"])
        words.append(re.sub(r"0x[0-9a-fA-F]+|\d{3,}", "#", found["message"])[:120])
    return ":".join(str(word) for word in words if word is not None)


def _callers(stack: list[dict[str, Any]]) -> list[str]:
    """The innermost functions whose source is known; a binding without one is the same for every call."""
    known = [frame["function"] for frame in stack if frame["function"] and frame["path"]]
    return (known or [frame["function"] for frame in stack if frame["function"]])[:_FRAMES]


def kernel_name(text: str | None) -> str | None:
    """A demangled name without its parameters."""
    if not text:
        return None
    return text.replace("(anonymous namespace)::", "").split("(")[0].strip() or text


def group(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One for each signature, as it was first seen, with how many there were, in the order they were first seen in."""
    seen: dict[str, Finding] = {}
    for each in findings:
        first = seen.get(each["signature"])
        if first is None:
            seen[each["signature"]] = dict(each)
        else:
            first["count"] += each["count"]
    return tuple(seen.values())


def place_name(path: str | None, line: int | None) -> str | None:
    """``file:line``, without the folders, which differ between machines."""
    if not path:
        return None
    return f"{path.replace(chr(92), '/').rpartition('/')[2]}:{line}"
