"""What counts as a find. The solver is measured by the float64 oracle on the same mutant, and by itself in another layout.

A find must be the solver's fault for certain, or nobody would look at the second one. So where rounding decides (numbers at the end
of float32's range, geometry that hardly fixes the pose, a path of many iterations), only what no rounding explains is one.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from harness.case import Case, Expectation
from harness.compare import exceeded, parity, pose_error
from harness.diagnosis import signature
from harness.outcome import Kind, Outcome
from harness.verdict import describe

BITWISE = ("native", "cuda")
"""Solvers that read values and not layouts: the same values give the same bits wherever they lie."""

LAYOUT = "layout |"
"""How a signature begins that only a twin shows: no replay of the case alone does, and so none of a smaller one."""

_FATAL = (Kind.CRASHED, Kind.CUDA_ERROR, Kind.TIMEOUT, Kind.FINDINGS, Kind.INCONCLUSIVE)
_RESULTS = (Kind.OK.value, Kind.SOLVER_STATUS.value)
_STEADY_ITERATIONS = 12
_OF_A_STEP = 0.2
_SURE_PIVOT = 1e-3
"""Of its diagonal, what elimination must leave for the pose to be fixed beyond rounding; real frames leave 2e-3 and more."""


def complaint(case: Case, outcome: Outcome, twin: Outcome | None, oracle: Outcome) -> tuple[str, str] | None:
    """(signature, sentence) of what is wrong with an outcome, or None. ``twin``: the same solver, the same values in C order."""
    for each in (outcome, twin):
        if each is not None and each.kind in _FATAL:
            return signature(each), describe(each)
    if outcome.kind is Kind.RAISED:
        assert outcome.exception is not None
        theirs = oracle.exception.type if oracle.exception else None
        if outcome.exception.type == theirs:
            return None
        return signature(outcome), f"raised {outcome.exception.type}: {outcome.exception.message[:200]}"
    if outcome.broke_its_promise:
        return "contract | a status that promises a pose, and none", outcome.notes[0]
    if twin is not None and _said(twin) != _said(outcome):
        return "layout | other bits", f"the same values in C order give {_words(twin)}, as they lie {_words(outcome)}"
    if is_extreme(case) or oracle.kind not in (Kind.OK, Kind.SOLVER_STATUS):
        return None
    return _against_oracle(case, outcome, oracle)


def expectation(signature: str, oracle: Outcome) -> Expectation:
    """What a case with this fault expects, so that a replay of it fails while the fault is there, and not when it is gone."""
    kinds = {"raised": _RESULTS, "pose": (oracle.kind.value,), "status": (oracle.kind.value,)}
    word = signature.partition(" |")[0]
    because = f"the float64 oracle says {oracle.status or oracle.kind.value}"
    return Expectation(outcomes=kinds.get(word, (*_RESULTS, Kind.RAISED.value)), parity=word == "pose", because=because)


def _against_oracle(case: Case, outcome: Outcome, oracle: Outcome) -> tuple[str, str] | None:
    if outcome.kind is not oracle.kind:
        near_zero = "NOT_POSITIVE_DEFINITE" in (outcome.status, oracle.status) and oracle.kind is not Kind.OK
        if near_zero or not _is_steady(oracle):
            return None  # whether elimination meets a zero is a matter of rounding, and so is where an unsteady path leads
        return f"status | {outcome.status} for {oracle.status}", f"it says {outcome.status}, the oracle {oracle.status}"
    if outcome.kind is not Kind.OK or not _is_steady(oracle):
        return None
    measured = parity(outcome, oracle, case)
    if measured is None or measured["within"]:
        return None
    over = exceeded(measured["oracle"])
    if over and "d_sigma" not in over:
        return None  # a few points fix no pose to a thousandth of a degree; in standard deviations it must be the same
    if _apart(outcome, oracle) <= _OF_A_STEP * oracle.trace[-1].delta_norm:
        return None  # what is left of the way is longer than what lies between them
    cost, cost_oracle = float(measured["cost"]), float(measured["cost_oracle"])
    room = 2 * case.options.rel_error if outcome.iterations != oracle.iterations else 1e-4
    if cost <= cost_oracle * (1 + room) + 1e-6:
        return None  # both stopped by the rule, at poses that it cannot tell apart
    return "pose | not the oracle's", f"{measured['why']}; cost {cost:.6g} for {cost_oracle:.6g}"


def _apart(outcome: Outcome, oracle: Outcome) -> float:
    """The length of the tangent from one pose to the other, as ``delta_norm`` has it: with translation in the data's own unit."""
    assert outcome.T_CkCf is not None and oracle.T_CkCf is not None
    error = pose_error(outcome.T_CkCf, oracle.T_CkCf, median_depth=1.0)
    return float(np.linalg.norm([np.radians(error["rotation_deg"]), error["translation_rel"], error["log_scale"]]))


def _is_steady(oracle: Outcome) -> bool:
    """Decided at the first look, or on a short way down on which the pose was fixed: where rounding cannot lead elsewhere."""
    if oracle.status != "CONVERGED":
        return not oracle.iterations
    costs = [step.cost for step in oracle.trace]
    falls = all(after <= before for before, after in pairwise(costs))
    return falls and len(costs) <= _STEADY_ITERATIONS and float(oracle.values.get("smallest_pivot", 0)) > _SURE_PIVOT


_RAY_ROUNDING, _PIXEL_ROUNDING = 1.2e-7, 6e-5
"""What float32 leaves of a unit vector, and of a pixel in an image of 512: where that is near Huber's limit, weights are noise."""
_NEAR = 1000


def is_extreme(case: Case) -> bool:
    """Whether numbers are so large, small or unlike that float32 cannot be asked for what float64 gives."""
    valid = case.values["valid_opt"][:, 0]
    o = case.options
    with np.errstate(all="ignore"):
        for name in ("Xf", "Xk", "meas_k"):
            if name in case.values and not _is_between(np.abs(case.as_float(name)[valid]), 1e-5, 1e4):
                return True
        if not _is_between(np.abs(case.as_float("Qk")[valid]), 1e-6, 1e6) or not np.isfinite(case.as_float("Qk")[valid]).all():
            return True
        for name in ("T_WCf", "T_WCk"):
            T = case.as_float(name)[0]
            turn = float(np.linalg.norm(T[3:7]))
            if not (np.isfinite(T).all() and 1e-3 < T[7] < 1e3 and np.abs(T[:3]).max() < 1e3 and 0.5 < turn < 2):
                return True
        if "K" in case.values and not (np.isfinite(case.as_float("K")).all() and 1 < min(case.as_float("K")[[0, 1], [0, 1]]) < 1e5):
            return True
    if o.img_size is not None and (max(o.img_size) > 8192 or abs(o.pixel_border) > 1e4 or o.depth_eps > 1e2):
        return True
    rounding = _RAY_ROUNDING / o.sigma_ray if case.document.kind == "ray_dist" else _PIXEL_ROUNDING / o.sigma_pixel
    narrow = {spec.dtype for spec in case.document.tensors.values()} & {"float16", "bfloat16"}
    return bool(narrow) or _NEAR * rounding > o.huber


def _is_between(x: np.ndarray, low: float, high: float) -> bool:
    """All finite, none too large, and none that is small and yet not zero."""
    return bool(np.isfinite(x).all() and (x < high).all() and ((x == 0) | (x > low)).all())


def _said(o: Outcome) -> str:
    return repr((o.kind, o.status, o.iterations, o.cost, o.T_CkCf, o.T_WCf))


def _words(o: Outcome) -> str:
    return f"{o.status} after {o.iterations} iterations, cost {o.cost}, {o.T_CkCf}"
