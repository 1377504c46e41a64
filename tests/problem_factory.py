"""Random pose problems of known truth, the shipped cases, and a solver run on a case in this process as a child runs it."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_factory import make_case

from harness import layout, solvers
from harness.case import Case, as_float
from harness.casefile import read_case
from harness.compare import exceeded, parity, pose_matrix
from harness.errors import SolverUnavailable
from harness.outcome import IterationRecord, Kind, Outcome
from sim3solve import reference
from sim3solve.problem import PROBLEMS, Iteration, Options, RayDist, Solution, Status

CASES = Path(__file__).parents[1] / "cases"
SHIPPED = tuple(sorted(file.parent.name for file in CASES.glob("*/case.json") if not file.parent.name.startswith("op-")))
LARGE = "degenerate-n-1000003"
IMAGE = (384, 512)
K = np.array([[400.0, 0, 256], [0, 400, 192], [0, 0, 1]])
REFERENCE = solvers.reference()


def __getattr__(name: str) -> Any:
    """TORCH, made when a test asks for it: where there is no torch, that test is skipped, and the others are run."""
    if name != "TORCH":
        raise AttributeError(name)
    try:
        return solvers.torch_float32()
    except SolverUnavailable as missing:
        pytest.skip(str(missing), allow_module_level=True)


@cache
def shipped(name: str) -> Case:
    return read_case(CASES / name)


def has_pose(name: str) -> bool:
    return any(status.has_pose for status in shipped(name).document.expect.statuses)


WITH_POSE = tuple(name for name in SHIPPED if has_pose(name) and name != LARGE)


def problem_of(case: Case) -> RayDist:
    """The case's problem as NumPy arrays in the recorded layout."""
    return PROBLEMS[case.document.kind](**layout.arrays(case))


def random_case(
    kind: str,
    seed: int,
    n: int = 300,
    *,
    outliers: float = 0.1,
    line: bool = False,
    float_type: str = "float32",
    world: float = 3.0,
    **options: Any,
) -> Case:
    """Points 1 to 5 m away seen from two poses, with noise, outliers, confidences, and a tenth of rows invalid and full of bits.

    ``line`` puts all points on one line, without noise, all valid. ``world`` is how far out the keyframe stands, in metres.
    """
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 5, n)
    Xk = np.stack([rng.uniform(-0.5, 0.5, n) * depth, rng.uniform(-0.4, 0.4, n) * depth, depth], 1)
    if line:
        foot, direction = Xk[:1].copy() if n else np.zeros((1, 3)), rng.normal(size=3)
        Xk = foot + np.linspace(-0.3, 0.3, n)[:, None] * direction / np.linalg.norm(direction)
    truth = reference.exp(np.concatenate([rng.uniform(-0.3, 0.3, 3), rng.uniform(-0.15, 0.15, 3), rng.uniform(-0.2, 0.2, 1)]))
    Xf = reference.act(reference.inverse(truth), Xk)
    if not line:
        Xk, Xf = Xk * (1 + 0.003 * rng.normal(size=(n, 1))), Xf + 0.003 * rng.normal(size=(n, 3))
        wrong = rng.random(n) < outliers
        Xf[wrong] += rng.normal(size=(int(wrong.sum()), 3))
    T_WCk = reference.exp(np.concatenate([rng.uniform(-world, world, 3), rng.uniform(-1, 1, 3), rng.uniform(-0.3, 0.3, 1)]))
    T_WCf = reference.compose(reference.compose(T_WCk, truth), reference.exp(0.03 * rng.normal(size=7)))
    values: dict[str, np.ndarray] = {
        "Xf": Xf, "Xk": Xk, "T_WCf": T_WCf[None], "T_WCk": T_WCk[None], "Qk": rng.uniform(0.5, 9, (n, 1)),
        "valid_opt": (rng.random((n, 1)) < 0.9) | line,
    }  # fmt: skip
    if kind == "calib":
        with np.errstate(all="ignore"):
            uv = K[:2, :2] @ (Xk[:, :2] / Xk[:, 2:]).T + K[:2, 2:]
            values["meas_k"] = np.column_stack([uv.T + rng.normal(size=(n, 2)) * 0.3, np.log(Xk[:, 2])])
        values |= {"valid_meas_k": Xk[:, 2:] > 0.1, "K": K}
        options = {"img_size": IMAGE} | options
    values = {name: a if a.dtype == bool else a.astype(float_type) for name, a in values.items()}
    values = poisoned(values, lambda size: rng.choice([np.nan, np.inf, -np.inf, 0.0, 1e30], size))
    return make_case(kind, n, float_type=float_type, values=values, options=options)


def poisoned(values: dict[str, np.ndarray], draw: Any) -> dict[str, np.ndarray]:
    """The same with every invalid row overwritten by what ``draw(shape)`` gives."""
    valid = values["valid_opt"][:, 0] & (values["valid_meas_k"][:, 0] if "valid_meas_k" in values else True)
    changed = {name: a.copy() for name, a in values.items()}
    for name in {"Xf", "Xk", "Qk", "meas_k"} & set(values):
        rows = changed[name][~valid]
        with np.errstate(over="ignore"):  # float16 has no 1e30
            changed[name][~valid] = np.asarray(draw(rows.shape)).astype(rows.dtype)
    return changed


def with_options(case: Case, **changes: Any) -> Case:
    document = case.document.model_copy(update={"options": case.document.options.model_copy(update=changes)})
    return dataclasses.replace(case, document=document)


def arrays_for(solver: solvers.Solver, case: Case) -> dict[str, Any]:
    if solver.arrays == "torch":
        import torch

        from harness.torch_layout import tensors

        return tensors(case, torch.device("cpu"))
    specs = case.document.tensors
    return {
        name: as_float(a, specs[name].dtype) if specs[name].dtype == "bfloat16" else a for name, a in layout.arrays(case).items()
    }


def run(solver: solvers.Solver, case: Case) -> Outcome:
    """Solve, with what ``observe`` saw as the trace; the oracle's yardsticks included."""
    trace: list[Iteration] = []
    problem = PROBLEMS[case.document.kind](**arrays_for(solver, case))
    solution: Solution = solver.solve(problem, case.options, lambda k, it: trace.append(it))
    values = solver.yardsticks(problem, case.options, solution) if solver.yardsticks else {}
    return outcome_of(case, solution, "reference" if solver.yardsticks else "torch", trace=trace, values=values)


def outcome_of(case: Case, solution: Solution, solver: str = "torch", trace: Any = (), **fields: Any) -> Outcome:
    kind = Kind.OK if solution.status.has_pose else Kind.SOLVER_STATUS
    T_WCf, T_CkCf = (tuple(float(x) for x in np.asarray(T).ravel()) for T in (solution.T_WCf, solution.T_CkCf))
    records = tuple(IterationRecord(it.cost, it.delta_norm, it.n_matches, it.T_CkCf) for it in trace)
    return Outcome(
        case=case.id, solver=solver, tool="none", kind=kind, stage="written", seconds=0.0, repeat="", status=solution.status.value,
        iterations=solution.iterations, cost=solution.cost, T_WCf=T_WCf, T_CkCf=T_CkCf, trace=records, **fields,
    )  # fmt: skip


@cache
def oracle_of(name: str) -> Outcome:
    return run(REFERENCE, shipped(name))


def median_depth(case: Case) -> float:
    return float(np.median(np.linalg.norm(case.as_float("Xk")[case.values["valid_opt"][:, 0]], axis=1)))


def optimum_of(case: Case) -> tuple[Solution, reference.Normal]:
    """The float64 optimum and the information there."""
    problem = problem_of(case)
    best = reference.optimum(problem, case.options, reference.solve(problem, case.options))
    assert best.status is Status.CONVERGED
    return best, reference.information(problem, case.options, best.T_CkCf)


def independent_residuals(case: Case, options: Options, seen_at: np.ndarray) -> tuple[np.ndarray, Any]:
    """x0 (7,) and f(x): whitened residuals for x = [rotation vector, translation, log scale], written from the equations.

    Shares no code with a solver. Calibrated points are those that the pose ``seen_at`` (8,) brings into the image, all along.
    """
    from scipy.spatial.transform import Rotation

    v = {name: case.as_float(name) for name in case.values}
    keep = v["valid_opt"][:, 0] & (v["valid_meas_k"][:, 0] if "valid_meas_k" in v else True)
    X, sqrt_Q = v["Xf"][keep], np.sqrt(v["Qk"][keep])

    def move(x: np.ndarray) -> np.ndarray:
        return np.exp(x[6]) * Rotation.from_rotvec(x[:3]).apply(X) + x[3:6]

    if case.document.kind == "ray_dist":
        target = v["Xk"][keep]
        d_k = np.linalg.norm(target, axis=1)

        def residuals(x: np.ndarray) -> np.ndarray:
            Y = move(x)
            d = np.linalg.norm(Y, axis=1)
            ray = (target / d_k[:, None] - Y / d[:, None]) / options.sigma_ray
            return (sqrt_Q * np.column_stack([ray, (d_k - d) / options.sigma_dist])).ravel()
    else:
        assert options.img_size is not None
        M, (height, width), b = pose_matrix(seen_at), options.img_size, options.pixel_border
        h = (X @ M[:3, :3].T + M[:3, 3]) @ v["K"].T
        uv = h[:, :2] / h[:, 2:]
        seen = (h[:, 2] > options.depth_eps) & (uv > b).all(1) & (uv < np.array([width, height]) - 1 - b).all(1)
        X, sqrt_Q, target = X[seen], sqrt_Q[seen], v["meas_k"][keep][seen]

        def residuals(x: np.ndarray) -> np.ndarray:
            h = move(x) @ v["K"].T
            pixel = (target[:, :2] - h[:, :2] / h[:, 2:]) / options.sigma_pixel
            return (sqrt_Q * np.column_stack([pixel, (target[:, 2] - np.log(h[:, 2])) / options.sigma_depth])).ravel()

    M0 = np.linalg.inv(pose_matrix(v["T_WCk"][0])) @ pose_matrix(v["T_WCf"][0])
    scale = np.cbrt(np.linalg.det(M0[:3, :3]))
    x0 = np.concatenate([Rotation.from_matrix(M0[:3, :3] / scale).as_rotvec(), M0[:3, 3], [math.log(scale)]])
    return x0, residuals


def pose_of(x: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return np.concatenate([x[3:6], Rotation.from_rotvec(x[:3]).as_quat(), [math.exp(x[6])]])


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
