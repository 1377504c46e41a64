"""Whether two results of one solver say the same, and whether it can be told at all: equal memory must give equal results first."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.outcome import Outcome

Result = dict[str, Any]
"""What ``result.json`` says of one solve."""

AGREE = 1e-4
"""Two results of one solver agree within this, relative to the largest number: above what sums in another order differ by."""

SOLVES = 5
"""Solves with the same memory before other memory is blamed for another result. A solver that tosses a coin passes once in 512."""

NOT_REPEATABLE = "its result is not repeatable"
"""How the note begins that says so."""

_NUMBERS = ("op_value", "T_WCf", "T_CkCf")


def agree(a: Result, b: Result) -> bool:
    """Whether two results say the same: status, exception or numbers within ``AGREE``; NaN agrees with NaN."""
    if (a.get("status"), (a.get("exception") or {}).get("type")) != (b.get("status"), (b.get("exception") or {}).get("type")):
        return False
    return all(_close(_numbers(a, name), _numbers(b, name)) for name in _NUMBERS)


def result_of(outcome: Outcome) -> Result:
    """The result that an outcome holds, whatever else became of it. What is no numbers, in a stranger's run, is left out."""
    held = {"op_value": outcome.values.get("op_value"), "T_WCf": outcome.T_WCf, "T_CkCf": outcome.T_CkCf}
    found: Result = {"status": outcome.status}
    for name, value in held.items():
        if value is not None:
            with contextlib.suppress(TypeError, ValueError):
                found[name] = np.asarray(value, dtype=np.float64)
    return found


def repeats(ways: Sequence[Callable[[], Result]], firsts: Sequence[Result], until: float) -> list[list[Result]] | None:
    """``SOLVES`` results of each way to solve, given the first of each. None where ``until`` (``time.time``) comes before."""
    found: list[list[Result]] = [[first] for first in firsts]
    for _ in range(1, SOLVES):
        for way, results in zip(ways, found, strict=True):
            if time.time() > until:
                return None
            results.append(way())
    return found


def two_unlike(*ways: Sequence[Result]) -> tuple[Result, Result] | None:
    """Two results of one way that do not agree; None where each way always gave the same."""
    return next(((results[0], other) for results in ways for other in results[1:] if not agree(results[0], other)), None)


def not_finite(result: Result) -> bool:
    return not all(np.isfinite(_numbers(result, name)).all() for name in _NUMBERS)


def words(result: Result) -> str:
    """A result in a few words."""
    if "exception" in result:
        return f"{result['exception']['type']}"
    numbers = _numbers(result, "T_CkCf") if "T_CkCf" in result else _numbers(result, "op_value").ravel()
    what = "NaN" if np.isnan(numbers).any() else np.array2string(numbers[:8], precision=4, suppress_small=True, max_line_width=200)
    return f"{result.get('status', 'a result')} {what}"


def _numbers(result: Result, name: str) -> np.ndarray:
    return np.asarray(result.get(name, []), dtype=np.float64)


def _close(x: np.ndarray, y: np.ndarray) -> bool:
    if x.shape != y.shape:
        return False
    finite = np.isfinite(x)
    if (finite != np.isfinite(y)).any():
        return False
    return bool((np.abs(x - y)[finite] <= AGREE * max(1.0, float(np.abs(x[finite]).max(initial=0.0)))).all())
