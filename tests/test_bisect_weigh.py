"""The mathematics of a bisect: what runs of commits say about where a bug began."""

from __future__ import annotations

import math

import pytest

from harness.bisect.target import Measure, Target, parse_when
from harness.bisect.weigh import Rates, Tally, descendants, first_bad, first_bad_apart, odds_for, smallest
from harness.errors import HarnessError, UsageError

HEALTHY, SICK = Tally(absent=6), Tally(shown=6)
ALWAYS = Rates(Tally(shown=5), Tally(absent=5))
LINE = {"a": (), "b": ("a",), "c": ("b",), "d": ("c",)}
DIAMOND = {"a": (), "left": ("a",), "right": ("a",), "merge": ("left", "right"), "last": ("merge",)}


def test_evidence_is_the_ratio_of_the_likelihoods():
    """Averaged over the rates: of Polya's urn, in which each run adds a ball."""
    rates = Rates(Tally(shown=11, absent=9), Tally(absent=20))
    bad = 11.5 * 12.5 * 9.5 * 10.5 * 11.5
    good = 0.5 * 1.5 * 20.5 * 21.5 * 22.5
    assert rates.evidence(Tally(shown=2, absent=3, other=7, unavailable=1)) == pytest.approx(math.log(bad / good))
    assert rates.evidence(Tally()) == 0
    three = math.log(5.5 * 6.5 * 7.5 / (0.5 * 1.5 * 2.5))
    assert [ALWAYS.evidence(Tally(shown=3)), -ALWAYS.evidence(Tally(absent=3))] == pytest.approx([three] * 2)


def test_few_runs_of_the_ends_make_evidence_weaker():
    few, many = Rates(Tally(4, 1), Tally(1, 4)), Rates(Tally(400, 100), Tally(100, 400))
    assert 0 < few.evidence(Tally(9, 1)) < many.evidence(Tally(9, 1))


def test_what_shows_as_often_on_both_sides_cannot_be_told():
    assert ALWAYS.decide_within(5, odds_for(0.95, 60))
    assert not Rates(Tally(3, 17), Tally(2, 18)).decide_within(20, 20)
    assert not Rates(Tally(absent=5), Tally(shown=5)).decide_within(10**6, 20)  # it was mended, not broken
    assert not Rates(Tally(2, 18), Tally(0, 20)).decide_within(20, 20) and Rates(Tally(20, 180), Tally(0, 200)).decide_within(
        200, 20
    )


def test_descendants_of_a_merge():
    assert descendants(DIAMOND, "left") == {"left", "merge", "last"}
    assert descendants(DIAMOND, "a") == set(DIAMOND) and descendants(DIAMOND, "last") == {"last"}


def test_without_runs_all_are_as_likely_and_with_them_the_one_between_is_it():
    assert list(first_bad(LINE, {}, ALWAYS).values()) == pytest.approx([0.25] * 4)
    chance = first_bad(LINE, {"a": HEALTHY, "b": HEALTHY, "c": SICK}, ALWAYS)
    assert chance["c"] > 0.999 and smallest(chance, 0.95) == ["c"]
    chance = first_bad(DIAMOND, {"left": HEALTHY, "merge": SICK}, ALWAYS)
    assert chance["right"] == pytest.approx(0.5, abs=1e-2) and smallest(chance, 0.95) == ["right", "merge"]


def test_what_was_skipped_shares_with_the_first_that_is_known_to_be_bad():
    chance = first_bad(LINE, {"a": HEALTHY, "d": SICK}, ALWAYS)
    assert smallest(chance, 0.5) == smallest(chance, 0.95) == ["b", "c", "d"]


def test_all_runs_together_tell_how_often_it_shows():
    """GOOD did not show it by luck. With what the commits show, the one that shows it once is as GOOD, and not as BAD."""
    ends = Rates(Tally(12, 8), Tally(0, 20))
    chance = first_bad(LINE, {"a": Tally(3, 17), "b": Tally(2, 18), "c": Tally(13, 7)}, ends)
    assert smallest(chance, 0.95) == ["c"]


def test_a_bug_that_came_to_show_always_began_where_it_first_showed_at_times():
    ends = Rates(Tally(20, 0), Tally(0, 20))
    assert (
        ends.is_more(Tally(9, 11)) and not ends.is_more(Tally(1, 19)) and not Rates(Tally(20), Tally(9, 11)).is_more(Tally(8, 12))
    )
    chance = first_bad(LINE, {"a": Tally(0, 12), "b": Tally(9, 11), "c": Tally(8, 12)}, ends)
    assert smallest(chance, 0.95) == ["b"]


def test_where_no_one_commit_is_to_blame_each_of_them_is_suspect():
    chance = first_bad_apart(LINE, {"a": 10, "b": -10, "c": 10})
    assert chance["a"] == pytest.approx(chance["c"]) and smallest(chance, 0.95) == ["a", "c"]


def test_very_many_runs_overflow_nothing():
    assert first_bad_apart(LINE, {"a": -1e5, "c": 1e5})["c"] == pytest.approx(0.5)  # b or c
    chance = first_bad(LINE, {"a": Tally(0, 10**6), "c": Tally(10**6, 0)}, ALWAYS)
    assert chance["c"] == pytest.approx(0.5)
    assert sum(first_bad(LINE, dict.fromkeys(LINE, Tally(10**6, 10**6)), ALWAYS).values()) == pytest.approx(1)


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
