"""How much runs say about where a bug began. Mathematics only.

A run of a commit shows the bug with probability ``p_bad`` where it has it and ``p_good`` where not, both estimated from runs of the
history's ends. A commit's evidence is the logarithm of the ratio of the two likelihoods of its runs (Wald's sequential test), and
the evidence of all commits together gives each commit's probability to be the first bad one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tally:
    """Runs of one commit, by what they said."""

    shown: int = 0
    absent: int = 0
    other: int = 0
    unavailable: int = 0

    @property
    def counted(self) -> int:
        return self.shown + self.absent

    @property
    def runs(self) -> int:
        return self.counted + self.other + self.unavailable

    @property
    def mixed(self) -> bool:
        return self.shown > 0 and self.absent > 0


@dataclass(frozen=True)
class Rates:
    """How often the bug shows at the two ends."""

    bad: Tally
    good: Tally

    @property
    def p_bad(self) -> float:
        return _rate(self.bad)

    @property
    def p_good(self) -> float:
        return _rate(self.good)

    def evidence(self, tally: Tally) -> float:
        """Logarithm of the odds that a commit has the bug, from its runs alone; 0 says nothing."""
        shown, absent = math.log(self.p_bad / self.p_good), math.log((1 - self.p_bad) / (1 - self.p_good))
        return tally.shown * shown + tally.absent * absent

    def decide_within(self, runs: int, odds: float) -> bool:
        """Whether so many runs can be expected to tell a bad commit from a good one, both ways."""
        b, g = self.p_bad, self.p_good
        if b <= g:
            return False
        if_bad = b * math.log(b / g) + (1 - b) * math.log((1 - b) / (1 - g))
        if_good = g * math.log(g / b) + (1 - g) * math.log((1 - g) / (1 - b))
        return runs * min(if_bad, if_good) >= math.log(odds)


def _rate(tally: Tally) -> float:
    """Jeffreys' estimate: never 0 or 1, since nobody ran it for ever."""
    return (tally.shown + 0.5) / (tally.counted + 1)


def odds_for(confidence: float, commits: int) -> float:
    """The odds each commit on the way must reach for the end to have this confidence: halving takes log2 of the commits."""
    steps = math.ceil(math.log2(commits + 1)) + 2
    wrong = (1 - confidence) / steps
    return (1 - wrong) / wrong


def first_bad(history: Mapping[str, Collection[str]], evidence: Mapping[str, float]) -> dict[str, float]:
    """Commit -> probability that the bug began there. ``history`` maps each to its parents; the ends are certain.

    If it began in one commit, those that descend from it have it, and no other has. Before any run all are as likely.
    """
    weight = {began: sum(evidence.get(commit, 0.0) for commit in descendants(history, began)) for began in history}
    largest = max(weight.values())
    exact = {commit: math.exp(value - largest) for commit, value in weight.items()}
    total = sum(exact.values())
    return {commit: value / total for commit, value in exact.items()}


def descendants(history: Mapping[str, Collection[str]], commit: str) -> set[str]:
    """A commit and what descends from it. ``history`` is in order, parents first."""
    found = {commit}
    for one, parents in history.items():
        if not found.isdisjoint(parents):
            found.add(one)
    return found


def smallest(probability: Mapping[str, float], confidence: float) -> list[str]:
    """The fewest commits that hold the first bad one with this confidence, in the order of the history."""
    taken: list[str] = []
    for commit in sorted(probability, key=lambda commit: -probability[commit]):
        # What is as likely as the last one taken belongs to it: nothing tells them apart.
        if sum(probability[one] for one in taken) >= confidence and probability[commit] < 0.999 * probability[taken[-1]]:
            break
        taken.append(commit)
    return [commit for commit in probability if commit in taken]
