"""The PyTorch solver against the oracle, under the tolerances of harness.compare, whatever types and layouts it is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from case_factory import make_case
from hypothesis import settings
from problem_factory import (
    REFERENCE,
    TORCH,
    arrays_for,
    assert_parity,
    random_case,
    run,
)  # fmt: skip

from harness.case import Case
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


def tensors_of(case: Case) -> dict[str, torch.Tensor]:
    return arrays_for(TORCH, case)


def solve(case: Case, **changed: torch.Tensor) -> Solution:
    return pytorch.solve(PROBLEMS[case.document.kind](**tensors_of(case) | changed), case.options)


def same(a: Solution, b: Solution) -> bool:
    """To the last bit, trace and all."""
    poses = torch.equal(a.T_WCf, b.T_WCf) and torch.equal(a.T_CkCf, b.T_CkCf)
    return poses and (a.status, a.trace, a.cost) == (b.status, b.trace, b.cost)


# --- statuses ---------------------------------------------------------------------------------------------------------------------


def test_inputs_on_two_devices_are_refused_by_name() -> None:
    case = random_case("ray_dist", 3)
    with pytest.raises(ProblemError, match=r"^Qk: is on meta, Xf on cpu$"):
        solve(case, Qk=tensors_of(case)["Qk"].to("meta"))


# --- what must not matter ---------------------------------------------------------------------------------------------------------


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
