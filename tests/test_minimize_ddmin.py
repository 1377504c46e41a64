"""Delta debugging, the pure core: what is left fails, no single item can go, and the number of questions is bounded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.minimize.ddmin import FINEST, PROBES, ddmin, minimal, shrink, smallest
from harness.minimize.vote import MOST, decide

BIG = 196608


class Oracle:
    """Answers by a predicate, and counts the different questions: an answer that is on disk costs nothing."""

    def __init__(self, fails: Callable[[np.ndarray], bool]) -> None:
        self.fails, self.asked, self.largest = fails, set(), 0

    def first(self, candidates, hints=()):
        for number, items in enumerate(candidates):
            assert (np.diff(items) > 0).all()  # a set, in order
            self.asked.add(hashlib.sha256(items.tobytes()).digest())
            if self.fails(items):
                return number, items
        return None


def found(n: int, fails, algorithm=minimal) -> tuple[list[int], int]:
    oracle = Oracle(fails)
    return algorithm(np.arange(n), oracle.first).tolist(), len(oracle.asked)


def needs(*items: int):
    return lambda kept: bool(np.isin(items, kept, assume_unique=True).all())


def by_chance(seed: int, share: int):
    """Fails for about 1 in ``share`` sets, for no reason at all; never for none."""

    def fails(kept: np.ndarray) -> bool:
        return len(kept) > 0 and hashlib.sha256(kept.tobytes() + bytes([seed])).digest()[0] % share == 0

    return fails


def is_1_minimal(kept: list[int], fails) -> bool:
    return len(kept) == 1 or not any(fails(np.delete(np.array(kept), i)) for i in range(len(kept)))


@given(st.integers(1, 60), st.integers(0, 255), st.integers(2, 8))
def test_any_failure_ends_in_a_set_that_fails_and_of_which_no_item_can_go(n, seed, share):
    chance = by_chance(seed, share)

    def fails(kept):
        return len(kept) == n or chance(kept)

    for algorithm in (minimal, ddmin):
        kept, _ = found(n, fails, algorithm)
        assert set(kept) <= set(range(n)) and fails(np.array(kept)) and is_1_minimal(kept, fails)


@given(st.sets(st.integers(0, 499), min_size=1, max_size=12))
def test_what_is_needed_is_found_exactly(items):
    assert found(500, needs(*items))[0] == sorted(items)
    assert items <= set(found(500, needs(*items), shrink)[0])


@given(st.integers(2, BIG), st.data())
@settings(max_examples=60, deadline=None)
def test_one_item_is_found_in_two_questions_a_halving(n, data):
    item = data.draw(st.integers(0, n - 1))
    kept, asked = found(n, needs(item))
    assert kept == [item]
    assert asked <= 2 * math.ceil(math.log2(n)) + len(PROBES)


@given(st.integers(3, BIG), st.data())
@settings(max_examples=60, deadline=None)
def test_two_items_are_found_in_two_questions_a_halving_and_a_few(n, data):
    pair = data.draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=2, unique=True))
    kept, asked = found(n, needs(*pair))
    assert kept == sorted(pair) and found(n, needs(*pair), shrink)[0] == kept  # bisection alone
    assert asked <= 2 * math.ceil(math.log2(n)) + 12


@pytest.mark.parametrize("k", [3, 5, 10])
def test_more_items_take_so_many_halvings_each(k):
    items = np.random.default_rng(k).choice(BIG, k, replace=False).tolist()
    kept, asked = found(BIG, needs(*items))
    assert kept == sorted(items)
    assert asked <= k * (math.ceil(math.log2(BIG)) + 6) + 4 * FINEST


@given(st.integers(1, 300), st.integers(300, 3000))
@settings(max_examples=40, deadline=None)
def test_a_number_of_items_whichever(k, n):
    kept, asked = found(n, lambda kept: len(kept) >= k)
    assert len(kept) == k
    assert asked <= 3 * math.ceil(math.log2(n)) + k + 4 * FINEST + 20  # every one of the k is tried without


def test_thirty_three_points_of_a_whole_image():
    kept, asked = found(BIG, lambda kept: len(kept) >= 33)
    assert len(kept) == 33 and asked <= 120


def test_a_size_that_fails_by_its_remainder_is_1_minimal_though_nothing_is_monotone():
    def fails(kept):
        return len(kept) % 32 == 1 and len(kept) > 40

    kept, _ = found(BIG + 1, fails)
    assert fails(kept) and is_1_minimal(kept, fails)


def test_nothing_and_one_item_are_left_as_they_are():
    assert found(0, lambda kept: True) == ([], 0)
    assert found(1, lambda kept: True)[0] == [0]


@given(st.integers(0, 2000), st.integers(1, 2000), st.data())
def test_the_smallest_number_is_found_by_bisection(low, more, data):
    high = low + more
    wanted = data.draw(st.integers(low + 1, high))
    asked = []

    def fails(number, hints):
        assert low < number < high and all(low <= hint <= high for hint in hints)
        asked.append(number)
        return number >= wanted

    assert smallest(low, high, fails) == wanted
    assert len(asked) == len(set(asked)) <= math.ceil(math.log2(more)) + 1 if more > 1 else not asked


# --- votes ------------------------------------------------------------------------------------------------------------------------


def test_a_failure_that_always_comes_needs_one_vote():
    assert decide([], 1.0) is None and decide([True], 1.0) is True and decide([False, True], 1.0) is False


@given(st.floats(0.05, 0.95), st.lists(st.booleans(), max_size=2 * MOST))
def test_a_vote_ends_stays_as_it_was_and_does_not_change_its_mind(rate, votes):
    verdicts = [decide(votes[:n], rate) for n in range(len(votes) + 1)]
    known = [verdict for verdict in verdicts if verdict is not None]
    assert len(set(known)) <= 1 and (len(votes) < MOST or known)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6, 0.9])
def test_a_vote_is_wrong_as_seldom_as_it_says(rate):
    rng = np.random.default_rng(0)

    def verdicts(true_rate):
        return [decide(rng.random(MOST) < true_rate, rate) for _ in range(400)]

    assert np.mean(verdicts(rate)) >= 0.98 and np.mean(verdicts(0.0)) == 0
    assert np.mean(verdicts(rate / 4)) <= 0.02


def test_a_healthy_case_costs_few_votes_and_a_failing_one_fewer():
    assert next(n for n in range(1, MOST) if decide([False] * n, 0.6) is False) == 8
    assert next(n for n in range(1, MOST) if decide([True] * n, 0.6) is True) == 4
