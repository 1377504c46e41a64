"""Time per solve on the CPU: ``python benchmarks/cpu.py [--repeats 20] [--points 3072 49152]``.

The native solver with one and two threads beside the solver in pure PyTorch and a plain PyTorch form of upstream's algorithm, on
the same ray-and-distance problems under the same stop rule. Prints a table of medians; figures worth keeping go into
benchmarks/RESULTS.md with date and machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from sim3solve import native, pytorch, reference
from sim3solve.problem import Options, RayDist, Solution, Status

POINTS = (3072, 12288, 49152, 196608)


def problem(n: int, seed: int = 0) -> RayDist:
    """Points 1 to 5 m away seen from two poses 0.1 m and 3 degrees apart, with noise, a tenth outliers, a tenth invalid."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 5, n)
    Xk = np.stack([rng.uniform(-0.6, 0.6, n) * depth, rng.uniform(-0.45, 0.45, n) * depth, depth], 1)
    truth = reference.exp(np.array([0.08, -0.03, 0.05, 0.02, -0.04, 0.02, 0.02]))
    Xf = reference.act(reference.inverse(truth), Xk) + 0.003 * rng.normal(size=(n, 3))
    wrong = rng.random(n) < 0.1
    Xf[wrong] += rng.normal(size=(int(wrong.sum()), 3))
    T_WCk = reference.exp(np.array([1.0, 0.5, -0.3, 0.4, 0.2, -0.1, 0.0]))
    arrays = {"Xf": Xf, "Xk": Xk, "T_WCf": T_WCk[None], "T_WCk": T_WCk[None], "Qk": rng.uniform(0.5, 9, (n, 1))}
    tensors = {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}
    return RayDist(**tensors, valid_opt=torch.from_numpy(rng.random((n, 1)) < 0.9))


def dense(problem: RayDist, options: Options) -> Solution:
    """Upstream's algorithm: the point's Jacobian by the chain rule as (N,4,7), whitened, then H = A^T A, all in float32."""
    sigma = torch.tensor([options.sigma_ray] * 3 + [options.sigma_dist])
    sqrt_info = problem.valid_opt * problem.Qk.sqrt() / sigma  # (N,4)
    target = rays_and_distances(problem.Xk)[0]
    T_WCk, T_WCf = problem.T_WCk[0], problem.T_WCf[0]
    T_CkCf = pytorch.compose(pytorch.inverse(T_WCk), T_WCf)
    old_cost, cost, status = float("inf"), float("nan"), Status.MAX_ITERATIONS
    iterations = 0
    for _ in range(options.max_iters):
        Y = pytorch.act(T_CkCf[None], problem.Xf)
        measured, d_measured = rays_and_distances(Y)
        J = -d_measured @ d_act(Y)
        r = target - measured
        whitened = sqrt_info * r
        weight = torch.where(whitened.abs() < options.huber, 1.0, options.huber / whitened.abs())
        root = weight.sqrt() * sqrt_info
        A, b = (root[:, :, None] * J).view(-1, 7), (root * r).view(-1, 1)
        H, g = A.T @ A, -(A.T @ b)
        cost = 0.5 * float((b.T @ b).item())
        delta = torch.cholesky_solve(g, torch.linalg.cholesky(H))[:, 0]
        T_CkCf = pytorch.compose(pytorch.exp(delta), T_CkCf)
        iterations += 1
        if options.stops(old_cost, cost, float(delta.norm().item())):
            status = Status.CONVERGED
            break
        old_cost = cost
    return Solution(status, pytorch.compose(T_WCk, T_CkCf)[None], T_CkCf[None], iterations, cost)


def rays_and_distances(X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,4) unit ray and distance, and their derivative by the point (N,4,3)."""
    d = X.norm(dim=1, keepdim=True)
    n = X / d
    d_ray = (torch.eye(3) - n[:, :, None] * n[:, None, :]) / d[:, :, None]
    return torch.cat([n, d], 1), torch.cat([d_ray, n[:, None, :]], 1)


def d_act(Y: torch.Tensor) -> torch.Tensor:
    """d(Exp(delta) Y)/d delta at zero (N,3,7): [I, -[Y]x, Y]."""
    J = torch.zeros(len(Y), 3, 7)
    J[:, [0, 1, 2], [0, 1, 2]] = 1.0
    J[:, 0, 4], J[:, 0, 5] = Y[:, 2], -Y[:, 1]
    J[:, 1, 3], J[:, 1, 5] = -Y[:, 2], Y[:, 0]
    J[:, 2, 3], J[:, 2, 4] = Y[:, 1], -Y[:, 0]
    J[:, :, 6] = Y
    return J


SOLVERS: dict[str, Callable[[RayDist, Options], Solution]] = {
    "upstream's algorithm in PyTorch": dense,
    "sim3solve.pytorch": pytorch.solve,
    "native, 1 thread": lambda problem, options: native.solve(problem, options, threads=1),
    "native, 2 threads": lambda problem, options: native.solve(problem, options, threads=2),
}


def median_ms(solve: Callable[[], object], repeats: int) -> float:
    for _ in range(3):
        solve()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        solve()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--points", type=int, nargs="+", default=POINTS)
    given = parser.parse_args()
    torch.set_num_threads(2)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} with 2 threads, median of {given.repeats}")
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    print("| N | solver | iterations | ms per solve | times faster than upstream's algorithm | degrees from the oracle |")
    print("|---|---|---|---|---|---|")
    for n in given.points:
        scene = problem(n)
        oracle = reference.solve(scene)
        baseline = 0.0
        with torch.no_grad():
            for name, solve in SOLVERS.items():
                solution = solve(scene, Options())
                ms = median_ms(lambda solve=solve, scene=scene: solve(scene, Options()), given.repeats)  # type: ignore[misc]
                baseline = baseline or ms
                print(
                    f"| {n} | {name} | {solution.iterations} | {ms:.2f} | {baseline / ms:.1f} | {degrees(solution, oracle):.1e} |"
                )


def degrees(a: Solution, b: Solution) -> float:
    """The angle between two relative rotations."""
    qa, qb = (np.asarray(s.T_CkCf, dtype=np.float64)[0, 3:7] for s in (a, b))
    sine = np.linalg.norm(np.sign(qa @ qb) * qa / np.linalg.norm(qa) - qb / np.linalg.norm(qb))
    return float(np.degrees(2 * sine))


if __name__ == "__main__":
    main()
