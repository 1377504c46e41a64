"""A tiny problem of known truth, solved by one of sim3solve's own backends and by the reference."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from harness.compare import exceeded, pose_error
from sim3solve import Options, RayDist, Solution, build, compiler, reference
from sim3solve import solve as solve_by

POINTS = 96
TRUTH = (0.06, -0.04, 0.03, 0.02, -0.03, 0.01, 0.05)


def native() -> dict[str, Any]:
    """What compiler there is, whether it makes the library, and the solve."""
    found = compiler.find()
    from sim3solve import native as cpu

    start = time.perf_counter()
    cpu.library()
    seconds = time.perf_counter() - start
    about = {"compiler": found.command[-1], "style": found.style, "version": (found.version.strip().splitlines() or ["?"])[0]}
    return about | {"build_seconds": seconds, "cache": str(build.cache_folder())} | solve("native", "cpu")


def solve(backend: str, device: str) -> dict[str, Any]:
    """Status, distance from the reference's pose and the limits of ``harness.compare`` exceeded; the reference's from the truth."""
    problem, options, T_true = _problem(), Options(), reference.exp(np.array(TRUTH))
    oracle = reference.solve(problem, options)
    start = time.perf_counter()
    mine = solve_by(_for(backend, device, problem), options, backend)  # type: ignore[arg-type]
    T_mine = _numbers(mine)
    seconds = time.perf_counter() - start
    T_oracle = np.asarray(oracle.T_CkCf).ravel()
    H = reference.information(problem, options, T_oracle).H
    error = pose_error(T_mine, T_oracle.tolist(), 2.0, H)
    from_truth = pose_error(T_oracle.tolist(), T_true.tolist(), 2.0, H)
    return {
        "status": mine.status.value, "oracle_status": oracle.status.value, "seconds": seconds,
        "distance": {name: value if math.isfinite(value) else None for name, value in error.items()},
        "exceeded": exceeded(error), "oracle_exceeded": exceeded(from_truth),
    }  # fmt: skip


def _problem() -> RayDist:
    """POINTS points 1 to 3 m away, seen without noise from two poses that differ by ``exp(TRUTH)``."""
    k = np.arange(POINTS)
    depth = 2 + np.sin(1.7 * k)
    Xk = np.stack([0.5 * np.sin(2.3 * k) * depth, 0.4 * np.cos(3.1 * k) * depth, depth], 1)
    T_WCk = reference.exp(np.array([0.3, -0.2, 0.1, 0.2, 0.1, -0.3, 0.0]))
    Xf = np.stack([reference.act(reference.inverse(reference.exp(np.array(TRUTH))), X) for X in Xk])
    arrays = {"Xf": Xf, "Xk": Xk, "T_WCf": T_WCk[None], "T_WCk": T_WCk[None], "Qk": np.full((POINTS, 1), 4.0)}
    return RayDist(**{name: a.astype(np.float32) for name, a in arrays.items()}, valid_opt=np.ones((POINTS, 1), dtype=bool))


def _for(backend: str, device: str, problem: RayDist) -> RayDist:
    if backend == "native":
        return problem
    import torch

    names = ("Xf", "Xk", "T_WCf", "T_WCk", "Qk", "valid_opt")
    return RayDist(**{name: torch.from_numpy(getattr(problem, name)).to(device) for name in names})


def _numbers(solution: Solution) -> list[float]:
    T = solution.T_CkCf
    return [float(x) for x in (T.reshape(-1).tolist() if hasattr(T, "detach") else np.asarray(T).ravel())]
