"""Which layouts to run next, from what the others showed: a pure function, so that a sweep that was cut off goes on where it was.

1. every variant on all tensors;
2. where some fault and some do not, one of either sort again: a fault that comes and goes in one layout has no rule;
3. from a healthy layout, each faulting variant on one tensor alone (sharing: on two);
4. while several rules fit, the layout on which they disagree most evenly;
5. when one is left, layouts not yet tried of which it foretells some to fault and some not: each could refute it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.case import FLOATING, CaseDocument, TensorSpec
from harness.outcome import RECORDED
from harness.relayout import (
    ALIASED,
    ALIGNED,
    CONTIGUOUS,
    LAYOUTS,
    OFFSET,
    ROWS,
    STRIDED,
    TRANSPOSED,
    again,
    once,
    relayout_document,
)
from harness.sweep.rule import Atom, Rule, Trial, atoms, candidates

MAX_EXTRA = 40
"""Layouts run to tell rules apart and to refute them; a solver whose faults no rule explains would never come to an end."""

TIMES = 4
"""How often one faulting and one healthy layout are run in all. A solver that faults as often as not passes once in 64 sweeps."""

TESTS = 3
"""Untried layouts of each sort, foretold to fault and not to, that a rule has to survive."""

_SHIFTS = (16, 32, 64, 128, 256, 8, 4, 20, 40, 48, 96, 24, 160, 12, 80, 192, 320)
_PROBES = (*(f"shift-{k}" for k in _SHIFTS), ROWS, STRIDED, TRANSPOSED, OFFSET)


_MOVED = (ROWS, STRIDED, TRANSPOSED, OFFSET, "shift-4")


@dataclass(frozen=True)
class Next:
    """Layouts to run before anything more can be said, or ``rule`` and how it was tested; neither when there is nothing to find."""

    layouts: tuple[str, ...] = ()
    state: str = "running"
    rule: Rule | None = None
    tests: tuple[str, ...] = ()


class Planner:
    """Plans the sweep of one document. What its layouts are is worked out once; what to run follows from the results alone."""

    def __init__(self, document: CaseDocument) -> None:
        self._document = document
        self._tensors: dict[str, Mapping[str, TensorSpec]] = {}
        self._held: dict[str, frozenset[Atom]] = {}

    def next(self, results: Mapping[str, bool | None]) -> Next:
        """``results`` maps each layout run so far to whether it faulted, None where it gave no answer."""
        missing = tuple(layout for layout in LAYOUTS if layout not in results)
        if missing:
            return Next(missing)
        answered = [layout for layout in results if results[layout] is not None]
        healthy = [layout for layout in LAYOUTS if results[layout] is False]
        faulting = [layout for layout in LAYOUTS if results[layout]]
        if not faulting or not healthy:
            return Next(state="not run" if not answered else "faults everywhere" if faulting else "healthy everywhere")
        base = next(layout for layout in (ALIGNED, CONTIGUOUS, RECORDED, *healthy) if layout in healthy)
        repeated = [again(layout, time) for layout in (faulting[0], base) for time in range(2, TIMES + 1)]
        missing = tuple(layout for layout in repeated if layout not in results)
        if missing:
            return Next(missing)
        if any(results[layout] not in (None, results[once(layout)]) for layout in repeated):
            return Next(state="by chance")
        singles = self._singles(base, faulting)
        missing = tuple(layout for layout in singles if layout not in results)
        if missing:
            return Next(missing)
        rules = candidates([Trial(layout, self._holds(layout), bool(results[layout])) for layout in answered])
        if not rules:
            return Next(state="unexplained")
        untried = self._untried(base, rules, list(results))
        probe = _most_even(rules, untried) if len(rules) > 1 else None
        tests = {layout: self._holds(layout) for layout in results if layout not in (*LAYOUTS, *repeated, *singles)}
        todo = (probe,) if probe is not None else _tests(rules[0], tests, untried)
        if not todo:
            return Next(state="rule", rule=rules[0], tests=tuple(tests))
        return Next(todo) if len(tests) < MAX_EXTRA else Next(state="unexplained")

    def _holds(self, layout: str) -> frozenset[Atom]:
        if layout not in self._held:
            self._tensors[layout] = relayout_document(self._document, layout).tensors
            self._held[layout] = atoms(self._tensors[layout])
        return self._held[layout]

    def _place(self, layout: str) -> tuple[tuple[object, ...], ...]:
        """The same for two names of one layout."""
        self._holds(layout)
        return tuple((s.data_ptr_mod_512, s.stride, s.storage_offset, s.alias_group) for s in self._tensors[layout].values())

    def _singles(self, base: str, faulting: Sequence[str]) -> list[str]:
        """The faulting variants one tensor at a time, without those that leave everything as it was."""
        found = []
        tensors = self._document.tensors
        for variant in faulting:
            if variant == ALIASED:
                floating = [name for name, spec in tensors.items() if spec.dtype in FLOATING and spec.nbytes]
                found += [f"{base},{a}={ALIASED},{b}={ALIASED}" for a, b in combinations(floating, 2)]
            else:
                found += [f"{base},{name}={variant}" for name in tensors]
        return [layout for layout in found if self._holds(layout) != self._holds(base)]

    def _untried(self, base: str, rules: Sequence[Rule], tried: Sequence[str]) -> dict[str, frozenset[Atom]]:
        """Layouts not yet run that say something of the tensors that the rules speak of, and what would hold in them."""
        names = sorted({atom.tensor for rule in rules for atom in rule.atoms})
        others = [name for name in self._document.tensors if name not in names]
        ways = [{name: probe} for probe in _PROBES for name in names]
        ways += [dict.fromkeys(names, probe) for probe in _PROBES if len(names) > 1]
        ways += [{a: ALIASED, b: ALIASED} for a in names for b in self._document.tensors if a != b]
        ways += [dict.fromkeys(others, probe) for probe in _PROBES if others]  # everything but them
        ways += [dict.fromkeys(names, probe) | dict.fromkeys(others, "shift-16") for probe in _MOVED if others]
        ways += [{a: x, b: y} for a, b in combinations(names, 2) for x in _PROBES[:6] for y in _PROBES[4:8] if x != y]
        found: dict[str, frozenset[Atom]] = {}
        seen = {self._place(layout) for layout in tried}
        for way in ways:
            layout = ",".join([base, *(f"{name}={variant}" for name, variant in way.items())])
            if self._place(layout) not in seen:
                seen.add(self._place(layout))
                found[layout] = self._holds(layout)
        return found


def _most_even(rules: Sequence[Rule], untried: Mapping[str, frozenset[Atom]]) -> str | None:
    """The layout on which the rules disagree most evenly; None where they say the same of all."""

    def unevenness(layout: str) -> float:
        return abs(sum(rule.holds(untried[layout]) for rule in rules) - len(rules) / 2)

    best = min(untried, key=unevenness, default=None)
    return best if best is not None and unevenness(best) < len(rules) / 2 else None


def _tests(rule: Rule, done: Mapping[str, frozenset[Atom]], untried: Mapping[str, frozenset[Atom]]) -> tuple[str, ...]:
    """Layouts still to be run before the rule is believed; ``done`` are those that could have refuted it and did not."""
    more: list[str] = []
    for foretold in (True, False):
        ran = sum(rule.holds(held) is foretold for held in done.values())
        more += [layout for layout, held in untried.items() if rule.holds(held) is foretold][: max(0, TESTS - ran)]
    return tuple(more)
