"""The search without any process: what fails is a function of the case, and what is left is as small as it gets."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from case_factory import make_case
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import Case, TensorSpec
from harness.minimize.cut import CannotBuild, Cut, build
from harness.minimize.search import Search
from harness.minimize.tester import Stop


class Function:
    """Answers for a search by a function of the built case, and counts."""

    def __init__(self, case: Case, fails: Callable[[Case], bool], most: int = 100_000) -> None:
        self.case, self.fails, self.most, self.phase, self.asked = case, fails, most, "", 0

    def first(self, cuts, hints=()):
        for number, cut in enumerate(cuts):
            if self.asked == self.most:
                raise Stop("the limit is reached")
            self.asked += 1
            if self.shows(cut):
                return number
        return None

    def shows(self, cut: Cut) -> bool:
        try:
            return self.fails(build(self.case, cut))
        except CannotBuild:
            return False

    def check(self) -> None:
        pass


def numbered(n: int, **more) -> Case:
    """A case whose points know their number, in ``Qk``: random numbers elsewhere."""
    rng = np.random.default_rng(n)
    values = {"Qk": np.arange(2, n + 2, dtype=np.float32).reshape(n, 1)}
    values |= {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in (("Xf", (n, 3)), ("Xk", (n, 3)), ("T_WCk", (1, 8)))
    }
    return make_case(n=n, values=values, **more)


def search(case: Case, fails: Callable[[Case], bool], most: int = 100_000) -> tuple[Search, Function]:
    answers = Function(case, fails, most)
    found = Search(case, answers)
    found.run()
    return found, answers


@given(st.integers(2, 40), st.integers(0, 255), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_no_point_can_go_even_where_the_failure_has_no_order(n, seed, share):
    case = numbered(n)

    def fails(made: Case) -> bool:
        size = len(made.values["Qk"])
        return size == n or (size > 0 and hashlib.sha256(made.values["Qk"].tobytes() + bytes([seed])).digest()[0] % share == 0)

    found, answers = search(case, fails)
    assert found.complete and answers.shows(found.cut)
    rows = found.cut.rows
    assert len(rows) == 1 or not any(
        answers.shows(dataclasses.replace(found.cut, rows=np.delete(rows, i), first_slot=slot))
        for i in range(len(rows))
        for slot in {found.cut.first_slot, int(np.delete(rows, i)[0])}
    )


def test_a_simpler_value_may_make_more_points_removable_and_fewer_points_more_values_simple():
    def fails(made: Case) -> bool:
        n, weights = len(made.values["Qk"]), made.values["Qk"]
        return n >= (2 if (weights == 1).all() else 5) and ((made.as_float("Xf") == 1).all() <= (n < 3))

    found, _ = search(numbered(30), fails)
    assert len(found.cut.rows) == 2 and {str(change) for change in found.cut.changes} >= {"Qk: ones", "Xf: ones"}


@pytest.mark.parametrize("needed", [1, 2, 3, 17, 49, 50])
def test_iterations_are_bisected(needed):
    found, answers = search(numbered(1), lambda made: made.options.max_iters >= needed)
    assert found.cut.max_iters == needed and answers.asked < 25


def test_only_what_is_needed_stays_as_it_was():
    spec = TensorSpec(dtype="float32", shape=(20, 3), stride=(6, 2), storage_offset=4, data_ptr_mod_512=16)
    case = numbered(20, specs={"Xk": spec, "Xf": spec}, options={"huber": 2.0, "sigma_ray": 0.5})

    def fails(made: Case) -> bool:
        return made.document.tensors["Xk"].stride[1] == 2 and made.options.huber == 2.0 and made.as_float("T_WCk")[0, 2] != 0

    found, _ = search(case, fails)
    made = build(case, found.cut)
    assert made.document.tensors["Xk"] == TensorSpec(dtype="float32", shape=(1, 3), stride=(6, 2))
    assert made.document.tensors["Xf"] == TensorSpec.contiguous("float32", (1, 3))
    assert made.options.sigma_ray == 0.003 and np.count_nonzero(made.as_float("T_WCk")) == 1


def test_a_search_that_is_stopped_has_the_smallest_so_far():
    case = numbered(1000)
    answers = Function(case, lambda made: 902 in made.values["Qk"], most=9)
    stopped = Search(case, answers)
    with pytest.raises(Stop):
        stopped.run()
    assert not stopped.complete and 1 < len(stopped.cut.rows) < 1000 and answers.shows(stopped.cut)


def test_a_batch_of_an_operation_has_no_iterations():
    case = make_case("op", 30, op="act", values={"p": np.arange(90, dtype=np.float32).reshape(30, 3)})
    phases: set[str] = set()

    class Phases(Function):
        def first(self, cuts, hints=()):
            phases.add(self.phase)
            return super().first(cuts, hints)

    found = Search(case, Phases(case, lambda made: 46.0 in made.values["p"]))
    found.run()
    assert found.cut.rows.tolist() == [15] and "iterations" not in phases
    assert np.count_nonzero(build(case, found.cut).as_float("p")) == 1
