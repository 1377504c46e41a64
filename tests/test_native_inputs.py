"""The CPU library takes every layout and floating type as the numbers it holds, and refuses the rest by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from native_runs import arrays_of, bits, each_kind, solve
from problem_factory import random_case

from sim3solve import native
from sim3solve.problem import PROBLEMS, Options, ProblemError, RayDist


def strided(array: np.ndarray) -> np.ndarray:
    room = np.full((3 * array.shape[0] + 1, 2 * array.shape[1] + 1), 77, dtype=array.dtype)
    view = room[1::3, 1::2][: len(array), : array.shape[1]]
    view[...] = array
    return view


def column_major(array: np.ndarray) -> np.ndarray:
    return np.asfortranarray(array)


def backwards(array: np.ndarray) -> np.ndarray:
    return array[::-1].copy()[::-1]


def at_odd_address(array: np.ndarray) -> np.ndarray:
    room = np.zeros(array.nbytes + 1, dtype=np.uint8)
    view = room[1:].view(np.uint8)[: array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def at_odd_strides(array: np.ndarray) -> np.ndarray:
    record = np.zeros(len(array), dtype=[("pad", "u1"), ("x", array.dtype, array.shape[1:])])
    record["x"] = array
    return record["x"]


def big_endian(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == bool else array.astype(array.dtype.newbyteorder(">"))


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS = [strided, column_major, backwards, at_odd_address, at_odd_strides, big_endian, read_only]


@each_kind
@pytest.mark.parametrize("arrange", LAYOUTS)
def test_layout_does_not_change_a_bit(kind: str, arrange: Callable[[np.ndarray], np.ndarray]) -> None:
    case = random_case(kind, 18)
    arranged = {name: arrange(array) for name, array in arrays_of(case).items()}
    before = {name: array.tobytes() for name, array in arranged.items()}
    assert bits(solve(case, **arranged)) == bits(solve(case))
    assert {name: array.tobytes() for name, array in arranged.items()} == before


@each_kind
def test_torch_tensors_give_the_same_bits_as_tensors(kind: str) -> None:
    case = random_case(kind, 18)
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays_of(case).items()}
    tensors["Xf"] = tensors["Xf"].t().contiguous().t().requires_grad_()
    solution = solve(case, **tensors)
    assert isinstance(solution.T_WCf, torch.Tensor)
    assert solution.T_WCf.dtype == solution.T_CkCf.dtype == torch.float32
    assert bits(solution) == bits(solve(case))


@each_kind
def test_expanded_and_aliased_inputs_are_what_they_stand_for(kind: str) -> None:
    case = random_case(kind, 19)
    keep = case.values["valid_opt"][:, 0] & (case.values["valid_meas_k"][:, 0] if kind == "calib" else True)
    rows = {name: a[keep] if len(a) == len(keep) else a for name, a in arrays_of(case).items()}
    n = int(keep.sum())
    full = rows | {"Qk": np.full((n, 1), 2.5, np.float32), "valid_opt": np.ones((n, 1), bool)}
    expanded = full | {
        "Qk": np.broadcast_to(np.float32(2.5), (n, 1)), "valid_opt": torch.ones(1, 1, dtype=torch.bool).expand(n, 1),
    }  # fmt: skip
    assert expanded["Qk"].strides == (0, 0)
    both = np.hstack([full["Xf"], full["Xk"]])
    aliased = full | {"Xf": both[:, :3], "Xk": both[:, 3:]}
    first, *others = (bits(native.solve(PROBLEMS[kind](**arrays), case.options)) for arrays in (full, expanded, aliased))
    assert others == [first, first]


# --- types ------------------------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_floating_types_are_solved_as_the_numbers_they_hold(kind: str, dtype: str) -> None:
    case = random_case(kind, 5)
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays_of(case).items()}
    held = {name: t if t.dtype == torch.bool else t.to(getattr(torch, dtype)) for name, t in tensors.items()}
    plain = {name: t if t.dtype == torch.bool else t.float() for name, t in held.items()}
    assert bits(solve(case, **held)) == bits(solve(case, **plain))
    if dtype != "bfloat16":
        assert bits(solve(case, **{name: t.numpy() for name, t in held.items()})) == bits(solve(case, **plain))


@pytest.mark.parametrize("name", ["Xf", "Xk", "Qk", "T_WCf", "T_WCk"])
def test_what_is_no_floating_cpu_array_is_refused_by_name(name: str) -> None:
    case = random_case("ray_dist", 5)
    array = np.nan_to_num(np.asarray(arrays_of(case)[name]))
    for wrong, reason in (
        (np.zeros(array.shape, np.int32), "got int32"),
        (array.astype(np.complex64), "got complex64"),
        (torch.from_numpy(array).to("meta"), "is on meta"),
        (torch.from_numpy(array).to_sparse(), "sparse"),
        (torch.from_numpy(array).long(), "got int64"),
    ):
        with pytest.raises(ProblemError, match=reason) as caught:
            solve(case, **{name: wrong})
        assert caught.value.field == name


def test_the_calibrated_problem_needs_an_image_size() -> None:
    case = random_case("calib", 5)
    with pytest.raises(ProblemError, match=r"^img_size"):
        native.solve(PROBLEMS["calib"](**arrays_of(case)), Options())


def test_the_trace_is_what_observe_saw() -> None:
    case = random_case("ray_dist", 5)
    seen: list[Any] = []
    problem: RayDist = PROBLEMS["ray_dist"](**arrays_of(case))
    solution = native.solve(problem, case.options, lambda k, step: seen.append((k, step)))
    assert seen == list(enumerate(solution.trace))
    assert len(seen) == solution.iterations > 1
    assert solution.cost == solution.trace[-1].cost
    assert solution.trace[-1].T_CkCf == tuple(solution.T_CkCf[0].tolist())


@pytest.mark.parametrize(("given", "threads"), [("3", 3), (None, None)])
def test_threads_are_as_many_as_asked_for_or_as_pay(
    monkeypatch: pytest.MonkeyPatch, given: str | None, threads: int | None
) -> None:
    monkeypatch.delenv(native.THREADS_VARIABLE, raising=False)
    if given:
        monkeypatch.setenv(native.THREADS_VARIABLE, given)
    assert native.thread_count(100) == (threads or 1)
    assert native.thread_count(1 << 20) >= 1


@pytest.mark.parametrize("given", ["0", "-1", "many", ""])
def test_a_number_of_threads_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(native.THREADS_VARIABLE, given)
    with pytest.raises(ProblemError, match=r"^SIM3SOLVE_THREADS"):
        native.thread_count(1)
