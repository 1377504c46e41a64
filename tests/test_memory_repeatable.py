"""Different memory is blamed for different results only where equal memory gives equal ones. No solver, no chance, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from case_factory import make_case

from harness.layout import POISON, arrays
from harness.memory import agreement, poison, trials
from harness.memory.arena import AFTER, BEFORE, Arena, HostArena
from harness.memory.book import Book
from sim3solve.driver import CudaError

NAN = float("nan")


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a memory mode says of a solver whose pose is ``solve(arena)``, and the name of the memory of each solve.

    ``time_for``: so many solves until its time is up.
    """

    def look(mode: str, solve: Callable[[Arena], float], time_for: int = 10_000) -> tuple[Book, list[str]]:
        case = make_case()
        book, solved = Book(tmp_path, mode, case.document.tensors), []

        def attempt(arena: Arena) -> dict[str, Any]:
            arrays(case, arena.allocate)
            book.placed(arena)
            solved.append(arena.name)
            return {"status": "CONVERGED", "T_CkCf": [solve(arena)] * 8}

        for module in (agreement, poison):
            monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: len(solved)))
        trials.run(tmp_path, book, attempt, HostArena, on_gpu=False, until=time_for - 0.5)
        return book, solved

    return look


def messages(book: Book) -> list[str]:
    return [found["message"] for found in book.findings]


def poisoned(arena: Arena, tensor: str, region: str) -> bool:
    return arena.fill(f"={tensor}", region) == POISON


def in_turn(values: Iterable[float]) -> Callable[[Arena], float]:
    left = iter(values)
    return lambda arena: next(left)


def test_a_result_that_never_depends_on_it_is_solved_twice(look):
    book, solved = look("poison", lambda arena: 1.0)
    assert solved == ["NaN", "zeros"] and not book.findings and not book.notes


def test_the_place_is_named_where_it_alone_changes_the_result_every_time(look):
    book, solved = look("poison", lambda arena: 1.0 + poisoned(arena, "Xk", AFTER))
    assert messages(book) == ["its result depends on memory past the end of Xk"]
    assert {name for name in solved if solved.count(name) == agreement.SOLVES} == {"NaN", "zeros", "NaN past the end of Xk"}
    assert solved.count("NaN in memory of its own") == 1


@pytest.mark.parametrize("tosses", [[1, 2, 2, 1, 2, 1, 2, 1, 2, 1], [1, 2, 1, 2, 1, 2, 1, 2, 1, 1], [1, 2, 1, 2, 1, 2, 1, 2, 2, 2]])
@pytest.mark.parametrize("mode", ["poison", "exact"])
def test_a_result_that_equal_memory_changes_blames_no_memory(look, mode, tosses):
    """However late the repetition shows it."""
    book, solved = look(mode, in_turn(tosses))
    assert not book.findings and len(solved) == 2 * agreement.SOLVES
    (note,) = book.notes
    assert note.startswith("its result is not repeatable: the same values in the same memory give CONVERGED [")


def test_a_place_that_shows_it_only_sometimes_is_not_blamed(look):
    once = iter([True])
    book, _ = look("poison", lambda arena: 1.0 + (arena.name == "NaN" or ("own" in arena.name and next(once, False))))
    assert messages(book) == ["its result depends on memory that no tensor covers"]  # which of them no place shows by itself


def test_numbers_that_differ_each_time_tell_by_being_finite(look):
    ever = iter(range(1, 1000))
    book, _ = look("poison", lambda arena: next(ever) * (NAN if poisoned(arena, "Xf", BEFORE) else 1.0))
    assert messages(book) == ["its result depends on memory before the start of Xf"]
    assert any("not repeatable" in note and "only reads that end in NaN" in note for note in book.notes)


@pytest.mark.parametrize("spoilt", ["NaN", "zeros"])
def test_numbers_that_differ_each_time_and_are_not_always_finite_tell_nothing(look, spoilt):
    """NaN that did not come once, or that came without any poison."""
    ever, turns = iter(range(1, 1000)), {"NaN": 0, "zeros": 0}

    def solve(arena: Arena) -> float:
        turns[arena.name] = turns.get(arena.name, 0) + 1
        last = arena.name == spoilt and turns[spoilt] == agreement.SOLVES
        return next(ever) * (NAN if (arena.name == "NaN") is not last else 1.0)

    book, _ = look("poison", solve)
    assert not book.findings and len(book.notes) == 1


@pytest.mark.parametrize("mode", ["poison", "exact"])
def test_without_the_time_to_repeat_nothing_is_blamed(look, mode):
    book, solved = look(mode, in_turn([1, 2]), time_for=2)
    assert len(solved) == 2 and not book.findings
    assert any("was not looked into" in note for note in book.notes)


def test_a_search_is_cut_short_when_its_time_is_up(look):
    """No place is named that did not have all its solves."""

    def solve(arena: Arena) -> float:
        return 1.0 + poisoned(arena, "Xk", AFTER)

    _, all_solved = look("poison", solve)
    enough = all_solved.index("NaN past the end of Xk") + agreement.SOLVES
    for time_for, where in ((enough, "past the end of Xk"), (enough - 1, "that no tensor covers")):
        book, solved = look("poison", solve, time_for)
        assert len(solved) == time_for and messages(book) == [f"its result depends on memory {where}"]
        assert any("not looked into to the end" in note for note in book.notes)


def test_two_places_that_give_two_results_every_time_are_said(look):
    book, _ = look("exact", lambda arena: 1.0 + arena.name.startswith("end"))
    assert [note for note in book.notes if "two places of the same inputs" in note] and not book.findings


@pytest.mark.parametrize("mode", ["exact", "poison"])
def test_a_gpu_that_died_of_the_solve_is_not_asked_what_was_written(tmp_path, monkeypatch, mode):
    """It answers with the error of the solve, which came back in place of the solver's own exception."""
    case = make_case()

    def touched(*_: Any) -> Any:
        raise CudaError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")

    def run(result: dict[str, Any]) -> tuple[dict[str, Any], Book]:
        book = Book(tmp_path, mode, case.document.tensors)

        def attempt(arena: Arena) -> dict[str, Any]:
            arrays(case, arena.allocate)
            book.placed(arena)
            return result

        return trials.run(tmp_path, book, attempt, HostArena, on_gpu=mode == "exact", until=float("inf")), book

    monkeypatch.setattr("harness.memory.arena.touched", touched)
    died = {"exception": {"type": "AcceleratorError", "message": "CUDA error: an illegal memory access", "traceback": ""}}
    result, book = run(died)
    assert result is died and any("cannot be looked at: CUDA_ERROR_ILLEGAL_ADDRESS" in note for note in book.notes)
    with pytest.raises(CudaError):  # nobody else was told of it
        run({"status": "CONVERGED", "T_CkCf": [1.0] * 8})
