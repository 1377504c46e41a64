"""Delta debugging of a set, the pure core: a smallest part of it that still fails. Nothing is read, run or known of cases here.

ddmin is A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002. ``shrink`` goes
before it: for failures that more items do not cure it finds what is needed by bisection, in about 2 log2(N) questions for one item
out of N and 4 log2(N) for two; ddmin then removes what such failures do not explain, and proves that no single item can go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

Items = np.ndarray
"""A set: integers in ascending order."""

PROBES = (1, 8, 64)
"""So many leading items are tried before anything else: most failures do not depend on the points at all."""

FINEST = 16
"""ddmin's chunks: at most so many; then single items. What lies between are parts of sets that were tried."""

FUTILE = 4
"""Pairs of ends in a row between which nothing was found to go: then it is their number that counts, or all are needed."""


class First(Protocol):
    """Which of the candidates, asked in this order, is the first that still fails: its number and itself, or None.

    ``hints`` may be asked next. Who answers may try them meanwhile.
    """

    def __call__(self, candidates: Iterable[Items], hints: Sequence[Items] = ()) -> tuple[int, Items] | None: ...


class Fails(Protocol):
    """Whether a number still fails; ``hints`` may be asked next."""

    def __call__(self, number: int, hints: Sequence[int]) -> bool: ...


def minimal(items: Items, first: First, probes: Sequence[int] = PROBES) -> Items:
    """A part of ``items`` (which fail) that fails, while it no longer does with any single item removed."""
    return ddmin(shrink(items, first, probes), first)


def shrink(items: Items, first: First, probes: Sequence[int] = PROBES) -> Items:
    """A part that fails, by halving and by bisecting for the first and the last item that is needed, then between them."""
    found = first(items[:size] for size in probes if size < len(items))
    inner, kept = items if found is None else found[1], items[:0]
    futile = 0
    while True:
        start = len(inner)
        if len(kept) and first([kept]) is not None:
            return kept
        inner = _halve(inner, kept, first)
        if len(inner) <= 2:  # of two neither half alone did
            return _join(kept, inner)
        left = -(-len(inner) // 2)

        def of_prefix(n: int, inner: Items = inner, kept: Items = kept) -> Items:
            return _join(kept, inner[:n])

        inner = inner[: _smallest_of(left, len(inner), of_prefix, first)]

        def of_suffix(n: int, inner: Items = inner, kept: Items = kept) -> Items:
            return _join(kept, inner[len(inner) - n :])

        inner = inner[len(inner) - _smallest_of(len(inner) - left, len(inner), of_suffix, first) :]
        futile = futile + 1 if len(inner) == start else 0
        kept, inner = _join(kept, inner[[0, -1]]), inner[1:-1]
        if futile > FUTILE or not len(inner):
            return _join(kept, inner)


def ddmin(items: Items, first: First) -> Items:
    """ddmin with complements: chunks, then all but a chunk, then finer ones, until no single item can be removed."""
    n = 2
    while len(items) > 1:
        n = min(n, len(items))
        with_chunks = n <= FINEST
        found = first(_candidates(items, n, with_chunks))
        if found is None and n == len(items):
            return items
        if found is None:
            n = 2 * n if 2 * n <= FINEST else len(items)
        else:
            items = found[1]
            n = 2 if with_chunks and found[0] < n else max(n - 1, 2)
    return items


def smallest(low: int, high: int, fails: Fails) -> int:
    """The smallest number over ``low`` (which does not fail) up to ``high`` (which does) that fails, if all above it do."""
    if high - low > 1 and not fails(high - 1, ((low + high) // 2,)):
        return high  # one question instead of a logarithm for an end that is needed
    high = max(high - 1, low + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if fails(middle, ((low + middle) // 2, (middle + high) // 2)):
            high = middle
        else:
            low = middle
    return high


class _Part(Protocol):
    def __call__(self, n: int) -> Items: ...


def _smallest_of(low: int, high: int, part: _Part, first: First) -> int:
    return smallest(low, high, lambda n, hints: first([part(n)], [part(hint) for hint in hints]) is not None)


def _halve(inner: Items, kept: Items, first: First) -> Items:
    while len(inner) > 1:
        halves = _split(inner, 2)
        found = first(_join(kept, half) for half in halves)
        if found is None:
            break
        inner = halves[found[0]]
    return inner


def _candidates(items: Items, n: int, with_chunks: bool) -> Iterator[Items]:
    chunks = _split(items, n)
    if with_chunks:
        yield from chunks
    if n > 2 or not with_chunks:  # of two chunks, each is all but the other
        start = 0
        for chunk in chunks:
            yield np.concatenate([items[:start], items[start + len(chunk) :]])
            start += len(chunk)


def _split(items: Items, n: int) -> list[Items]:
    return list(np.array_split(items, n))


def _join(a: Items, b: Items) -> Items:
    return np.sort(np.concatenate([a, b]))
