"""Why does a trace leave the oracle's? Which wrong update turns each of a solver's poses into its next.

At every one of the solver's own poses T the step delta that was due is computed anew, so errors do not add up along the trace and
each step is a test by itself. The right update gives Exp(delta) T. Each wrong one that people write gives another pose; one that
meets the solver's next pose at every step from the first wrong one on, while the right one misses, is the explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.case import Case
from harness.compare import is_similarity, log, pose_matrix
from harness.newton_step import Points, median_depth, newton_step, points
from harness.outcome import IterationRecord, Outcome

MEETS = 0.01
"""A hypothesis meets a pose when it is within this share of the step's length; the right update misses one when it is not.

Measured over the shipped cases: right float32 solvers are within 0.0035 on steps longer than ``SHORTEST``.
"""
SHORTEST = 1e-3  # in radians, log scale and parts of the depth; a shorter step is lost in float32
_NOISE = 0.0035
_MOST = 4  # steps looked at


@dataclass(frozen=True)
class Step:
    """One step of a trace: from ``T`` to ``T_next`` (4, 4), with the step due there, and the one that was due before."""

    k: int
    T: np.ndarray
    T_next: np.ndarray
    delta: np.ndarray
    before: np.ndarray | None
    without_huber: np.ndarray | None
    depth: float


@dataclass(frozen=True)
class Explanation:
    """``name`` of the wrong update, met at ``steps`` steps from iteration ``k`` on, at worst within ``off`` of a step's length."""

    name: str
    formula: str
    k: int
    steps: int
    off: float
    right_off: float
    also: tuple[str, ...]

    def __str__(self) -> str:
        steps = "the one step" if self.steps == 1 else f"each of {self.steps} steps"
        text = (
            f"{self.name}: from iteration {self.k} on, {self.formula} gives {steps} to {100 * self.off:.2g} % of its length; "
            f"T <- Exp(delta) T is {100 * self.right_off:.2g} % off"
        )
        return text + (f" (these steps cannot tell it from: {', '.join(self.also)})" if self.also else "")


def explain_trace(case: Case, trace: Sequence[IterationRecord], oracle: Outcome) -> str | None:
    """One clause that names the wrong update behind a trace, or None when the trace is right or no known mistake explains it.

    ``oracle`` is the oracle's outcome on the same case; where it has no trace there is no right step to compare with.
    """
    found = explanation(case, trace) if oracle.trace else None
    return None if found is None else str(found)


def explanation(case: Case, trace: Sequence[IterationRecord]) -> Explanation | None:
    """The same as data."""
    steps = _wrong_steps(case, trace)
    if not steps:
        return None
    scored: list[tuple[float, str, str]] = []
    for name, formula, update in UPDATES:
        off = max(_off(step, update(step)) for step in steps)
        if off <= MEETS:
            scored.append((off, name, formula))
    if not scored:
        return None
    scored.sort(key=lambda item: item[0])
    off, name, formula = scored[0]
    also = tuple(other for near, other, _ in scored[1:] if near <= max(3 * off, _NOISE))
    return Explanation(name, formula, steps[0].k, len(steps), off, max(_off(step, _left(step, step.delta)) for step in steps), also)


def _wrong_steps(case: Case, trace: Sequence[IterationRecord]) -> list[Step]:
    """Steps from the first one that the right update does not explain, as far as they are long enough to tell."""
    found = None if case.document.kind == "op" else points(case)
    start = _start(case)
    if found is None or start is None:
        return []
    steps: list[Step] = []
    T, before = start, None
    for k, record in enumerate(trace):
        if not is_similarity(np.array(record.T_CkCf)):
            break
        step = _step(case, found, k, T, pose_matrix(record.T_CkCf), before)
        if step is None:
            break
        T, before = step.T_next, step.delta
        if _length(step.delta, step.depth) < SHORTEST or (not steps and _off(step, _left(step, step.delta)) <= MEETS):
            continue
        steps.append(step)
        if len(steps) == _MOST:
            break
    return steps


def _step(case: Case, found: Points, k: int, T: np.ndarray, T_next: np.ndarray, before: np.ndarray | None) -> Step | None:
    delta = newton_step(case, found, T)
    if delta is None:
        return None
    return Step(k, T, T_next, delta, before, newton_step(case, found, T, robust=False), median_depth(found, T))


def _start(case: Case) -> np.ndarray | None:
    if case.document.kind == "op":
        return None
    poses = [case.as_float(name).ravel() for name in ("T_WCk", "T_WCf")]
    if not all(is_similarity(T) for T in poses):
        return None
    start: np.ndarray = np.linalg.inv(pose_matrix(poses[0])) @ pose_matrix(poses[1])
    return start


def _off(step: Step, predicted: np.ndarray | None) -> float:
    """How far a prediction is from the solver's next pose, as a share of the step's length."""
    if predicted is None:
        return np.inf
    E = step.T_next @ np.linalg.inv(predicted)
    if not (np.isfinite(E).all() and np.linalg.det(E[:3, :3]) > 0):
        return np.inf
    return _length(log(E), step.depth) / _length(step.delta, step.depth)


def _length(delta: np.ndarray, depth: float) -> float:
    return float(np.linalg.norm(np.concatenate([delta[:3] / depth, delta[3:]])))


# --- updates ---------------------------------------------------------------------------------------------------------------------


def _exp(delta: np.ndarray) -> np.ndarray:
    A = np.zeros((4, 4))
    x, y, z = delta[3:6]
    A[:3, :3] = np.array([[delta[6], -z, y], [z, delta[6], -x], [-y, x, delta[6]]])
    A[:3, 3] = delta[:3]
    import scipy.linalg  # SciPy takes half a second that no --help should

    made: np.ndarray = scipy.linalg.expm(A)
    return made


def _exp_se3(delta: np.ndarray) -> np.ndarray:
    """Exp with SE(3)'s V where Sim(3)'s W belongs: the scale has no part in the translation."""
    E = _exp(delta)
    E[:3, 3] = _exp(np.append(delta[:6], 0.0))[:3, 3]
    return E


def _exp_bare(delta: np.ndarray) -> np.ndarray:
    """Exp with the translation as it is in the tangent."""
    E = _exp(delta)
    E[:3, 3] = delta[:3]
    return E


def _without(delta: np.ndarray, part: slice) -> np.ndarray:
    cut = delta.copy()
    cut[part] = 0
    return cut


def _left(step: Step, delta: np.ndarray | None) -> np.ndarray | None:
    """The right update, with some step."""
    return None if delta is None else _exp(delta) @ step.T


def _apart(step: Step) -> np.ndarray:
    """Translation added, rotation and scale multiplied, as if they were three states."""
    E: np.ndarray = _exp(step.delta) @ step.T
    E[:3, 3] = step.T[:3, 3] + step.delta[:3]
    return E


Update = Callable[[Step], "np.ndarray | None"]
UPDATES: tuple[tuple[str, str, Update], ...] = (
    ("right-multiplied update", "T <- T Exp(delta)", lambda s: s.T @ _exp(s.delta)),
    ("right-multiplied update with SE(3)'s V", "T <- T Exp(delta) with V tau for W tau", lambda s: s.T @ _exp_se3(s.delta)),
    ("SE(3)'s V where Sim(3)'s W belongs", "T <- Exp(delta) T with V tau for W tau", lambda s: _exp_se3(s.delta) @ s.T),
    ("no W at all", "T <- Exp(delta) T with tau itself for W tau", lambda s: _exp_bare(s.delta) @ s.T),
    ("right-multiplied update without W", "T <- T Exp(delta) with tau itself for W tau", lambda s: s.T @ _exp_bare(s.delta)),
    ("translation, rotation and scale updated apart", "t <- t + tau, R <- Exp(omega) R, s <- e^sigma s", _apart),
    ("step with the wrong sign", "T <- Exp(-delta) T", lambda s: _exp(-s.delta) @ s.T),
    ("right-multiplied step with the wrong sign", "T <- T Exp(-delta)", lambda s: s.T @ _exp(-s.delta)),
    ("no update", "T <- T", lambda s: s.T),
    ("stale step", "T <- Exp(delta of the iteration before) T", lambda s: _left(s, s.before)),
    ("step taken twice", "T <- Exp(2 delta) T", lambda s: _exp(2 * s.delta) @ s.T),
    ("half a step", "T <- Exp(delta / 2) T", lambda s: _exp(s.delta / 2) @ s.T),
    ("scale never updated", "T <- Exp(delta with sigma = 0) T", lambda s: _exp(_without(s.delta, slice(6, 7))) @ s.T),
    ("rotation never updated", "T <- Exp(delta with omega = 0) T", lambda s: _exp(_without(s.delta, slice(3, 6))) @ s.T),
    ("translation never updated", "T <- Exp(delta with tau = 0) T", lambda s: _exp(_without(s.delta, slice(0, 3))) @ s.T),
    ("no Huber weights", "the step of plain least squares", lambda s: _left(s, s.without_huber)),
)  # fmt: skip
