"""The recorded memory rebuilt as torch tensors: strides, offset, alignment, aliasing and bits, on the CPU and on a GPU."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
import torch
from case_factory import layouts, make_case
from hypothesis import given, settings
from problem_factory import LARGE, SHIPPED, WITH_POSE, oracle_of, outcome_of, shipped

from harness.case import Case, TensorSpec
from harness.compare import exceeded, parity
from harness.layout import POISON, groups
from harness.torch_layout import tensors
from sim3solve import pytorch
from sim3solve.problem import PROBLEMS

CPU = torch.device("cpu")
LAYOUTS = [name for name in SHIPPED if name.startswith("layout-")]
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def assert_rebuilt(case: Case, device: torch.device) -> None:
    """Every tensor has its recorded type, place and bits, and tensors of one alias group lie in one window."""
    specs = case.document.tensors
    rebuilt = tensors(case, device)
    assert set(rebuilt) == set(specs)
    for name, spec in specs.items():
        tensor = rebuilt[name]
        assert tensor.device.type == device.type
        assert tensor.dtype is getattr(torch, spec.dtype)
        assert tuple(tensor.shape) == spec.shape
        assert tensor.stride() == spec.stride
        assert tensor.storage_offset() == spec.storage_offset
        assert bits(tensor) == case.values[name].tobytes()
        if math.prod(spec.shape):  # torch gives a tensor without elements no address
            assert tensor.data_ptr() % 512 == spec.data_ptr_mod_512
    storages = {group: {rebuilt[name].untyped_storage().data_ptr() for name in names} for group, names in groups(specs).items()}
    assert all(len(addresses) == 1 for addresses in storages.values())
    addresses = [min(found) for found in storages.values() if found != {0}]
    assert len(set(addresses)) == len(addresses)  # and no two windows are one


def bits(tensor: torch.Tensor) -> bytes:
    """The elements' bytes in order; NaN payloads survive because no number is converted."""
    return tensor.view(BITS[tensor.element_size()]).cpu().contiguous().numpy().tobytes()


@pytest.mark.parametrize("name", LAYOUTS)
def test_shipped_layouts_are_rebuilt(name: str) -> None:
    assert_rebuilt(shipped(name), CPU)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(case=layouts())
def test_any_layout_is_rebuilt(case: Case) -> None:
    assert_rebuilt(case, CPU)


def expanded(dtype: str) -> Case:
    spec = TensorSpec(dtype=dtype, shape=(5, 1), stride=(0, 0), storage_offset=3, data_ptr_mod_512=64)
    values = np.full((5, 1), 2.5, dtype=np.float32)
    carried = (values.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else values.astype(dtype)
    return make_case(specs={"Qk": spec}, values={"Qk": carried})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_an_expanded_element_is_one_element(dtype: str) -> None:
    Qk = tensors(expanded(dtype), CPU)["Qk"]
    assert Qk.stride() == (0, 0)
    assert Qk.float().tolist() == [[2.5]] * 5
    assert Qk.untyped_storage().nbytes() == 4 * Qk.element_size()


def aliased() -> Case:
    """T_WCf and T_WCk are rows 1 and 3 of one (4, 8) buffer, as upstream makes them."""
    row = {"dtype": "float32", "shape": (1, 8), "stride": (8, 1), "alias_group": "T_WC"}
    specs = {
        "T_WCf": TensorSpec(storage_offset=8, data_ptr_mod_512=36, **row),
        "T_WCk": TensorSpec(storage_offset=24, data_ptr_mod_512=100, **row),
    }
    return make_case(specs=specs)


def assert_writes_show_through(device: torch.device) -> None:
    case = aliased()
    rebuilt = tensors(case, device)
    T_WCf, T_WCk = rebuilt["T_WCf"], rebuilt["T_WCk"]
    assert T_WCk.data_ptr() - T_WCf.data_ptr() == 64
    whole = T_WCf.as_strided((4, 8), (8, 1), 0)
    gap = bits(whole[2:3])
    assert gap == bytes([POISON]) * 32  # and so NaN
    whole[3] = 7.0
    assert T_WCk.tolist() == [[7.0] * 8]
    assert bits(T_WCf) == case.values["T_WCf"].tobytes()
    again = tensors(case, device)
    assert bits(again["T_WCk"]) == case.values["T_WCk"].tobytes()  # each replay has memory of its own


def test_writing_to_one_tensor_shows_in_the_one_it_shares_memory_with() -> None:
    assert_writes_show_through(CPU)


def assert_memory_lives(device: torch.device) -> None:
    case = shipped("layout-misaligned")
    kept = tensors(case, device)["Xf"]
    gc.collect()
    for _ in range(20):  # would be given the freed memory
        torch.full((1 << 12,), -1.0, device=device)
    assert bits(kept) == case.values["Xf"].tobytes()


def test_memory_lives_as_long_as_a_tensor_in_it() -> None:
    assert_memory_lives(CPU)


@pytest.mark.parametrize("kind", ["ray_dist", "calib"])
def test_no_points_are_tensors_too(kind: str) -> None:
    rebuilt = tensors(make_case(kind, 0), CPU)
    assert rebuilt["Xf"].shape == (0, 3)
    assert rebuilt["T_WCf"].shape == (1, 8)


# --- on a GPU ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", LAYOUTS)
def test_shipped_layouts_are_rebuilt_on_a_gpu(name: str) -> None:
    assert_rebuilt(shipped(name), torch.device("cuda:0"))


@pytest.mark.gpu
@needs_gpu
@settings(derandomize=True, deadline=None, max_examples=150)
@given(case=layouts())
def test_any_layout_is_rebuilt_on_a_gpu(case: Case) -> None:
    assert_rebuilt(case, torch.device("cuda:0"))


@pytest.mark.gpu
@needs_gpu
def test_gpu_memory_is_shared_and_lives_as_long_as_a_tensor_in_it() -> None:
    assert_writes_show_through(torch.device("cuda:0"))
    assert_memory_lives(torch.device("cuda:0"))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", SHIPPED)
def test_the_torch_solver_on_a_gpu_does_what_the_oracle_does(name: str) -> None:
    case, oracle = shipped(name), oracle_of(name)
    problem = PROBLEMS[case.document.kind](**tensors(case, torch.device("cuda:0")))
    solution = pytorch.solve(problem, case.options)
    again = pytorch.solve(problem, case.options)
    assert solution.T_WCf.device.type == "cuda"
    assert solution.status.value == oracle.status
    if name not in (*WITH_POSE, LARGE):
        assert torch.isnan(solution.T_WCf).all()
        return
    on_host = type(solution)(
        solution.status, solution.T_WCf.cpu(), solution.T_CkCf.cpu(), solution.iterations, solution.cost, solution.trace
    )  # fmt: skip
    measured = parity(outcome_of(case, on_host, trace=solution.trace), oracle, case)
    assert measured is not None
    assert exceeded(measured["oracle"]) == []
    assert measured["within"], measured["why"]
    assert measured["first_divergence"] is None
    assert torch.equal(solution.T_WCf, again.T_WCf)
    assert solution.trace == again.trace
