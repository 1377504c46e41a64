"""The rule that a sweep finds is the one that made the faults: for every kind of rule, and for none."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from case_factory import make_case
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_factory import shipped

from harness.case import CaseDocument, TensorSpec
from harness.relayout import ALIGNED, LAYOUTS, again, once, relayout_document
from harness.sweep.plan import MAX_EXTRA, TIMES, Next, Planner
from harness.sweep.rule import MODULI, Atom, Rule, Trial, atoms, candidates

Held = frozenset[Atom]
DOCUMENT = shipped("layout-offset-views").document
XF, XK, T_WCF, T_WCK = "Xf", "Xk", "T_WCf", "T_WCk"


def swept(faults: Callable[[Held], bool], document: CaseDocument = DOCUMENT) -> tuple[Next, dict[str, bool]]:
    """What a sweep of a solver that faults where ``faults`` says comes to, and every layout it ran."""
    results: dict[str, bool] = {}
    planner = Planner(document)
    while True:
        step = planner.next(results)
        if not step.layouts:
            return step, results
        assert not set(step.layouts) & set(results), "a layout is run once"
        for layout in step.layouts:
            results[layout] = faults(atoms(relayout_document(document, layout).tensors))


def has(tensor: str, property: str) -> Callable[[Held], bool]:
    return lambda held: Atom(tensor, property) in held


RULES = {
    "T_WCk mod 16 != 0": has(T_WCK, "mod-16"),
    "T_WCk mod 8 != 0": has(T_WCK, "mod-8"),
    "Xk mod 32 != 0": has(XK, "mod-32"),
    "Xf mod 512 != 0": has(XF, "mod-512"),
    "valid_opt mod 16 != 0": has("valid_opt", "mod-16"),
    "Xf is not contiguous": has(XF, "not-contiguous"),
    "the elements of a row of Xf are not adjacent": has(XF, "row-not-adjacent"),
    "Xk is stored transposed": has(XK, "transposed"),
    "T_WCk starts past the start of its storage": has(T_WCK, "offset"),
    "Xf shares its storage with another tensor": has(XF, "shared"),
    "T_WCf mod 16 != 0 or T_WCk mod 16 != 0": lambda held: has(T_WCF, "mod-16")(held) or has(T_WCK, "mod-16")(held),
    "Xf is not contiguous or T_WCk mod 16 != 0": lambda held: has(XF, "not-contiguous")(held) or has(T_WCK, "mod-16")(held),
    "Xf mod 16 != 0 and Xk mod 16 != 0": lambda held: has(XF, "mod-16")(held) and has(XK, "mod-16")(held),
}


@pytest.mark.parametrize("said", list(RULES))
def test_the_rule_that_made_the_faults_is_found_and_tested(said: str) -> None:
    step, results = swept(RULES[said])
    # Of the words of an either-or, the order is free.
    assert step.state == "rule" and sorted(str(step.rule).split(" or ")) == sorted(said.split(" or "))
    assert step.rule is not None and len(step.tests) >= 3
    foretold = {layout: step.rule.holds(atoms(relayout_document(DOCUMENT, layout).tensors)) for layout in results}
    assert foretold == results  # exactly: no layout that was run contradicts it
    assert Planner(DOCUMENT).next(results) == step  # from the results alone, so that a sweep can be taken up
    assert {results[layout] for layout in step.tests} == {True, False}  # tests that could have shown either
    assert len(results) <= len(LAYOUTS) + 40 + MAX_EXTRA


@settings(max_examples=8, deadline=None)
@given(tensor=st.sampled_from([XF, XK, T_WCF, T_WCK, "Qk"]), modulus=st.sampled_from(MODULI))
def test_any_alignment_of_any_tensor_is_told_from_every_other(tensor: str, modulus: int) -> None:
    step, _ = swept(has(tensor, f"mod-{modulus}"))
    assert str(step.rule) == f"{tensor} mod {modulus} != 0"


def test_all_tensors_alike() -> None:
    step, _ = swept(lambda held: any(atom.property == "mod-16" for atom in held))
    assert step.rule is not None and {atom.tensor for atom in step.rule.atoms} == set(DOCUMENT.tensors)


@pytest.mark.parametrize(("often", "seed"), [(0.1, 7), (0.5, 7), (0.9, 8)])
def test_chance_is_told_from_a_rule_before_one_is_looked_for(often: float, seed: int) -> None:
    chance = random.Random(seed)
    step, results = swept(lambda held: chance.random() < often)
    assert (step.state, step.rule) == ("by chance", None) and len(results) == len(LAYOUTS) + 2 * (TIMES - 1)
    assert {once(layout) for layout in set(results) - set(LAYOUTS)} < set(LAYOUTS)


@pytest.mark.parametrize("fault_again", [True, False])
def test_one_run_of_one_layout_that_ends_otherwise_is_chance(fault_again: bool) -> None:
    """Either the faulting layout is healthy once, or the healthy one faults once; a run without an answer is neither."""
    first = "shift-4" if fault_again else ALIGNED

    def answer(layout: str) -> bool | None:
        rule = once(layout) == "shift-4"
        return None if layout == again(first, 2) else rule is not (layout == again(first, TIMES))

    results: dict[str, bool | None] = {}
    while (step := Planner(DOCUMENT).next(results)).layouts:
        results |= {layout: answer(layout) for layout in step.layouts}
    assert step.state == "by chance"
    results[again(first, TIMES)] = None
    assert Planner(DOCUMENT).next(results).state == "running"


def test_layouts_run_again_are_no_tests_of_a_rule() -> None:
    step, results = swept(RULES["T_WCk mod 16 != 0"])
    repeated = [layout for layout in results if once(layout) != layout]
    assert len(repeated) == 2 * (TIMES - 1) and not set(step.tests) & set(repeated)


def test_what_the_properties_cannot_say_is_not_claimed() -> None:
    """A fault at 4 modulo 16 alone, which no property of one tensor separates from 8 and 12."""
    results: dict[str, bool] = {}
    planner = Planner(DOCUMENT)
    while (step := planner.next(results)).layouts:
        for layout in step.layouts:
            results[layout] = relayout_document(DOCUMENT, layout).tensors[T_WCK].data_ptr_mod_512 % 16 == 4
    assert step.state == "unexplained" and step.rule is None


def test_a_rule_that_fits_all_but_a_later_test_is_given_up() -> None:
    """Faults at 4, 8 and 12 bytes, and nowhere else: "mod 16" fits all that is tried first, and shift-20 refutes it."""
    results: dict[str, bool] = {}
    planner = Planner(DOCUMENT)
    while (step := planner.next(results)).layouts:
        for layout in step.layouts:
            results[layout] = relayout_document(DOCUMENT, layout).tensors[T_WCK].data_ptr_mod_512 in (4, 8, 12)
    assert results["aligned-512,T_WCk=shift-20"] is False
    assert step.state == "unexplained"


def test_all_and_nothing() -> None:
    assert swept(lambda held: False)[0].state == "healthy everywhere"
    assert swept(lambda held: True)[0].state == "faults everywhere"
    assert Planner(DOCUMENT).next(dict.fromkeys(LAYOUTS)).state == "not run"


def test_layouts_without_an_answer_neither_make_nor_break_a_rule() -> None:
    results: dict[str, bool | None] = {}
    planner = Planner(DOCUMENT)
    while (step := planner.next(results)).layouts:
        for layout in step.layouts:
            held = atoms(relayout_document(DOCUMENT, layout).tensors)
            results[layout] = None if "strided" in layout else Atom(T_WCK, "mod-16") in held
    assert str(step.rule) == "T_WCk mod 16 != 0"


def test_what_holds_in_a_layout() -> None:
    specs = {
        "Xf": TensorSpec(dtype="float32", shape=(5, 3), stride=(1, 5), storage_offset=3, data_ptr_mod_512=12, alias_group="g"),
        "Qk": TensorSpec(dtype="float32", shape=(5, 1), stride=(0, 0), data_ptr_mod_512=0, alias_group="g"),
        "T_WCf": TensorSpec(dtype="float32", shape=(1, 8), stride=(99, 1), data_ptr_mod_512=256),
        "T_WCk": TensorSpec(dtype="float32", shape=(1, 8), stride=(1, 8)),
    }
    held = atoms(specs)
    assert {a.property for a in held if a.tensor == "Xf"} == {
        "not-contiguous", "row-not-adjacent", "transposed", "offset", "shared", *(f"mod-{m}" for m in MODULI)
    }  # fmt: skip
    assert {a.property for a in held if a.tensor == "Qk"} == {"not-contiguous", "expanded", "shared"}
    assert {a.property for a in held if a.tensor == "T_WCf"} == {"mod-512"}  # a stride over one row says nothing
    assert {a.property for a in held if a.tensor == "T_WCk"} == {"not-contiguous", "row-not-adjacent"}
    empty = make_case(n=0, specs={"Xf": TensorSpec(dtype="float32", shape=(0, 3), stride=(9, 2), data_ptr_mod_512=4)})
    assert not [atom for atom in atoms(empty.document.tensors) if atom.tensor == "Xf"]


def test_the_fewest_words_win() -> None:
    a, b, c = Atom("Xf", "mod-16"), Atom("Xk", "mod-16"), Atom("Xf", "shared")
    trials = [Trial("1", frozenset({a, c}), True), Trial("2", frozenset({a}), True), Trial("3", frozenset({b}), False)]
    assert candidates(trials) == [Rule((a,))]
    assert candidates([*trials, Trial("4", frozenset({a}), False)]) == []  # the same layout cannot do both
    assert candidates(trials[:2]) == []  # nothing healthy, nothing to tell it from
