"""Is what an operation returned right, and by how much is it not? Runs in children only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from harness.probe.oracle import GROUPS, Array, matrix
from harness.probe.rungs import ERROR, NOTHING_CAME, OK, REFUSED_DTYPES, WRONG, Result, Rung

LIMITS: Mapping[str, float] = {"float64": 1e-9, "float32": 2e-5, "float16": 2e-2, "bfloat16": 2e-1}
"""Largest error over max(1, |expected|): about 200 roundings of a dtype; float64 leaves room for a less careful closed form."""

_ELEMENTS = ("Identity", "inv", "mul", "retr", "exp")
_REFUSALS = (TypeError, ValueError, RuntimeError, NotImplementedError)


def judge(rung: Rung, made: Any, rounded: Mapping[str, Array], want: Array) -> Result:
    """``made`` is what the library returned: a tensor, or anything else, which is wrong."""
    if made is None:
        return Result(rung, WRONG, detail=f"an undefined tensor came back{_instead(rung)}")
    if not isinstance(made, torch.Tensor):
        return Result(rung, WRONG, detail=f"a {type(made).__name__} came back where a tensor should")
    try:
        got = made.detach().cpu().double().numpy()
    except (RuntimeError, TypeError) as strange:  # sparse, quantised, on no device: numbers, but not as a tensor of them
        return Result(rung, WRONG, detail=f"a tensor came back that cannot be read: {(str(strange).splitlines() or [''])[0][:200]}")
    group = GROUPS[rung.group]
    shape = (rung.batch, group.data) if rung.name in _ELEMENTS else want.shape
    if rung.name == "matrix" and got.shape == (rung.batch, 3, 3) and not group.translates:
        want, shape = want[:, :3, :3], got.shape  # a rotation may well be 3x3
    if got.shape != shape:
        return Result(rung, WRONG, detail=f"shape {got.shape} came back where {shape} should")
    if str(made.dtype) != f"torch.{rung.dtype}":
        return Result(rung, WRONG, detail=f"{made.dtype} came back for {rung.dtype}")
    if rung.batch == 0:
        return Result(rung, OK, 0.0)
    unfilled = not np.nan_to_num(got, nan=0.0).any()
    if rung.name in _ELEMENTS:
        at = 3 * group.translates
        norm_off = np.abs(np.linalg.norm(got[:, at : at + 4], axis=1) - 1)
        got = matrix(group, got)
    else:
        norm_off = np.zeros(rung.batch)
    axes = tuple(range(1, want.ndim))
    with np.errstate(all="ignore"):
        error = np.abs(got - want).max(axis=axes) / np.maximum(1, np.abs(want).max(axis=axes))
    error = np.maximum(error, norm_off)
    error[~np.isfinite(error)] = np.inf  # NaN passes no limit
    row = int(error.argmax())
    worst = float(error[row])
    if worst <= LIMITS[rung.dtype]:
        return Result(rung, OK, worst)
    return Result(rung, WRONG, worst, _how_wrong(rung, worst, row, int((error > LIMITS[rung.dtype]).sum()), rounded, unfilled))


def refusal(rung: Rung, error: BaseException) -> Result:
    """An exception for a dtype that need not be supported: a clean refusal, or an accident on the way."""
    text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    if isinstance(error, AttributeError) and "NoneType" in str(error):
        return Result(rung, WRONG, detail=f"an undefined tensor came back inside the library{_instead(rung)} ({text})")
    if isinstance(error, _REFUSALS):
        return Result(rung, OK, detail=f"refuses: {text}")
    return Result(rung, ERROR, detail=text)


def _instead(rung: Rung) -> str:
    return f" instead of a refusal of {rung.dtype}" if rung.dtype in REFUSED_DTYPES else ""


def _how_wrong(rung: Rung, worst: float, row: int, count: int, rounded: Mapping[str, Array], empty: bool) -> str:
    amount = "NaN or infinity" if worst == np.inf else f"{worst:.2g} off"
    if empty:
        return f"{NOTHING_CAME}{_instead(rung)}"
    text = f"{amount} in row {row}, {count} of {rung.batch} rows over {LIMITS[rung.dtype]:g}"
    if rung.near_zero:
        a = rounded.get("a")
        if a is not None:
            group = GROUPS[rung.group]
            at = 3 * group.translates
            text += f", there |phi| = {np.linalg.norm(a[row, at : at + 3]):.1g}"
            text += f", sigma = {a[row, -1]:.1g}" if group.scales else ""
    return text
