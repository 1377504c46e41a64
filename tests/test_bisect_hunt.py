"""The hunt itself, with its runs, votes and searches, on commits that are simulated: what it claims, and how often it is right."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from harness.bisect import hunt as hunts
from harness.bisect.hunt import Hunt, Rules
from harness.bisect.target import Measure, Target
from harness.errors import HarnessError
from harness.gitrepo import Commit

COMMITS = 60
HISTORY = {str(k): ((str(k - 1),) if k > 1 else ()) for k in range(1, COMMITS)}


class Repository:
    def commit(self, sha: str) -> Commit:
        return Commit(sha, "", "", "", f"tree {sha}")


class Bench:
    """Shows the bug with probability ``p`` from the commit ``began`` on, and with ``q`` before it."""

    def __init__(self, seed: int, p: float, q: float) -> None:
        self.repository, self.p, self.q = Repository(), p, q
        self.draw = random.Random(seed)
        self.began = self.draw.randrange(1, COMMITS)

    def run(self, commit: Commit, number: int) -> Measure:
        shown = self.draw.random() < (self.p if int(commit.sha) >= self.began else self.q)
        return Measure("CRASHED", "it died", False, ("the bug",)) if shown else Measure("OK", "fine", True)


class Ballots:
    def __init__(self) -> None:
        self.runs: dict[str, list[Measure]] = {}

    def of(self, commit: Commit) -> list[Measure]:
        return self.runs.setdefault(commit.sha, [])

    def add(self, commit: Commit, run: Measure) -> None:
        self.of(commit).append(run)


def halving(tree: Path, good: str, bad: str, judge) -> None:
    """As git bisect does it on a line of commits."""
    low, high, skipped = int(good), int(bad), set()
    while candidates := [k for k in range(low + 1, high) if k not in skipped]:
        middle = min(candidates, key=lambda k: abs(k - (low + high) // 2))
        match judge(str(middle)):
            case "bad":
                high = middle
            case "good":
                low = middle
            case _:
                skipped.add(middle)


def hunted(seed: int, p: float, q: float, repeats: int) -> str:
    """One bisect, in a word."""
    bench, first, last = Bench(seed, p, q), Repository().commit("0"), Repository().commit(str(COMMITS - 1))
    hunt = Hunt(bench, Ballots(), first, last, HISTORY, Target("failure"), Rules(repeats), lambda line: None)
    try:
        hunt.learn(hunts.FIRST_RUNS)
        while not hunt.settled(Path()):
            pass
    except HarnessError:
        return "refused"
    suspects = hunt.suspects()
    return ("right" if str(bench.began) in suspects else "wrong") if len(suspects) == 1 else "range"


@pytest.mark.parametrize(
    ("p", "q", "repeats", "answered"),
    [(1.0, 0.0, 20, 1.0), (0.7, 0.0, 20, 0.9), (0.7, 0.1, 20, 0.5), (0.9, 0.3, 40, 0.5)],
)
def test_an_answer_at_95_percent_is_right_that_often(monkeypatch, p, q, repeats, answered):
    """Also where GOOD shows it at times, and of twenty runs nobody knows exactly how often."""
    monkeypatch.setattr(hunts, "search", halving)
    said = Counter(hunted(seed, p, q, repeats) for seed in range(100))
    told = said["right"] + said["wrong"]
    assert told >= 100 * answered and said["right"] >= 0.95 * told, said
