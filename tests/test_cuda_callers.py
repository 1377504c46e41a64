"""Whoever calls: threads, streams and GPUs at once, arrays that are no torch tensors, and a plan that is used for very long."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
import pytest
import torch
from problem_factory import random_case, shipped
from test_cuda import problem_of

import sim3solve
from sim3solve import abi, cuda, cuda_inputs, driver
from sim3solve.cuda_kernels import kernels
from sim3solve.problem import PROBLEMS, Options, ProblemError, RayDist

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
gpu = pytest.mark.gpu
NAME = "real-fr1-desk-0-8-ray"


class Shown:
    """A tensor on a GPU as other libraries show theirs."""

    def __init__(self, tensor: torch.Tensor, **changes: Any) -> None:
        self._tensor = tensor
        self.shape, self.dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        self.__cuda_array_interface__ = dict(tensor.__cuda_array_interface__) | changes


@pytest.mark.parametrize("kind", ["ray_dist", "calib"])
def test_a_problem_is_packed_as_the_kernels_read_it(kind: str) -> None:
    """On the CPU, whose tensors say that they are on device -1: only addresses and strides matter here."""
    case = random_case(kind, 3, 50)
    fields = {name: torch.from_numpy(value.copy()) for name, value in case.values.items()}
    wide = torch.zeros(50, 7)
    wide[:, 2:5] = fields["Xf"]
    fields["Xf"] = wide[:, 2:5]
    problem = PROBLEMS[kind](**fields)
    packed = (ctypes.c_char * (8 + ctypes.sizeof(abi.ProblemStruct)))()
    kept = cuda_inputs.pack(problem, packed, 8, -1, cuda_inputs.option_bytes(case.options, kind))
    at = {name: (t.data_ptr(), t.stride()) for name, t in fields.items()}
    assert bytes(packed)[8:] == bytes(abi.problem_struct(kind, 50, at, case.options))
    assert kept == [] and at["Xf"][1] == (7, 1)


def test_copies_are_kept_until_the_solve_is_done() -> None:
    fields = {name: torch.from_numpy(value.copy()) for name, value in random_case("ray_dist", 3, 50).values.items()}
    fields |= {"Xf": fields["Xf"].double(), "T_WCf": torch.zeros(1, 16)[:, ::2]}
    packed = (ctypes.c_char * ctypes.sizeof(abi.ProblemStruct))()
    kept = cuda_inputs.pack(RayDist(**fields), packed, 0, -1, bytes(48))
    assert [tuple(t.shape) for t in kept] == [(50, 3), (1, 8)]
    assert all(t.dtype is torch.float32 and t.is_contiguous() for t in kept)


def test_without_options_for_an_image_the_calibrated_problem_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"^img_size"):
        cuda_inputs.option_bytes(Options(), "calib")


@gpu
@needs_gpu
def test_threads_and_streams_do_not_disturb_each_other() -> None:
    problems = [problem_of(random_case("ray_dist", seed, 2000 + 3000 * seed)) for seed in range(4)]
    expected = [bytes(cuda.solve(problem).T_CkCf.cpu().numpy()) for problem in problems]
    torch.cuda.synchronize()
    wrong: list[str] = []

    def work(mine: int) -> None:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for k in range(60):
                which = (mine + k) % len(problems)
                if bytes(cuda.solve(problems[which]).T_CkCf.cpu().numpy()) != expected[which]:
                    wrong.append(f"thread {mine}, solve {k}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
def test_the_second_gpu_is_used_where_the_inputs_are_there() -> None:
    case = shipped(NAME)
    first = cuda.solve(problem_of(case), case.options)
    fields = {name: value.to("cuda:1") for name, value in vars(problem_of(case)).items()}
    for current in (0, 1):
        with torch.cuda.device(current):
            second = cuda.solve(RayDist(**fields), case.options)
            assert second.T_CkCf.device == torch.device("cuda:1")
            assert torch.equal(first.T_CkCf.cpu(), second.T_CkCf.cpu())
            assert torch.cuda.current_device() == current
            batch = cuda.solve_batch([RayDist(**fields)] * 5, case.options)
            assert {one.T_CkCf.device for one in batch} == {torch.device("cuda:1")}
    with pytest.raises(ProblemError, match=r"^Qk: is on cuda:0, Xf is on cuda:1"):
        cuda.solve(RayDist(**(fields | {"Qk": fields["Qk"].to("cuda:0")})), case.options)


@gpu
@needs_gpu
def test_arrays_of_other_libraries_are_read_where_they_lie() -> None:
    case = shipped(NAME)
    problem = problem_of(case)
    expected = cuda.solve(problem, case.options)
    shown = RayDist(**{name: Shown(value) for name, value in vars(problem).items()})
    torch.cuda.synchronize()
    for solution in (cuda.solve(shown, case.options), sim3solve.solve(shown, case.options)):
        assert isinstance(solution.T_CkCf, np.ndarray) and solution.T_CkCf.shape == (1, 8)
        assert np.array_equal(solution.T_CkCf, expected.T_CkCf.cpu().numpy())
    batch = cuda.solve_batch([shown] * 3, case.options)
    assert np.allclose(batch[2].T_WCf, expected.T_WCf.cpu().numpy(), atol=1e-6)


@gpu
@needs_gpu
def test_arrays_that_cannot_be_read_are_refused_by_name() -> None:
    problem = problem_of(random_case("ray_dist", 1, 100))
    shown = {name: Shown(value) for name, value in vars(problem).items()}
    with pytest.raises(ProblemError, match=r"^Qk: has type <f8"):
        cuda.solve(RayDist(**(shown | {"Qk": Shown(problem.Qk.double())})))
    with pytest.raises(ProblemError, match=r"^Xk: has strides of \(13, 4\) bytes"):
        cuda.solve(RayDist(**(shown | {"Xk": Shown(problem.Xk, strides=(13, 4))})))
    with pytest.raises(ProblemError, match=r"^Xk: is a ndarray"):
        cuda.solve(RayDist(**(shown | {"Xk": np.zeros((100, 3), np.float32)})))


@gpu
@needs_gpu
def test_tags_that_run_out_start_again() -> None:
    """A plan counts its rounds for ever; once in eight million the count starts anew, and nothing old may be taken for new then."""
    problem = problem_of(random_case("ray_dist", 2, 40_000))
    plan = cuda.Plan(0)

    def solve() -> bytes:
        plan.launch(problem)
        return bytes(plan.wait().T_CkCf)

    expected = solve()
    with driver.Current(kernels(0).context):
        near_the_end = ctypes.c_uint32((1 << 23) - 6)
        torch.cuda.synchronize()
        driver.call("cuMemcpyHtoD_v2", plan._device["exchange"], ctypes.addressof(near_the_end), 4)
    assert [solve() for _ in range(20)] == [expected] * 20
    torch.cuda.synchronize()
    tag = ctypes.c_uint32()
    with driver.Current(kernels(0).context):
        driver.call("cuMemcpyDtoH_v2", ctypes.addressof(tag), plan._device["exchange"], 4)
    assert tag.value < 1000
    plan.close()
