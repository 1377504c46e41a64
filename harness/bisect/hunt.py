"""The runs of one bisect, and what follows from them: what is looked for, how a commit is told, when a search is believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.bisect.bench import Ballots, Bench
from harness.bisect.search import Word, search
from harness.bisect.target import Target
from harness.bisect.weigh import Rates, Tally, descendants, first_bad, first_bad_apart, odds_for, smallest
from harness.errors import HarnessError, UsageError
from harness.gitrepo import Commit

FIRST_RUNS = 5
"""Of each end. Where they all agree the bug is taken to show always, until a commit's runs disagree."""
_OTHERS = 3
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Rules:
    """``repeats`` is the most runs of any commit; ``confidence`` what the answer must reach to be one."""

    repeats: int = 20
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:  # NaN is neither
            raise UsageError(f"--confidence {self.confidence}: must be from 0.5 to below 1")


class _Relearned(Exception):
    """The bug shows at random, which was not known: what was decided so far is decided again from the runs there are."""


class Hunt:
    """The runs of one bisect, and what is known from them."""

    def __init__(
        self, bench: Bench, ballots: Ballots, good: Commit, bad: Commit, history: Mapping[str, tuple[str, ...]], target: Target,
        rules: Rules, tell: Tell,
    ) -> None:  # fmt: skip
        self.bench, self.ballots, self.good, self.bad, self.history = bench, ballots, good, bad, history
        self.target, self.rules, self.tell = target, rules, tell
        self.need = math.log(odds_for(rules.confidence, len(history)))
        self.commits: dict[str, Commit] = {good.sha: good, bad.sha: bad}
        self.rates = Rates(Tally(), Tally())
        self.learnt = 0
        self.judged: dict[str, Word] = {}  # in the search that is going on

    # --- what runs say ------------------------------------------------------------------------------------------------------------

    def commit(self, sha: str) -> Commit:
        if sha not in self.commits:
            self.commits[sha] = self.bench.repository.commit(sha)
        return self.commits[sha]

    def run(self, commit: Commit) -> None:
        self.ballots.add(commit, self.bench.run(commit, len(self.ballots.of(commit))))

    def tally(self, commit: Commit) -> Tally:
        votes = [self.target.vote(run) for run in self.ballots.of(commit)]
        return Tally(*(votes.count(word) for word in ("shown", "absent", "other", "unavailable")))

    def evidence(self, commit: Commit) -> float:
        return self.rates.evidence(self.tally(commit))

    def word(self, commit: Commit) -> Word:
        evidence = self.evidence(commit)
        return "skip" if abs(evidence) < self.need else "bad" if evidence > 0 else "good"

    # --- the ends -----------------------------------------------------------------------------------------------------------------

    def learn(self, runs: int) -> None:
        """Run both ends so often, and take from them what is looked for and how often it shows."""
        self.tell(f"the ends of the history, {runs} runs each")
        for name, end in (("BAD", self.bad), ("GOOD", self.good)):
            while len(self.ballots.of(end)) < runs:
                self.run(end)
                if self.target.vote(last := self.ballots.of(end)[-1]) == "unavailable":
                    raise HarnessError(f"{name} cannot be run here: {last.said}")
        bad, good = (self.ballots.of(end) for end in (self.bad, self.good))
        if runs < self.rules.repeats and not self.target.is_told_by(bad):
            return self.learn(self.rules.repeats)
        # Once, and from as many runs as there were then: so that a bisect taken up again looks for the same.
        self.target = self.target.told_by(bad[:runs], good[:runs])
        tallies = {"BAD": self.tally(self.bad), "GOOD": self.tally(self.good)}
        self.learnt = runs
        self.estimate()
        for name, tally in tallies.items():
            if tally.counted < runs / 2:
                runs_of = self.ballots.of(self.bad if name == "BAD" else self.good)
                odd = next(run for run in runs_of if self.target.vote(run) in ("other", "unavailable"))
                raise HarnessError(f"{name} cannot be judged by {self.target.words}, in {tally.runs} runs: {odd.said}")
        if runs < self.rules.repeats and any(tally.mixed for tally in tallies.values()):
            return self.learn(self.rules.repeats)
        if not self.rates.decide_within(self.rules.repeats, math.exp(self.need)):
            shown = ", ".join(f"{name} in {tally.shown} of {tally.counted}" for name, tally in tallies.items())
            raise HarnessError(
                f"{self.target.words}: {shown} runs; {self.rules.repeats} runs of a commit cannot tell: raise --repeats"
            )
        return self.tell(f"looking for {self.target.words}")

    def estimate(self) -> None:
        """How often it shows where it is, and where not. A commit that shows it at times, and more than GOOD explains, has it."""
        ends = Rates(self.tally(self.bad), self.tally(self.good))
        mixed = [tally for it in self.commits.values() if it.tree != self.bad.tree and (tally := self.tally(it)).mixed]
        self.rates = Rates(sum((tally for tally in mixed if ends.is_more(tally)), ends.bad), ends.good)

    # --- the commits between ------------------------------------------------------------------------------------------------------

    def judge(self, sha: str) -> Word:
        """Run a commit until its runs are evidence enough, or show that they will not be."""
        commit = self.commit(sha)
        self._run_until(commit, self.need)
        word, tally = self.word(commit), self.tally(commit)
        self.judged[sha] = word
        self.tell(f"{commit.short} {word:<4} ({_shown(tally)}) {commit.subject}")
        return word

    def _run_until(self, commit: Commit, need: float) -> None:
        while abs(self.evidence(commit)) < need:
            tally = self.tally(commit)
            if tally.unavailable or tally.runs >= self.rules.repeats or (tally.other >= _OTHERS and not tally.counted):
                return
            self.run(commit)
            if self.tally(commit).mixed and self.learnt < self.rules.repeats:
                self.tell(f"{commit.short} shows it in some runs only")
                self.learn(self.rules.repeats)
                raise _Relearned
            self.estimate()

    def settled(self, tree: Path) -> bool:
        """One search. False when what was decided on the way no longer holds, and another is needed; the runs there are count."""
        self.judged = {}
        try:
            search(tree, self.good.sha, self.bad.sha, self.judge)
            if not self.holds():
                return False
            suspects = [sha for sha in self.suspects() if self.tally(self.commit(sha)).runs]
            near = dict.fromkeys(suspects)
            for sha, parents in self.history.items():
                if sha in suspects:
                    near |= dict.fromkeys(parents)
                elif not set(parents).isdisjoint(suspects):
                    near[sha] = None
            self.tell(f"{', '.join(sha[:12] for sha in suspects[:3])}: run again, and the neighbours")
            for sha in near:
                self._run_until(self.commit(sha), 2 * self.need)
            return self.holds()
        except _Relearned:
            return False

    def holds(self) -> bool:
        """Whether the verdicts of the search are still what all runs say: later ones may change how often it shows."""
        return all(self.word(self.commit(sha)) == word for sha, word in self.judged.items() if word != "skip")

    def against(self) -> tuple[str, ...]:
        """Commits that are good after a bad one: where there is any, no one commit is to blame."""
        words = {sha: self.word(self.commit(sha)) for sha in self.history if self.tally(self.commit(sha)).runs}
        after_bad = set[str]().union(*(descendants(self.history, sha) for sha, word in words.items() if word == "bad"))
        return tuple(sha for sha, word in words.items() if word == "good" and sha in after_bad)

    def suspects(self) -> dict[str, float]:
        """The fewest commits that hold the first bad one as surely as is asked, each with its probability."""
        if self.against():
            chance = first_bad_apart(self.history, {sha: self.evidence(self.commit(sha)) for sha in self.history})
        else:
            *between, _ = self.history  # the last has BAD's state of the solver, and BAD's runs
            tallies = {sha: self.tally(self.commit(sha)) for sha in between}
            chance = first_bad(self.history, tallies, Rates(self.tally(self.bad), self.tally(self.good)))
        return {sha: chance[sha] for sha in smallest(chance, self.rules.confidence)}


def _shown(tally: Tally) -> str:
    words = [f"shown in {tally.shown} of {tally.counted}"] if tally.counted else []
    if tally.other:
        words.append(f"{tally.other} failed otherwise")
    if tally.unavailable:
        words.append("could not be run")
    return ", ".join(words)
