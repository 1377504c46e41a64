"""The PyTorch solver against the oracle, under the tolerances of harness.compare, whatever types and layouts it is given."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from case_factory import make_case
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_factory import (
    LARGE,
    REFERENCE,
    SHIPPED,
    TORCH,
    WITH_POSE,
    arrays_for,
    oracle_of,
    poisoned,
    random_case,
    run,
    shipped,
    with_options,
)  # fmt: skip

from harness.case import Case
from harness.compare import exceeded, parity
from harness.outcome import Outcome
from sim3solve import pytorch
from sim3solve.problem import PROBLEMS, ProblemError, Solution, Status

FIXED = settings(derandomize=True, deadline=None, max_examples=25)
KINDS = ["ray_dist", "calib"]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_parity(mine: Outcome, oracle: Outcome, case: Case) -> None:
    """The same status in as many steps, every yardstick under its limit, and no excuse by a lower cost."""
    assert mine.status == oracle.status
    measured = parity(mine, oracle, case)
    assert measured is not None
    assert exceeded(measured["oracle"]) == []
    assert measured["within"], measured["why"]
    assert measured["first_divergence"] is None
    assert mine.iterations == oracle.iterations
    assert math.isclose(mine.cost or 0, oracle.cost or 0, rel_tol=1e-3, abs_tol=1e-6)


def assert_no_pose(solution: Solution, status: Status) -> None:
    assert solution.status is status
    for T in (solution.T_WCf, solution.T_CkCf):
        assert T.shape == (1, 8)
        assert torch.isnan(T).all()


def tensors_of(case: Case) -> dict[str, torch.Tensor]:
    return arrays_for(TORCH, case)


def solve(case: Case, **changed: torch.Tensor) -> Solution:
    return pytorch.solve(PROBLEMS[case.document.kind](**tensors_of(case) | changed), case.options)


def same(a: Solution, b: Solution) -> bool:
    """To the last bit, trace and all."""
    poses = torch.equal(a.T_WCf, b.T_WCf) and torch.equal(a.T_CkCf, b.T_CkCf)
    return poses and (a.status, a.trace, a.cost) == (b.status, b.trace, b.cost)


# --- parity -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_POSE)
def test_shipped_cases_have_the_oracles_pose(name: str) -> None:
    assert_parity(run(TORCH, shipped(name)), oracle_of(name), shipped(name))


def test_a_million_points_have_the_oracles_pose() -> None:
    assert_parity(run(TORCH, shipped(LARGE)), oracle_of(LARGE), shipped(LARGE))


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in (*WITH_POSE, LARGE)])
def test_shipped_cases_without_a_pose_have_the_oracles_status(name: str) -> None:
    case = shipped(name)
    assert_no_pose(solve(case), Status(oracle_of(name).status))


@each_kind
@FIXED
@given(seed=st.integers(0, 2**32), n=st.sampled_from([31, 33, 300, 3000]), outliers=st.sampled_from([0.0, 0.1, 0.3]))
def test_random_problems_have_the_oracles_pose(kind: str, seed: int, n: int, outliers: float) -> None:
    case = random_case(kind, seed, n, outliers=outliers, pixel_border=-60.0)
    assert_parity(run(TORCH, case), run(REFERENCE, case), case)


@each_kind
@pytest.mark.parametrize("max_iters", [1, 2])
def test_a_solve_cut_short_has_the_oracles_pose(kind: str, max_iters: int) -> None:
    case = with_options(random_case(kind, 2), max_iters=max_iters)
    mine = run(TORCH, case)
    assert mine.status == "MAX_ITERATIONS"
    assert_parity(mine, run(REFERENCE, case), case)


@each_kind
@pytest.mark.parametrize("world", [1e3, 1e5])
def test_far_from_the_worlds_origin_nothing_is_lost(kind: str, world: float) -> None:
    """The start T_WCk^-1 T_WCf is a difference of large numbers, and one step does not yet forget where it started."""
    case = with_options(random_case(kind, 21, world=world, float_type="float64"), max_iters=1)
    assert_parity(run(TORCH, case), run(REFERENCE, case), case)


# --- statuses ---------------------------------------------------------------------------------------------------------------------


@each_kind
@FIXED
@given(seed=st.integers(0, 2**32), n=st.integers(0, 6))
def test_few_points_have_the_oracles_status(kind: str, seed: int, n: int) -> None:
    case = random_case(kind, seed, n, outliers=0.0, pixel_border=-60.0)
    mine, oracle = run(TORCH, case), run(REFERENCE, case)
    assert mine.status == oracle.status
    if n < 3:
        assert mine.status == "TOO_FEW_MATCHES"


@FIXED
@given(seed=st.integers(0, 2**32), n=st.integers(3, 300), scale=st.sampled_from([1e-4, 1.0, 1e4]))
def test_points_on_a_line_fix_no_pose(seed: int, n: int, scale: float) -> None:
    case = random_case("ray_dist", seed, n, line=True)
    scaled = {name: a * np.float32(scale) if name in ("Xf", "Xk") else a for name, a in case.values.items()}
    assert_no_pose(solve(dataclasses.replace(case, values=scaled)), Status.NOT_POSITIVE_DEFINITE)


@each_kind
@pytest.mark.parametrize(
    ("name", "value"),
    [("Xf", math.nan), ("Xf", math.inf), ("target", math.nan), ("target", -math.inf), ("Qk", math.nan), ("Qk", -1.0)],
)
def test_bad_values_in_a_row_that_counts_are_reported(kind: str, name: str, value: float) -> None:
    case = random_case(kind, 3)
    tensors = tensors_of(case)
    name = {"target": "meas_k" if kind == "calib" else "Xk"}.get(name, name)
    valid = tensors["valid_opt"] & tensors["valid_meas_k"] if kind == "calib" else tensors["valid_opt"]
    spoiled = tensors[name].clone()
    spoiled[int(valid[:, 0].nonzero()[0])] = value
    assert solve(case).status is Status.CONVERGED
    assert_no_pose(solve(case, **{name: spoiled}), Status.NON_FINITE)


@pytest.mark.parametrize("name", ["T_WCf", "T_WCk"])
@pytest.mark.parametrize(("column", "value"), [(1, math.nan), (4, math.inf), (7, 0.0), (7, -1.0), (slice(3, 7), 0.0)])
def test_a_pose_that_is_none_is_reported(name: str, column: Any, value: float) -> None:
    case = random_case("ray_dist", 3)
    spoiled = tensors_of(case)[name].clone()
    spoiled[0, column] = value
    assert_no_pose(solve(case, **{name: spoiled}), Status.NON_FINITE)


def test_inputs_on_two_devices_are_refused_by_name() -> None:
    case = random_case("ray_dist", 3)
    with pytest.raises(ProblemError, match=r"^Qk: is on meta, Xf on cpu$"):
        solve(case, Qk=tensors_of(case)["Qk"].to("meta"))


# --- what must not matter ---------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 3e38])
def test_rows_that_do_not_count_change_not_one_bit(kind: str, value: float) -> None:
    case = random_case(kind, 9, pixel_border=-60.0)
    values = poisoned(dict(case.values), lambda shape: np.full(shape, value))
    solution = solve(case)
    assert solution.status is Status.CONVERGED
    assert same(solution, solve(dataclasses.replace(case, values=values)))


@each_kind
def test_two_runs_are_the_same_to_the_last_bit(kind: str) -> None:
    case = random_case(kind, 15, n=5000)
    assert same(solve(case), solve(case))


@each_kind
@pytest.mark.parametrize("chunk", [1, 7, 100, 299, 300])
def test_how_points_are_split_into_chunks_does_not_matter(kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(kind, 12)
    whole = solve(case)
    monkeypatch.setitem(pytorch.CHUNK, "cpu", chunk)
    split = solve(case)
    assert split.iterations == whole.iterations
    # Each row is the same float32 row; the float64 sums differ in their last bits alone.
    assert torch.allclose(split.T_CkCf, whole.T_CkCf, rtol=0, atol=2e-6)
    assert math.isclose(split.cost, whole.cost, rel_tol=1e-6)


@each_kind
def test_more_points_than_a_chunk(kind: str) -> None:
    n = pytorch.CHUNK["cpu"] + 33
    case = random_case(kind, 16, n=n)
    assert_parity(run(TORCH, case), run(REFERENCE, case), case)


@each_kind
def test_inputs_are_not_written_to(kind: str) -> None:
    case = random_case(kind, 14)
    tensors = tensors_of(case)
    before = {name: (tensor.clone(), tensor._version) for name, tensor in tensors.items()}
    assert pytorch.solve(PROBLEMS[kind](**tensors), case.options).status is Status.CONVERGED
    for name, (copy, version) in before.items():
        assert tensors[name].numpy().tobytes() == copy.numpy().tobytes()
        assert tensors[name]._version == version


def test_no_graph_is_recorded() -> None:
    case = random_case("ray_dist", 14)
    solution = solve(case, Xf=tensors_of(case)["Xf"].requires_grad_())
    assert solution.status is Status.CONVERGED
    assert not solution.T_WCf.requires_grad


# --- types and layouts ------------------------------------------------------------------------------------------------------------


def as_type(case: Case, float_type: str) -> Case:
    """The case with its floating tensors rounded to another type; bfloat16 as the bits a case carries."""
    values = {}
    for name, a in case.values.items():
        rounded = torch.from_numpy(a.copy()) if a.dtype == bool else torch.from_numpy(a.copy()).to(getattr(torch, float_type))
        values[name] = rounded.view(torch.uint16).numpy() if float_type == "bfloat16" and a.dtype != bool else rounded.numpy()
    options = dict(case.document.options)
    return make_case(case.document.kind, case.document.n_points, float_type=float_type, values=values, options=options)


@each_kind
@pytest.mark.parametrize("float_type", ["float16", "bfloat16", "float64"])
def test_any_floating_type_has_the_oracles_pose(kind: str, float_type: str) -> None:
    case = as_type(random_case(kind, 17, pixel_border=-60.0), float_type)
    mine = run(TORCH, case)
    assert tensors_of(case)["Xf"].dtype is getattr(torch, float_type)
    assert_parity(mine, run(REFERENCE, case), case)
    assert solve(case).T_WCf.dtype is torch.float32


def strided(tensor: torch.Tensor) -> torch.Tensor:
    room = torch.full((3 * tensor.shape[0] + 1, 2 * tensor.shape[1] + 1), 77, dtype=tensor.dtype)
    view = room[1::3, 1::2]
    return view.copy_(tensor)


def offset(tensor: torch.Tensor) -> torch.Tensor:
    room = torch.empty(tensor.numel() + 5, dtype=tensor.dtype)
    return room[5:].view(tensor.shape).copy_(tensor)


def column_major(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.t().contiguous().t()


@each_kind
@pytest.mark.parametrize("arrange", [strided, offset, column_major])
def test_layout_does_not_change_a_bit(kind: str, arrange: Callable[[torch.Tensor], torch.Tensor]) -> None:
    case = random_case(kind, 18)
    plain = tensors_of(case)
    arranged = {name: arrange(tensor) for name, tensor in plain.items()}
    if arrange is not offset:
        assert not arranged["Xf"].is_contiguous()
    assert same(solve(case, **arranged), solve(case))


@each_kind
def test_expanded_inputs_are_what_they_stand_for(kind: str) -> None:
    case = random_case(kind, 19)
    values = dict(case.values)
    keep = values["valid_opt"][:, 0] & (values["valid_meas_k"][:, 0] if kind == "calib" else True)
    rows = {name: torch.from_numpy(a[keep] if len(a) == len(keep) else a) for name, a in values.items()}
    n = int(keep.sum())
    full = rows | {"Qk": torch.full((n, 1), 2.5), "valid_opt": torch.ones(n, 1, dtype=torch.bool)}
    expanded = full | {"Qk": torch.tensor([[2.5]]).expand(n, 1), "valid_opt": torch.ones(1, 1, dtype=torch.bool).expand(n, 1)}
    assert expanded["Qk"].stride() == (0, 1)
    assert same(*(pytorch.solve(PROBLEMS[kind](**tensors), case.options) for tensors in (full, expanded)))
