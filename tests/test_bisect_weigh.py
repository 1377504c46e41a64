"""The mathematics of a bisect: what runs of commits say about where a bug began."""

from __future__ import annotations

import math
import random

import pytest

from harness.bisect.target import Measure, Target, parse_when
from harness.bisect.weigh import Rates, Tally, descendants, first_bad, odds_for, smallest
from harness.errors import HarnessError, UsageError

ALWAYS = Rates(Tally(shown=5), Tally(absent=5))
LINE = {"a": (), "b": ("a",), "c": ("b",), "d": ("c",)}
DIAMOND = {"a": (), "left": ("a",), "right": ("a",), "merge": ("left", "right"), "last": ("merge",)}


def test_evidence_is_the_ratio_of_the_likelihoods():
    rates = Rates(Tally(shown=11, absent=9), Tally(absent=20))
    p, q = 11.5 / 21, 0.5 / 21
    assert rates.evidence(Tally(shown=2, absent=3, other=7, unavailable=1)) == pytest.approx(
        math.log(p**2 * (1 - p) ** 3 / (q**2 * (1 - q) ** 3))
    )
    assert rates.evidence(Tally()) == 0
    assert [ALWAYS.evidence(Tally(shown=3)), -ALWAYS.evidence(Tally(absent=3))] == pytest.approx([3 * math.log(11)] * 2)


def test_what_shows_as_often_on_both_sides_cannot_be_told():
    assert ALWAYS.decide_within(5, odds_for(0.95, 60))
    assert not Rates(Tally(3, 17), Tally(2, 18)).decide_within(20, 20)
    assert not Rates(Tally(absent=5), Tally(shown=5)).decide_within(10**6, 20)  # it was mended, not broken
    assert not Rates(Tally(2, 18), Tally(0, 20)).decide_within(20, 20) and Rates(Tally(2, 18), Tally(0, 20)).decide_within(400, 20)


def test_descendants_of_a_merge():
    assert descendants(DIAMOND, "left") == {"left", "merge", "last"}
    assert descendants(DIAMOND, "a") == set(DIAMOND) and descendants(DIAMOND, "last") == {"last"}


def test_without_runs_all_are_as_likely_and_with_them_the_one_between_is_it():
    assert set(first_bad(LINE, {}).values()) == {0.25}
    chance = first_bad(LINE, {"a": -10, "b": -10, "c": 10})
    assert chance["c"] > 0.9999 and smallest(chance, 0.95) == ["c"]
    chance = first_bad(DIAMOND, {"left": -10, "merge": 10})
    assert chance["right"] == pytest.approx(0.5, abs=1e-3) and smallest(chance, 0.95) == ["right", "merge"]


def test_what_was_skipped_shares_with_the_first_that_is_known_to_be_bad():
    chance = first_bad(LINE, {"a": -10, "d": 10})
    assert smallest(chance, 0.5) == smallest(chance, 0.95) == ["b", "c", "d"]


def test_huge_evidence_overflows_nothing():
    assert first_bad(LINE, {"a": -1e5, "c": 1e5})["c"] == pytest.approx(0.5)  # b or c
    assert sum(first_bad(LINE, dict.fromkeys(LINE, -1000000.0)).values()) == pytest.approx(1)


@pytest.mark.parametrize("p", [1.0, 0.5])
def test_the_confidence_is_not_claimed_too_often(p):
    """Simulated bisects of 60 commits: at 95 % asked, at most 5 % of those that are decided may be wrong."""
    draw = random.Random(7)
    history = {str(k): (str(k - 1),) if k else () for k in range(60)}
    decided = right = 0
    for _ in range(300):
        truth = draw.randrange(60)

        def runs(k, n, truth=truth):
            shown = sum(k >= truth and draw.random() < p for _ in range(n))
            return Tally(shown, n - shown)

        n = 5 if p == 1 else 20
        rates = Rates(runs(60, n), Tally(absent=n))
        need = math.log(odds_for(0.95, 60))
        votes = {}
        low, high = -1, 59
        while high - low > 1:
            k = (low + high) // 2
            tally = Tally()
            while abs(rates.evidence(tally)) < need and tally.runs < 20:
                one = runs(k, 1)
                tally = Tally(tally.shown + one.shown, tally.absent + one.absent)
            votes[str(k)] = rates.evidence(tally)
            low, high = (low, k) if votes[str(k)] > 0 else (k, high)
        found = smallest(first_bad(history, votes), 0.95)
        decided += len(found) == 1
        right += found == [str(truth)]
    assert decided > 200 and right >= 0.95 * decided


def run(**fields) -> Measure:
    return Measure(**{"kind": "OK", "said": "", "expected": True} | fields)


@pytest.mark.parametrize(
    ("text", "what", "threshold"),
    [
        ("d > 0.05 sigma", "d", 0.05), ("d>5e-2", "d", 0.05), ("iterations > 12", "iterations", 12), ("time > 1.2x", "time", 1.2),
        ("Time", "time", None), (" iterations ", "iterations", None),
    ],
)  # fmt: skip
def test_what_got_worse_in_words(text, what, threshold):
    assert parse_when(text) == Target(what, threshold=threshold)


@pytest.mark.parametrize(
    "text", ["", "d < 3", "d >", "speed", "d > nan", "d > 0", "d > -1", "d > 1.2.3", "time > 1e999", "d > 1 apple"]
)
def test_what_cannot_be_understood_is_said(text):
    with pytest.raises(UsageError, match="--when"):
        parse_when(text)


def test_votes_for_a_failure():
    target = Target("failure", "crash | x")
    assert target.vote(run(kind="CRASHED", expected=False, signatures=("other", "crash | x"))) == "shown"
    assert target.vote(run()) == "absent"
    assert target.vote(run(kind="CRASHED", expected=False, signatures=("crash | y",))) == "other"
    assert target.vote(run(kind="INCONCLUSIVE", expected=False)) == "other"
    assert target.vote(run(kind="UNAVAILABLE", expected=None)) == "unavailable"


def test_votes_for_a_number():
    target = Target("d", threshold=0.05)
    assert [target.vote(run(d=d)) for d in (0.04, 0.05, 0.06, math.nan, None)] == ["absent", "absent", "shown", "shown", "other"]
    assert target.vote(run(kind="CRASHED", d=0.06)) == "other"
    assert Target("time", threshold=1.2).vote(run(ratio=1.3)) == "shown"
    assert Target("iterations", threshold=6).vote(run(iterations=6)) == "absent"


def test_the_ends_tell_what_to_look_for():
    crash = run(kind="CRASHED", expected=False, signatures=("crash | x",))
    vague = run(kind="INCONCLUSIVE", expected=False, signatures=("inconclusive | y",))
    assert Target("failure").told_by([run(), vague, crash], [run()]).signature == "crash | x"
    assert not Target("failure").is_told_by([run(), vague]) and Target("time").is_told_by([run()])
    assert Target("iterations").told_by([run(iterations=8)], [run(iterations=4)]).threshold == 6
    assert Target("time").told_by([run(ratio=4.0)], [run(ratio=1.0)]).threshold == pytest.approx(2)
    with pytest.raises(HarnessError, match="BAD does not fail"):
        Target("failure").told_by([run()], [run()])
    with pytest.raises(HarnessError, match="it did not get worse"):
        Target("d").told_by([run(d=0.1)], [run(d=0.1)])
    with pytest.raises(HarnessError, match="GOOD gives no d to compare: dead"):
        Target("d").told_by([run(d=0.1)], [run(kind="CRASHED", said="dead")])
