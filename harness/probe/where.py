"""In which calls failures are: every dimension of the ladder that tells them from the calls that do not fail, in words.

What is said must hold: where the failures are not all calls that the words mean, they are said in parts, or with how many they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness.probe.rungs import ALL_OPS, CRASH, GROUP_NAMES, REFUSED_DTYPES, UNAVAILABLE, Result, Rung

_DIMENSIONS = ("device", "group", "op", "dtype", "batch", "layout", "stream", "thread")
_PHRASES = {
    "device": "on {}", "dtype": "in {}", "batch": "at batch {}", "layout": "with {} operands", "stream": "on a {} stream",
    "thread": "on the {} thread",
}  # fmt: skip
_MOST_PARTS = 4


def where(failed: Sequence[Result], results: Sequence[Result]) -> str:
    """In which calls: a dimension is named where some of its values that were tried do not fail."""
    failing, tried = _compared(failed, results)
    if _is_exact(failing, tried):
        return _described(failing, tried)
    parts = _parts(failing, tried)
    if len(parts) > _MOST_PARTS or not any(_is_exact(part, tried) for part in parts):
        return _counted(failing, tried)
    return "; ".join(_counted(part, tried) for part in parts)


def _compared(failed: Sequence[Result], results: Sequence[Result]) -> tuple[set[Rung], set[Rung]]:
    """The failing rungs that words are about, and what was tried to compare them with: of one kind, near 0 or not, half or not."""
    failing = {r.rung for r in failed}
    if failed[0].result == CRASH:  # what was left out after a death counts with it
        dead = {(rung.op, rung.group, rung.dtype, rung.device) for rung in failing}
        failing |= {r.rung for r in results if r.not_climbed and (r.rung.op, r.rung.group, r.rung.dtype, r.rung.device) in dead}
    near_zero, refused = all(rung.near_zero for rung in failing), all(rung.dtype in REFUSED_DTYPES for rung in failing)
    if not refused:
        failing = {rung for rung in failing if rung.dtype not in REFUSED_DTYPES}
    alike = [r.rung for r in results if r.result != UNAVAILABLE and (r.rung.dtype in REFUSED_DTYPES) == refused]
    if not near_zero:
        failing = {rung for rung in failing if not rung.near_zero}
    return failing, failing.union(rung for rung in alike if rung.near_zero == near_zero)


def _meant(failing: set[Rung], tried: set[Rung]) -> set[Rung]:
    """All rungs that a description of the failing ones includes: those with their values in every dimension."""
    values = {dimension: {getattr(rung, dimension) for rung in failing} for dimension in _DIMENSIONS}
    return {rung for rung in tried if all(getattr(rung, dimension) in values[dimension] for dimension in _DIMENSIONS)}


def _is_exact(failing: set[Rung], tried: set[Rung]) -> bool:
    return len(_meant(failing, tried)) == len(failing)


def _parts(failing: set[Rung], tried: set[Rung]) -> list[set[Rung]]:
    """The failing rungs in parts whose operations fail alike: together where that makes a sentence true, else group by group."""
    calls: dict[tuple[str, str], set[Rung]] = {}
    for rung in sorted(failing, key=lambda it: (GROUP_NAMES.index(it.group), ALL_OPS.index(it.op))):
        calls.setdefault((rung.op, rung.group), set()).add(rung)
    alike: dict[frozenset[Any], list[set[Rung]]] = {}
    for rungs in calls.values():
        forms = frozenset(tuple(getattr(rung, name) for name in _DIMENSIONS if name not in ("op", "group")) for rung in rungs)
        alike.setdefault(forms, []).append(rungs)
    parts: list[set[Rung]] = []
    for members in alike.values():
        together = set().union(*members)
        if _is_exact(together, tried):
            parts.append(together)
            continue
        by_group: dict[str, set[Rung]] = {}
        for rungs in members:
            by_group.setdefault(next(iter(rungs)).group, set()).update(rungs)
        parts += by_group.values()
    return parts


def _counted(failing: set[Rung], tried: set[Rung]) -> str:
    meant = _meant(failing, tried)
    some = f" ({len(failing)} of {len(meant)} rungs)" if len(meant) > len(failing) else ""
    return f"{_described(failing, tried)}{some}"


def _described(failing: set[Rung], tried: set[Rung]) -> str:
    near_zero = all(rung.near_zero for rung in failing)
    named: dict[str, str] = {}
    for dimension in _DIMENSIONS:
        # Only a GPU has streams: on the devices that fail, is there another that does not?
        peers = tried if dimension != "stream" else {r for r in tried if r.device in {f.device for f in failing}}
        values, all_values = ({getattr(rung, dimension) for rung in rungs} for rungs in (failing, peers))
        if values != all_values or (dimension in ("op", "group") and len(values) == 1):
            named[dimension] = _some(values, all_values)
    op, group = named.pop("op", ""), named.pop("group", "")
    if near_zero and not op:
        op = "exp, log and retr near 0"
    if op and group and " " not in op + group:
        words = [f"{group}.{op}"]
    else:
        words = [op or "every op", *([f"of {group}"] if group else [])]
    words += [_PHRASES[name].format(value) for name, value in named.items()]
    return " ".join(words).replace("at batch every batch", "at every batch")


def _some(values: set[Any], all_values: set[Any]) -> str:
    missing = all_values - values
    if len(missing) <= 2 < len(values):
        kind = "batch" if isinstance(next(iter(values)), int) else "op" if values & set(ALL_OPS) else "one"
        return f"every {kind} but {_list(missing)}"
    return _list(values)


def _list(values: Iterable[Any]) -> str:
    texts = [str(value) for value in sorted(values, key=_in_order)]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def _in_order(value: Any) -> tuple[int, Any]:
    orders = (ALL_OPS, GROUP_NAMES)
    return next(((order.index(value), "") for order in orders if value in order), (0, value))
