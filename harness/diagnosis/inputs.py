"""What a case's values and layout say that a cause may follow from. Kept in the outcome: a diagnosis needs only the run folder."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.case import FLOATING, Case
from harness.recorded import Recorded

POINTS = ("Xf", "Xk", "meas_k")


def input_facts(case: Case) -> dict[str, Any]:
    """Plain JSON values.

    ``masked_nonfinite`` and ``masked_at_origin`` count points that are masked out and hold NaN or infinity, or lie at the origin
    (where X / |X| is NaN); ``valid_nonfinite`` counts those that are not masked out. ``max_tangent`` is the largest number in the
    tangents of an op case, ``batch`` its operands' first dimension.
    """
    document = case.document
    facts: dict[str, Any] = {
        "kind": document.kind, "op": document.op.name if document.op else None, "n_points": document.n_points,
        "devices": sorted({spec.device for spec in document.tensors.values()}),
        "dtypes": sorted({spec.dtype for spec in document.tensors.values() if spec.dtype in FLOATING}),
        "mod16": {name: spec.data_ptr_mod_512 % 16 for name, spec in document.tensors.items()},
        "recorded": _recorded(document.recorded),
        "versions": dict(document.provenance.versions),
    }  # fmt: skip
    if document.kind == "op":
        first = next(iter(document.tensors.values()))
        tangent = case.as_float("a") if "a" in case.values else None
        largest = None if tangent is None or not tangent.size else float(np.abs(tangent).max())
        return facts | {"batch": first.shape[0] if first.shape else 1, "max_tangent": largest}
    return facts | _points(case)


def _recorded(recorded: Recorded) -> dict[str, Any]:
    seen = {"exit": recorded.exit.name} if recorded.exit else {}
    return {"event": recorded.event, "exception": recorded.exception} | seen


def _points(case: Case) -> dict[str, Any]:
    valid = case.values["valid_opt"].ravel().astype(bool)
    counts = {"masked_nonfinite": 0, "masked_at_origin": 0, "valid_nonfinite": 0}
    all_zero = len(valid) > 0
    for name in POINTS:
        if name not in case.values:
            continue
        X = case.as_float(name)
        counted = valid & case.values["valid_meas_k"].ravel().astype(bool) if name == "meas_k" else valid
        finite = np.isfinite(X).all(axis=1)
        origin = (X == 0).all(axis=1)
        counts["masked_nonfinite"] += int((~finite & ~counted).sum())
        counts["valid_nonfinite"] += int((~finite & counted).sum())
        if name != "meas_k":
            counts["masked_at_origin"] += int((origin & ~counted).sum())
            all_zero = all_zero and bool(origin.all())
    return counts | {"n_valid": int(valid.sum()), "all_zero": all_zero}
