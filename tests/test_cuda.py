"""The fused solver on a GPU: the oracle's pose in every case and layout, the same bits every time, and no waiting unless asked."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_factory import LARGE, REFERENCE, SHIPPED, oracle_of, random_case, run, shipped, with_options

from harness.case import Case
from harness.compare import exceeded, parity
from harness.torch_layout import tensors
from sim3solve import abi, cuda
from sim3solve.cuda_kernels import kernels
from sim3solve.problem import PROBLEMS, ProblemError, RayDist, Solution, Status

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
PATHS = pytest.mark.parametrize("cooperative", [True, False], ids=["one-launch", "many-launches"])
FIXED = settings(derandomize=True, deadline=None, max_examples=125)


def problem_of(case: Case) -> RayDist:
    return PROBLEMS[case.document.kind](**tensors(case, torch.device("cuda:0")))


def solve(case: Case, **more: Any) -> Solution:
    return cuda.solve(problem_of(case), case.options, **more)


def assert_parity(solution: Solution, oracle: Any, case: Case) -> None:
    assert solution.status.value == oracle.status
    if not solution.status.has_pose:
        assert torch.isnan(solution.T_WCf).all() and torch.isnan(solution.T_CkCf).all()
        return
    assert solution.iterations == oracle.iterations
    poses = {name: tuple(getattr(solution, name).double().cpu().ravel().tolist()) for name in ("T_WCf", "T_CkCf")}
    from dataclasses import replace

    measured = parity(replace(oracle, **poses, trace=()), oracle, case)
    assert measured is not None
    assert exceeded(measured["oracle"]) == []
    assert measured["within"], measured["why"]


@PATHS
@pytest.mark.parametrize("name", [*SHIPPED, LARGE] if LARGE not in SHIPPED else SHIPPED)
def test_shipped_cases_end_as_the_oracle_does(name: str, cooperative: bool) -> None:
    assert_parity(solve(shipped(name), cooperative=cooperative), oracle_of(name), shipped(name))


@pytest.mark.parametrize("kind", ["ray_dist", "calib"])
@PATHS
@FIXED
@given(seed=st.integers(0, 2**32), n=st.sampled_from([4, 31, 33, 383, 384, 385, 3000]), outliers=st.sampled_from([0.0, 0.1, 0.3]))
def test_random_problems_have_the_oracles_pose(kind: str, cooperative: bool, seed: int, n: int, outliers: float) -> None:
    case = random_case(kind, seed, n, outliers=outliers if n > 30 else 0.0, pixel_border=-60.0)
    assert_parity(solve(case, cooperative=cooperative), run(REFERENCE, case), case)


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("name", ["real-fr1-desk-0-8-ray", "real-fr1-rpy-4-5-calib", "degenerate-n-33"])
def test_points_that_do_not_fit_on_chip_are_streamed(name: str, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU with room for so few points of a thread, on as few blocks as that leaves several for each."""
    monkeypatch.setattr(kernels(0), "max_kept", kept)
    monkeypatch.setattr(kernels(0), "n_multiprocessors", 8)
    plan, case = cuda.Plan(0), shipped(name)
    out = torch.zeros(24, device="cuda")
    plan.launch(problem_of(case), case.options, result=out.data_ptr())
    result = plan.wait()
    T_WCf, T_CkCf = out[0:8].view(1, 8), out[8:16].view(1, 8)
    assert_parity(Solution(abi.STATUSES[result.status], T_WCf, T_CkCf, result.iterations, result.cost), oracle_of(name), case)
    plan.close()


def test_sixteen_million_points() -> None:
    """The same points over and over weigh alike, so every step is the same as with one of each."""
    case = random_case("ray_dist", 7, 4096)
    few = problem_of(case)
    times = (1 << 24) // 4096
    rows = {name: value.repeat(times, 1) for name, value in vars(few).items() if len(value) == 4096}
    many = cuda.solve(RayDist(**(vars(few) | rows)), case.options)
    one = cuda.solve(few, case.options)
    assert (many.status, many.iterations) == (one.status, one.iterations)
    assert torch.allclose(many.T_CkCf, one.T_CkCf, atol=1e-5)


@PATHS
def test_points_on_a_line_fix_no_pose(cooperative: bool) -> None:
    found = Counter()
    for seed in range(60):
        found[solve(random_case("ray_dist", seed, 3 + 97 * seed, line=True), cooperative=cooperative).status] += 1
    assert found == {Status.NOT_POSITIVE_DEFINITE: 60}


@PATHS
@pytest.mark.parametrize("name", ["real-fr1-desk-0-8-ray", "real-fr1-rpy-4-5-calib", LARGE])
def test_a_hundred_runs_give_the_same_bits(name: str, cooperative: bool) -> None:
    problem, options = problem_of(shipped(name)), shipped(name).options
    runs = {bytes(cuda.solve(problem, options, cooperative=cooperative).T_CkCf.cpu().numpy()) for _ in range(100)}
    assert len(runs) == 1


@PATHS
def test_the_trace_is_the_solves_own(cooperative: bool) -> None:
    case = shipped("real-fr1-desk-0-8-ray")
    seen: list[Any] = []
    solution = solve(case, observe=lambda k, iteration: seen.append((k, iteration)), cooperative=cooperative)
    assert [k for k, _ in seen] == list(range(solution.iterations))
    assert solution.trace == tuple(iteration for _, iteration in seen)
    assert solution.trace[-1].cost == solution.cost
    assert solution.trace[-1].T_CkCf == tuple(solution.T_CkCf.cpu().ravel().tolist())
    for mine, theirs in zip(solution.trace, oracle_of(case.id).trace, strict=True):
        assert math.isclose(mine.cost, theirs.cost, rel_tol=1e-4) and mine.n_matches == theirs.n_matches


@PATHS
def test_iterations_run_out(cooperative: bool) -> None:
    case = with_options(random_case("ray_dist", 2), max_iters=2)
    solution = solve(case, cooperative=cooperative)
    assert (solution.status, solution.iterations) == (Status.MAX_ITERATIONS, 2)


def test_a_plan_waits_only_when_asked_and_runs_in_a_graph() -> None:
    case = shipped("real-fr1-desk-0-8-ray")
    problem, plan, stream = problem_of(case), cuda.Plan(0), torch.cuda.Stream()
    out = torch.zeros(20, device="cuda")
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(3):
            plan.launch(problem, case.options, stream=torch.cuda.current_stream().cuda_stream, result=out.data_ptr())
    assert not out.any()  # captured, not run
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out[8:16], solve(case).T_CkCf[0])
    plan.close()


def test_the_callers_stream_is_used() -> None:
    """Inputs written on a side stream just before are seen, because the solve runs behind them there."""
    case = shipped("real-fr1-desk-0-8-ray")
    problem, expected = problem_of(case), solve(case).T_CkCf
    stream = torch.cuda.Stream()
    fields = {name: torch.zeros_like(value) for name, value in vars(problem).items()}
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        for name, value in vars(problem).items():
            fields[name].copy_(value)
        solution = cuda.solve(type(problem)(**fields), case.options)
    assert torch.equal(solution.T_CkCf, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_copied_first(dtype: torch.dtype) -> None:
    problem = problem_of(random_case("ray_dist", 5))
    other = {name: value.to(dtype) if value.is_floating_point() else value for name, value in vars(problem).items()}
    rounded = {name: value.float() if value.is_floating_point() else value for name, value in other.items()}
    assert torch.equal(cuda.solve(RayDist(**other)).T_CkCf, cuda.solve(RayDist(**rounded)).T_CkCf)


def test_inputs_elsewhere_are_refused_by_name() -> None:
    fields = vars(problem_of(random_case("ray_dist", 5)))
    with pytest.raises(ProblemError, match=r"^Qk: is on cpu"):
        cuda.solve(RayDist(**(fields | {"Qk": fields["Qk"].cpu()})))
    with pytest.raises(ProblemError, match=r"^Xf: is on cpu"):
        cuda.solve(RayDist(**{name: value.cpu() for name, value in fields.items()}))


def test_little_memory_is_taken() -> None:
    problem = problem_of(shipped("real-fr1-desk-0-8-ray"))
    cuda.solve(problem)
    torch.cuda.synchronize()
    before, _ = torch.cuda.mem_get_info()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    cuda.solve(problem)
    after, _ = torch.cuda.mem_get_info()
    assert before - after < 2 << 20
    assert torch.cuda.max_memory_allocated() - held < 2 << 20


def test_masked_rows_may_hold_anything() -> None:
    case = shipped("degenerate-nan-invalid")
    problem = problem_of(case)
    clean = {
        name: torch.nan_to_num(value, nan=1.0) if value.is_floating_point() else value for name, value in vars(problem).items()
    }
    assert torch.equal(cuda.solve(problem, case.options).T_CkCf, cuda.solve(type(problem)(**clean), case.options).T_CkCf)
    assert np.isnan(case.values["Xf"]).any() or np.isnan(case.values["Xk"]).any()
