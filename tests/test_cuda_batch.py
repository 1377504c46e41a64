"""Many problems in one launch: each gets its own answer, whatever its size and its neighbours."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch
from problem_factory import SHIPPED, oracle_of, random_case, shipped, with_options
from test_cuda import PATHS, assert_parity, problem_of

import sim3solve
from sim3solve import cuda
from sim3solve.cuda_kernels import BLOCK, CLUSTER, Kernels
from sim3solve.problem import ProblemError, Status

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def kernels_of(n_multiprocessors: int, max_kept: int, max_clusters: int) -> Any:
    """The layout's view of a GPU."""
    made = Kernels.__new__(Kernels)
    made.n_multiprocessors, made.max_kept, made.max_clusters = n_multiprocessors, max_kept, max_clusters
    return made


@pytest.mark.parametrize(
    ("multiprocessors", "max_kept", "clusters"), [(132, 17, 15), (16, 3, 0), (1, 1, 0), (48, 8, 6), (20, 0, 0)]
)
def test_a_launch_never_has_more_blocks_than_can_run_at_once(multiprocessors: int, max_kept: int, clusters: int) -> None:
    on = kernels_of(multiprocessors, max_kept, clusters)
    for n in (0, 1, BLOCK, BLOCK + 1, 3072, 49152, 196608, 1 << 24):
        for count in (1, 2, 7, 64, 1000):
            grid = on.grid(n, count)
            assert 1 <= grid.blocks * grid.groups <= multiprocessors
            assert grid.blocks % grid.cluster == 0 and grid.groups <= count
            assert 0 <= grid.kept <= max_kept
            assert grid.cluster in (1, CLUSTER) and (grid.cluster == 1 or grid.blocks // CLUSTER <= clusters)
            assert (grid.blocks - 1) * BLOCK < max(n, 1)  # no block without a point


def test_many_small_problems_run_side_by_side_and_large_ones_stay_on_chip() -> None:
    on = kernels_of(132, 17, 15)
    assert on.grid(3072, 64).groups == 64
    large = on.grid(196608, 64)
    assert large.groups > 1 and large.kept * BLOCK * large.blocks >= 196608


@pytest.mark.gpu
@needs_gpu
@PATHS
@pytest.mark.parametrize("kind", ["ray_dist", "calib"])
def test_every_problem_of_a_batch_ends_as_the_oracle_does(kind: str, cooperative: bool) -> None:
    names = [name for name in SHIPPED if shipped(name).document.kind == kind]
    options = Counter(shipped(name).options for name in names).most_common(1)[0][0]
    names = [name for name in names if shipped(name).options == options]
    random.Random(3).shuffle(names)
    found = cuda.solve_batch([problem_of(shipped(name)) for name in names], options, cooperative=cooperative)
    assert len(names) > 3
    for name, solution in zip(names, found, strict=True):
        assert_parity(solution, oracle_of(name), shipped(name))


@pytest.mark.gpu
@needs_gpu
@PATHS
def test_the_same_batch_gives_the_same_bits(cooperative: bool) -> None:
    problems = [problem_of(random_case("ray_dist", seed, 4 + 131 * seed)) for seed in range(40)]
    runs = {b"".join(bytes(s.T_CkCf.cpu().numpy()) for s in cuda.solve_batch(problems, cooperative=cooperative)) for _ in range(25)}
    assert len(runs) == 1


@pytest.mark.gpu
@needs_gpu
def test_a_batch_among_other_launches_is_not_disturbed() -> None:
    """All use the same memory one after the other, cut up differently each time."""
    large = problem_of(random_case("ray_dist", 1, 60_000))
    small = [problem_of(random_case("ray_dist", seed, 500)) for seed in range(30)]
    plan = cuda.Plan(0, problems=64)

    def pose(problem: Any) -> bytes:
        plan.launch(problem)
        return bytes(plan.wait().T_CkCf)

    def poses(problems: list[Any]) -> list[bytes]:
        plan.launch_batch(problems)
        plan.wait()
        return [bytes(plan.host_results[i].T_CkCf) for i in range(len(problems))]

    expected = pose(large), poses(small), poses(small[:7])
    for _ in range(50):
        assert (pose(large), poses(small), poses(small[:7])) == expected
    plan.close()


@pytest.mark.gpu
@needs_gpu
def test_problems_of_a_batch_fail_each_for_itself() -> None:
    cases = [
        random_case("ray_dist", 1, 300),
        shipped("degenerate-nan-valid"),
        random_case("ray_dist", 2, 2),
        random_case("ray_dist", 3, 900),
    ]
    found = cuda.solve_batch([problem_of(case) for case in cases])
    assert [s.status for s in found] == [Status.CONVERGED, Status.NON_FINITE, Status.TOO_FEW_MATCHES, Status.CONVERGED]
    assert torch.isnan(found[1].T_WCf).all() and torch.isfinite(found[3].T_WCf).all()


@pytest.mark.gpu
@needs_gpu
def test_what_a_batch_cannot_take_is_named() -> None:
    good, other = problem_of(random_case("ray_dist", 1, 300)), problem_of(random_case("calib", 1, 300))
    with pytest.raises(ProblemError, match=r"^problems\[1\]: is calib, problems\[0\] is ray_dist"):
        cuda.solve_batch([good, other])
    elsewhere = type(good)(**(vars(good) | {"Qk": good.Qk.cpu()}))
    with pytest.raises(ProblemError, match=r"^problems\[2\]\.Qk: is on cpu"):
        cuda.solve_batch([good, good, elsewhere])
    with pytest.raises(ProblemError, match=r"^problems: 1000 with up to 10000 iterations"):
        cuda.solve_batch([good] * 1000, with_options(random_case("ray_dist", 1, 300), max_iters=10_000).options)
    assert cuda.solve_batch([]) == ()


def test_a_batch_on_the_cpu_is_solved_one_by_one() -> None:
    from sim3solve.problem import RayDist

    problems = [RayDist(**random_case("ray_dist", seed, 200).values) for seed in range(3)]
    for alone, together in zip(map(sim3solve.solve, problems), sim3solve.solve_batch(problems), strict=True):
        assert alone.T_CkCf.tobytes() == together.T_CkCf.tobytes()
