"""The search: points, iterations, simple values and plain memory, until a whole round changes nothing.

It is a pure function of the answers, so one that was cut off and is begun again goes the same way, by the answers on disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from harness.case import Case
from harness.minimize.change import Change, first_changes, last_changes, pruned, second_changes
from harness.minimize.cut import CannotBuild, Cut, build, pack, whole
from harness.minimize.ddmin import Items, ddmin, minimal, shrink, smallest

POINTS, ITERATIONS, VALUES, PROOF = "points", "iterations", "values and memory", "no point can go"


class Tester(Protocol):
    """What answers. ``phase`` is for its history; ``check`` ends the search when its time is up."""

    phase: str

    def first(self, cuts: Iterable[Cut], hints: Sequence[Cut] = ()) -> int | None: ...

    def check(self) -> None: ...


class Search:
    """``cut`` is the smallest case known to fail, at any time; ``complete`` that no step of this search makes it smaller."""

    def __init__(self, case: Case, tester: Tester) -> None:
        self.cut = whole(case)
        self.complete = False
        self._case, self._tester = case, tester

    def run(self) -> None:
        """Raises what the tester raises; ``cut`` stands then, too."""
        self._tester.phase = POINTS
        shrink(self.cut.rows, self._first_rows)
        while True:
            before = self.cut
            self._iterations()
            self._values()
            self._tester.phase = PROOF
            ddmin(self.cut.rows, self._first_rows)
            left = pruned(self.cut.changes, self.cut.rows)
            if left != self.cut.changes:
                self.cut = dataclasses.replace(self.cut, changes=left)
            if self.cut is before:  # the answers of the round before are all on disk: to look again costs next to nothing
                self.complete = True
                return

    def _first_rows(self, candidates: Iterable[Items], hints: Sequence[Items] = ()) -> tuple[int, Items] | None:
        """Each part in two ways: where the first point lies now, and where the part's own first point lay."""
        asked: list[tuple[int, Items, Cut]] = []

        def cuts() -> Iterable[Cut]:
            for number, rows in enumerate(candidates):
                for slot in dict.fromkeys((self.cut.first_slot, int(rows[0]) if len(rows) else 0)):
                    asked.append((number, rows, dataclasses.replace(self.cut, rows=rows, first_slot=slot)))
                    yield asked[-1][2]

        found = self._tester.first(cuts(), [dataclasses.replace(self.cut, rows=rows) for rows in hints])
        if found is None:
            return None
        number, rows, self.cut = asked[found]
        return number, rows

    def _iterations(self) -> None:
        self._tester.phase = ITERATIONS
        if self._case.document.kind == "op" or self.cut.max_iters == 1:
            return
        if self._accept([dataclasses.replace(self.cut, max_iters=1)]) is not None:
            return

        def fails(number: int, hints: Sequence[int]) -> bool:
            tried = [dataclasses.replace(self.cut, max_iters=n) for n in (number, *hints)]
            return self._accept(tried[:1], tried[1:]) is not None

        smallest(1, self.cut.max_iters, fails)

    def _accept(self, cuts: Sequence[Cut], hints: Sequence[Cut] = ()) -> int | None:
        found = self._tester.first(cuts, hints)
        if found is not None:
            self.cut = cuts[found]
        return found

    def _values(self) -> None:
        self._tester.phase = VALUES
        self._apply(first_changes(self._case))
        self._apply(second_changes(self._case, self.cut.changes))
        for number in range(2):
            self._apply(last_changes(build(self._case, self.cut), self.cut.rows)[number])

    def _apply(self, offered: Sequence[Change]) -> None:
        """Make as many of the changes as the failure survives: delta debugging of those that are not made."""
        now = pack(build(self._case, self.cut)).digest
        changes = [change for change in offered if change not in self.cut.changes and self._matters(change, now)]
        if not changes:
            return
        base = self.cut

        def without(kept: Items) -> Cut:
            made = np.setdiff1d(np.arange(len(changes)), kept)
            return dataclasses.replace(base, changes=(*base.changes, *(changes[i] for i in made)))

        def first(candidates: Iterable[Items], hints: Sequence[Items] = ()) -> tuple[int, Items] | None:
            asked: list[Items] = []

            def cuts() -> Iterable[Cut]:
                for kept in candidates:
                    asked.append(kept)
                    yield without(kept)

            found = self._tester.first(cuts(), [without(kept) for kept in hints])
            if found is None:
                return None
            self.cut = without(asked[found])
            return found, asked[found]

        nothing = np.arange(0)
        if first([nothing]) is None:
            minimal(np.arange(len(changes)), first, probes=())

    def _matters(self, change: Change, digest: str) -> bool:
        """Whether it changes anything; one that cannot be made alone may be made with others."""
        self._tester.check()
        try:
            changed = build(self._case, dataclasses.replace(self.cut, changes=(*self.cut.changes, change)))
        except CannotBuild:
            return True
        return pack(changed).digest != digest
