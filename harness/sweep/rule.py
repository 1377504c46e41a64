"""What can be said of a layout, and the simplest saying that holds exactly where a solver faults. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from harness.case import TensorSpec
from harness.layout import groups

MODULI = (8, 16, 32, 64, 128, 256, 512)
_SAYINGS = {
    "not-contiguous": "{} is not contiguous",
    "row-not-adjacent": "the elements of a row of {} are not adjacent",
    "transposed": "{} is stored transposed",
    "expanded": "{} has elements that share memory",
    "offset": "{} starts past the start of its storage",
    "shared": "{} shares its storage with another tensor",
} | {f"mod-{m}": "{} mod " + f"{m} != 0" for m in MODULI}
PROPERTIES = tuple(_SAYINGS)
"""In order of preference, where two say the same of every layout that was or could be tried."""


@dataclass(frozen=True, order=True)
class Atom:
    """One property of one tensor."""

    tensor: str
    property: str

    def __str__(self) -> str:
        return _SAYINGS[self.property].format(self.tensor)


@dataclass(frozen=True)
class Rule:
    """Holds where one of ``atoms`` does or, with ``together``, where all do."""

    atoms: tuple[Atom, ...]
    together: bool = False

    def holds(self, held: frozenset[Atom]) -> bool:
        return all(atom in held for atom in self.atoms) if self.together else any(atom in held for atom in self.atoms)

    def __str__(self) -> str:
        return (" and " if self.together else " or ").join(map(str, self.atoms))


@dataclass(frozen=True)
class Trial:
    """One layout that was run: what holds in it, and whether the solver faulted."""

    layout: str
    held: frozenset[Atom]
    faulted: bool


def atoms(specs: Mapping[str, TensorSpec]) -> frozenset[Atom]:
    """Everything that holds in a layout. A tensor without elements has no address and no layout."""
    shared = {name for names in groups(specs).values() if len(names) > 1 for name in names}
    found = set()
    for name, spec in specs.items():
        if spec.nbytes:
            found |= {Atom(name, f"mod-{m}") for m in MODULI if spec.data_ptr_mod_512 % m}
            found |= {Atom(name, property) for property in _of_strides(spec)}
            found |= {Atom(name, "offset")} if spec.storage_offset else set()
            found |= {Atom(name, "shared")} if name in shared else set()
    return frozenset(found)


def _of_strides(spec: TensorSpec) -> Iterable[str]:
    # A dimension of size 1 is never stepped along: its stride says nothing.
    steps = [(step, n) for step, n in zip(spec.stride, spec.shape, strict=True) if n > 1]
    dense = 1
    for step, n in reversed(steps):
        if step != dense:
            yield "not-contiguous"
            break
        dense *= n
    if len(spec.shape) > 1 and spec.shape[-1] > 1 and spec.stride[-1] != 1:
        yield "row-not-adjacent"
    if any(0 < outer[0] < inner[0] for outer, inner in pairwise(steps)):
        yield "transposed"
    if any(step == 0 for step, _ in steps):
        yield "expanded"


def candidates(trials: Sequence[Trial]) -> list[Rule]:
    """The rules with the fewest atoms that hold in every trial that faulted and in no other, the preferred first.

    Tried in this order: one property of one or more tensors; two properties; two atoms together. Empty when none fits.
    """
    faulted, healthy = [t for t in trials if t.faulted], [t for t in trials if not t.faulted]
    if not faulted or not healthy:
        return []
    innocent = frozenset().union(*(t.held for t in healthy))
    guilty = frozenset().union(*(t.held for t in faulted)) - innocent
    by_property = {p: sorted(atom for atom in guilty if atom.property == p) for p in PROPERTIES}
    for width in (1, 2):
        found = []
        for chosen in combinations([p for p in PROPERTIES if by_property[p]], width):
            rule = _least([atom for p in chosen for atom in by_property[p]], faulted)
            if rule is not None:
                found.append(rule)
        if found:
            return _fewest(found)
    return _pairs(faulted, healthy)


def _least(given: list[Atom], faulted: Sequence[Trial]) -> Rule | None:
    """The smallest part of ``given`` of which something holds in every faulted trial."""
    if not all(any(atom in t.held for atom in given) for t in faulted):
        return None
    for size in range(1, min(len(given), 4) + 1):
        for some in combinations(given, size):
            if all(any(atom in t.held for atom in some) for t in faulted):
                return Rule(some)
    needed = list(given)
    for atom in given:  # more than four tensors: leave out what is not needed, one after another
        rest = [other for other in needed if other != atom]
        if all(any(other in t.held for other in rest) for t in faulted):
            needed = rest
    return Rule(tuple(needed))


def _pairs(faulted: Sequence[Trial], healthy: Sequence[Trial]) -> list[Rule]:
    always = sorted(frozenset.intersection(*(t.held for t in faulted)), key=lambda atom: (PROPERTIES.index(atom.property), atom))
    rules = [Rule(pair, together=True) for pair in combinations(always, 2)]
    return [rule for rule in rules if not any(rule.holds(t.held) for t in healthy)]


def _fewest(rules: Iterable[Rule]) -> list[Rule]:
    unique = list(dict.fromkeys(rules))
    least = min(len(rule.atoms) for rule in unique)
    return [rule for rule in unique if len(rule.atoms) == least]
