"""Poisoned memory: NaN where no tensor is, then zeros there. A result that differs depends on it, if it is repeatable at all.

A solver that draws numbers, sums in no fixed order or adds up what lay in its own memory gives another result each time, and then
nothing follows from a difference. So both are solved again with the same memory before any is blamed, and each place that can be
poisoned by itself must show it as often. Runs in children only.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from harness.case import TensorSpec
from harness.layout import POISON, groups
from harness.memory import arena as arenas
from harness.memory import heap
from harness.memory.agreement import SOLVES, Result, agree, not_finite, repeats, two_unlike, words
from harness.memory.arena import GAP, REGIONS, Fill
from harness.memory.book import Attempt, Book, MakeArena
from harness.outcome import POISON as POISON_MODE
from harness.sanitizer.finding import Finding, finding

_OWN = "own"
_ANYWHERE: tuple[str, list[str]] = ("", [])
_NO_TIME = "the time limit is near"


@dataclass(frozen=True)
class Filling:
    """What lies where no tensor is, and the byte in memory that the solver takes for itself."""

    name: str
    fill: Fill
    own_memory: int


ALL_NAN = Filling("NaN", arenas.all_nan, POISON)
ALL_ZERO = Filling("zeros", lambda group, region: 0, 0)


def poison(book: Book, attempt: Attempt, make: MakeArena, until: float) -> Result:
    """The result with NaN around the tensors; ``book`` holds what was found."""
    solve = functools.partial(_solve, book, attempt, make)
    ways = [functools.partial(solve, ALL_NAN), functools.partial(solve, ALL_ZERO)]
    with_nan, with_zeros = (way() for way in ways)
    if agree(with_nan, with_zeros):
        return with_nan
    said = f"NaN where no tensor is gives {words(with_nan)}, zeros there give {words(with_zeros)}"
    both = repeats(ways, [with_nan, with_zeros], until)
    if both is None:
        book.note(f"{said}; whether that is so every time was not looked into: {_NO_TIME}")
        return with_nan
    unlike = two_unlike(*both)
    if unlike is not None:
        # What is left to go by: numbers that never are finite with NaN, and always with zeros.
        told = all(map(not_finite, both[0])) and not any(map(not_finite, both[1]))
        book.not_repeatable(*unlike, "only reads that end in NaN are told" if told else "which memory it reads cannot be told")
        if not told:
            return with_nan
    book.note(said)

    def shows(result: Result) -> bool:
        return not agree(result, with_zeros) if unlike is None else not_finite(result)

    for place in _culprits(book, solve, shows, until) or [_ANYWHERE]:
        book.depends(_depends(*place))
    return with_nan


def _solve(book: Book, attempt: Attempt, make: MakeArena, filling: Filling) -> Result:
    arena = make(filling.name, fill=filling.fill)
    filled = heap.fill(filling.own_memory)
    heap.fill_torch(filling.own_memory == POISON)
    try:
        result = attempt(arena)
    finally:
        heap.fill(None)
        heap.fill_torch(False)
    if not filled:
        book.note("memory that the solver takes for itself is not filled on this system, but for torch's")
    return book.looked_at(arena, result)


def _culprits(
    book: Book, solve: Callable[[Filling], Result], shows: Callable[[Result], bool], until: float
) -> list[tuple[str, list[str]]]:
    """(region or ``own``, tensors) of each place that shows it every time when it alone is poisoned."""
    found: list[tuple[str, list[str]]] = []
    for where, names, filling in _suspects(book.specs):
        for _ in range(SOLVES):
            if time.time() > until:
                book.note(f"which memory it depends on was not looked into to the end: {_NO_TIME}")
                return found
            if not shows(solve(filling)):
                break
        else:
            found.append((where, names))
    return found


def _suspects(specs: Mapping[str, TensorSpec]) -> Iterator[tuple[str, list[str], Filling]]:
    """Each place that can be poisoned by itself."""
    yield _OWN, [], Filling("NaN in memory of its own", ALL_ZERO.fill, POISON)
    for group, names in groups(specs).items():
        n_bytes = max(specs[name].end_byte for name in names)
        for region in REGIONS:
            if region != GAP or not arenas.covered(specs, names, n_bytes).all():
                yield region, names, Filling(f"NaN {arenas.place(region, names)}", _only(group, region), 0)


def _only(wanted_group: str, wanted_region: str) -> Fill:
    return lambda group, region: POISON if (group, region) == (wanted_group, wanted_region) else 0


def _depends(where: str, names: list[str]) -> Finding:
    places = {_OWN: "of its own that it has not written", "": "that no tensor covers"}
    beside = places.get(where) or arenas.place(where, names)
    kind = "out-of-bounds" if where in (arenas.BEFORE, arenas.AFTER) else "uninitialized"
    return finding(POISON_MODE, kind, f"its result depends on memory {beside}", direction="read")
