"""What a layout sweep shows. Its own rule is read, and believed only where the layouts that it lists bear it out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.diagnosis.documents import Sweep, SweptLayout
from harness.outcome import Fact

_EXACTLY = re.compile(r"^(?:faults|[^;]{1,80}) exactly when ([^;]+)$")
_MOD = re.compile(r"^(\w+) mod (\d{1,3}) != 0$")


@dataclass(frozen=True)
class LayoutRule:
    """It fails exactly where ``text`` holds. ``alignment`` says whether that is a matter of addresses alone."""

    text: str
    alignment: bool
    facts: tuple[Fact, ...]


def layout_rule(sweep: Sweep) -> LayoutRule | None:
    """None unless the sweep found one rule for all its failures, some layouts failed, some worked, and none says otherwise."""
    bad, good = _split(sweep)
    found = _EXACTLY.match(sweep.rule.strip().rstrip("."))
    if not bad or not good or found is None:
        return None
    text = found[1].strip()
    quotes = (Fact(sweep.rule.strip(), f"{sweep.source}: rule"), _fact(sweep, bad[0]), _fact(sweep, good[0]))
    together = " and " in text
    parts = [_MOD.match(part.strip()) for part in re.split(r" or | and ", text)]
    atoms = [(part[1], int(part[2])) for part in parts if part is not None]
    if len(atoms) < len(parts):
        return LayoutRule(text, False, quotes)
    holds = all if together else any
    known = [(it, [_offset(it, tensor, modulus) for tensor, modulus in atoms]) for it in (*bad, *good)]
    if any(None in offsets for _, offsets in known) or any(holds(map(bool, offsets)) != (it in bad) for it, offsets in known):
        return None
    return LayoutRule(text, True, quotes)


def every_layout_fails(sweep: Sweep) -> Fact | None:
    """That the layout is not the cause: at least three were tried, an aligned one among them, and none of them worked."""
    bad, good = _split(sweep)
    if good or len(bad) < 3 or not any(it.mod16 and not any(it.mod16.values()) for it in bad):
        return None
    return Fact(", ".join(f"{it.layout}: {it.outcome}" for it in bad), f"{sweep.source}: layouts")


def _split(sweep: Sweep) -> tuple[list[SweptLayout], list[SweptLayout]]:
    return [it for it in sweep.layouts if it.faulted is True], [it for it in sweep.layouts if it.faulted is False]


def _offset(layout: SweptLayout, tensor: str, modulus: int) -> int | None:
    """The address modulo a power of two, as far as the sweep gives it."""
    if modulus <= 16 and tensor in layout.mod16:
        return layout.mod16[tensor] % modulus
    return layout.mod512[tensor] % modulus if tensor in layout.mod512 else None


def _fact(sweep: Sweep, layout: SweptLayout) -> Fact:
    places = ", ".join(f"{tensor} mod16 {offset}" for tensor, offset in list(layout.mod16.items())[:4])
    return Fact(f"{layout.layout}: {layout.outcome}" + (f" ({places})" if places else ""), f"{sweep.source}: layouts")
