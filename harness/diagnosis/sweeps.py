"""What a layout sweep shows. Its own rule is read, and believed only where the layouts that it lists bear it out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.outcome import RECORDED, Fact, Outcome, how

BY_CHANCE = "by chance"
"""The state of a sweep in which one layout did not always end alike."""

_EXACTLY = re.compile(r"^(faults|[^;]{1,80}) exactly when ([^;]+)$")
_MOD = re.compile(r"^(\w+) mod (\d{1,3}) != 0$")


@dataclass(frozen=True)
class SweptLayout:
    """One layout of a sweep: where each tensor lay modulo 16 and 512 bytes, how the run ended, and whether that is a fault.

    ``sort`` is the sweep's word for how it ended, the same for the same sort of fault.
    """

    layout: str
    mod16: Mapping[str, int]
    mod512: Mapping[str, int]
    outcome: str
    faulted: bool | None
    sort: str = ""


@dataclass(frozen=True)
class Sweep:
    source: str
    case: str
    solver: str
    tool: str
    layouts: tuple[SweptLayout, ...]
    rule: str
    state: str = ""

    @property
    def how(self) -> str:
        """The way of running it, in a word: ``layouts``, ``asan layouts``."""
        return "layouts" if self.tool == "none" else f"{self.tool} layouts"

    def is_of(self, outcome: Outcome) -> bool:
        """Whether it swept what this is an outcome of, in whatever layout."""
        return (self.case, self.solver, self.tool) == (outcome.case, outcome.solver, how(outcome.tool, outcome.memory))

    @property
    def answered(self) -> bool:
        """Whether any layout gave an answer."""
        return any(it.faulted is not None for it in self.layouts)

    @property
    def elsewhere(self) -> tuple[SweptLayout, ...]:
        """The layouts that fault, but for the recorded one, whose outcome is the run's own."""
        return tuple(it for it in self.layouts if it.faulted and it.layout != RECORDED)


@dataclass(frozen=True)
class LayoutRule:
    """It fails exactly where ``text`` holds. ``alignment`` says whether that is a matter of addresses alone."""

    text: str
    alignment: bool
    facts: tuple[Fact, ...]


def layout_rule(sweep: Sweep, layout: str = RECORDED) -> LayoutRule | None:
    """The rule for how it failed in ``layout``: the sweep's one rule for all its failures, or that for this sort of them.

    None unless some layouts failed, some worked, and none says otherwise.
    """
    bad, good = split(sweep)
    said = sweep.rule.strip().rstrip(".")
    found = _EXACTLY.match(said)
    if found is None:
        sort = next((it.sort for it in bad if it.layout == layout and it.sort), None)
        parts = [match for part in said.split("; ") if (match := _EXACTLY.match(part))]
        found = next((match for match in parts if match[1] == sort), None)
        bad = [it for it in bad if it.sort == sort]
    if not bad or not good or found is None:
        return None
    text = found[2].strip()
    quotes = (Fact(found[0], f"{sweep.source}: rule"), *example_facts(sweep, layout, bad, good))
    together = " and " in text
    words = re.split(r" or | and ", text)
    atoms = [(match[1], int(match[2])) for word in words if (match := _MOD.match(word.strip()))]
    if len(atoms) < len(words):
        return LayoutRule(text, False, quotes)
    holds = all if together else any
    known = [(it, [_offset(it, tensor, modulus) for tensor, modulus in atoms]) for it in (*bad, *good)]
    if any(None in offsets for _, offsets in known) or any(holds(map(bool, offsets)) != (it in bad) for it, offsets in known):
        return None
    return LayoutRule(text, True, quotes)


def every_layout_fails(sweep: Sweep) -> Fact | None:
    """That the layout is not the cause: at least three were tried, an aligned one among them, and none of them worked."""
    bad, good = split(sweep)
    if good or len(bad) < 3 or not any(it.mod16 and not any(it.mod16.values()) for it in bad):
        return None
    return Fact(", ".join(f"{it.layout}: {it.outcome}" for it in bad), f"{sweep.source}: layouts")


def split(sweep: Sweep) -> tuple[list[SweptLayout], list[SweptLayout]]:
    """The layouts that faulted, and those that did not. What gave no answer is in neither."""
    return [it for it in sweep.layouts if it.faulted is True], [it for it in sweep.layouts if it.faulted is False]


def example_facts(sweep: Sweep, layout: str, bad: Sequence[SweptLayout], good: Sequence[SweptLayout]) -> Iterable[Fact]:
    """One layout that faulted, this one if it did, and one that did not."""
    for it in (next((it for it in bad if it.layout == layout), bad[0]), good[0]):
        places = ", ".join(f"{tensor} mod16 {offset}" for tensor, offset in list(it.mod16.items())[:4])
        yield Fact(f"{it.layout}: {it.outcome}" + (f" ({places})" if places else ""), f"{sweep.source}: layouts")


def _offset(layout: SweptLayout, tensor: str, modulus: int) -> int | None:
    """The address modulo a power of two, as far as the sweep gives it."""
    if modulus <= 16 and tensor in layout.mod16:
        return layout.mod16[tensor] % modulus
    return layout.mod512[tensor] % modulus if tensor in layout.mod512 else None
