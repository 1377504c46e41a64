"""How much runs say about where a bug began. Mathematics only.

A run of a commit shows the bug with one probability where it has it and with another where not. Neither is known, but runs of the
history's ends tell of them; so likelihoods are averaged over what the two may be (Jeffreys' prior: a beta-binomial), and few runs
of the ends make all evidence weaker. A commit's evidence is the logarithm of the ratio of the two likelihoods of its runs, for a
sequential test as Wald's. Where the bug began is told by all runs at once, with the same two rates for all commits.
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

    def __add__(self, more: Tally) -> Tally:
        return Tally(
            self.shown + more.shown, self.absent + more.absent, self.other + more.other, self.unavailable + more.unavailable
        )


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

    def is_more(self, tally: Tally) -> bool:
        """Whether a commit shows it more often than GOOD explains: twenty times as likely at a rate of its own."""
        if tally.shown * self.good.counted <= self.good.shown * tally.counted:
            return False
        return _log_likelihood(tally) - _log_likelihood(Tally()) - _log_more(self.good, tally) > math.log(20)

    def evidence(self, tally: Tally) -> float:
        """Logarithm of the odds that a commit has the bug, from its runs and those of the ends; 0 says nothing."""
        return _log_more(self.bad, tally) - _log_more(self.good, tally)

    def decide_within(self, runs: int, odds: float) -> bool:
        """Whether so many runs, of which as many show it as can be expected, tell a bad commit from a good one, both ways."""
        if self.p_bad <= self.p_good:
            return False
        as_bad, as_good = (round(runs * p) for p in (self.p_bad, self.p_good))
        if_bad, if_good = (self.evidence(Tally(shown, runs - shown)) for shown in (as_bad, as_good))
        return min(if_bad, -if_good) >= math.log(odds)


def _log_likelihood(tally: Tally) -> float:
    """Of runs in their order, averaged over every rate there may be."""
    return math.lgamma(tally.shown + 0.5) + math.lgamma(tally.absent + 0.5) - math.lgamma(tally.counted + 1)


def _log_more(before: Tally, more: Tally) -> float:
    """Of more runs at the rate of those before."""
    return _log_likelihood(before + more) - _log_likelihood(before)


def _rate(tally: Tally) -> float:
    """Jeffreys' estimate: never 0 or 1, since nobody ran it for ever."""
    return (tally.shown + 0.5) / (tally.counted + 1)


def odds_for(confidence: float, commits: int) -> float:
    """The odds each commit on the way must reach for the end to have this confidence: halving takes log2 of the commits."""
    steps = math.ceil(math.log2(commits + 1)) + 2
    wrong = (1 - confidence) / steps
    return (1 - wrong) / wrong


def first_bad(history: Mapping[str, Collection[str]], tallies: Mapping[str, Tally], rates: Rates) -> dict[str, float]:
    """Commit -> probability that the bug began there. ``history`` maps each to its parents; the ends are certain.

    If it began in one commit, those that descend from it have it, and no other has. Before any run all are as likely. BAD may show
    it at a rate of its own, since a later commit may have made of a bug that shows at times one that always does; but only where
    those that have it show it more than GOOD explains, or a bug that never shows could have begun anywhere.
    """
    weight = {}
    for began in history:
        has_it = descendants(history, began)
        bad, good = Tally(), rates.good
        for commit, tally in tallies.items():
            bad, good = (bad + tally, good) if commit in has_it else (bad, good + tally)
        likelihood = _log_likelihood(bad + rates.bad)
        if rates.is_more(bad):
            apart = _log_likelihood(bad) + _log_likelihood(rates.bad)
            likelihood = max(likelihood, apart) + math.log1p(math.exp(-abs(likelihood - apart)))
        weight[began] = likelihood + _log_likelihood(good)
    return _probabilities(weight)


def first_bad_apart(history: Mapping[str, Collection[str]], evidence: Mapping[str, float]) -> dict[str, float]:
    """The same where no one commit is to blame, since it was there, was gone and came again: from each commit's evidence by itself.

    With rates for all, runs that contradict each other would pass for a bug that shows at times.
    """
    return _probabilities({began: sum(evidence.get(it, 0.0) for it in descendants(history, began)) for began in history})


def _probabilities(weight: Mapping[str, float]) -> dict[str, float]:
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
