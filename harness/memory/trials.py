"""One solve becomes several in a memory mode, and what they show together. Runs in children only.

``exact``: on the CPU every window once lies behind a page that faults and once before one; on a GPU it is an allocation of its own
(what lies past it only compute-sanitizer can see). ``poison``: see ``harness.memory.poison``.
"""

from __future__ import annotations

import functools
from pathlib import Path

from harness.memory.agreement import Result, agree, repeats, two_unlike, words
from harness.memory.arena import END, START
from harness.memory.book import Attempt, Book, MakeArena
from harness.memory.poison import poison
from harness.memory.watch import watch
from harness.outcome import EXACT
from harness.worker_files import FAULT

DONE = "done"


def run(folder: Path, book: Book, attempt: Attempt, make: MakeArena, *, on_gpu: bool, until: float) -> Result:
    """The result of the first solve, or of a later one that failed where it did not; ``book`` holds what was found.

    After ``until`` (``time.time``) nothing more is looked into.
    """
    if book.mode != EXACT:
        result = poison(book, attempt, make, until)
    elif on_gpu:
        result = _exact_on_gpu(book, attempt, make)
    else:
        book.note(watch(folder / FAULT))
        result = _exact(book, attempt, make, until)
    book.write(DONE)
    return result


def _exact_on_gpu(book: Book, attempt: Attempt, make: MakeArena) -> Result:
    arena = make("its tensors in allocations of their own")
    return book.looked_at(arena, attempt(arena))


def _exact(book: Book, attempt: Attempt, make: MakeArena, until: float) -> Result:
    def solve(side: str) -> Result:
        arena = make(f"{side} of each window against a guard page", side=side)
        return book.looked_at(arena, attempt(arena))

    ways = [functools.partial(solve, side) for side in (START, END)]
    results: list[Result] = []
    for way in ways:
        results.append(way())
        if "exception" in results[-1]:
            return results[-1]
    if not agree(*results):
        _compare_places(book, repeats(ways, results, until), results)
    return results[0]


def _compare_places(book: Book, both: list[list[Result]] | None, first: list[Result]) -> None:
    """Two places gave two results: is it the place, or chance?"""
    said = f"{words(first[0])}, then {words(first[1])}"
    if both is None:
        book.note(f"two places of the same inputs gave two results: {said}; whether that is so every time was not looked into")
    elif (unlike := two_unlike(*both)) is not None:
        book.not_repeatable(*unlike, "whether its place matters cannot be told")
    else:
        book.note(f"its result differs between two places of the same inputs: {said}")
