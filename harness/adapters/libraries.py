"""Solvers ``lietorch`` and ``pypose``: the tracker's Gauss-Newton, and single operations, on those libraries' own groups."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from harness.adapters.which_lietorch import which_lietorch
from harness.errors import SolverUnavailable
from harness.solvers import Solver


def lietorch() -> Solver:
    """Princeton's lietorch. Refuses PyPI's namesake by name, before it is imported."""
    found = which_lietorch()
    if not found.usable:
        raise SolverUnavailable(found.reason)
    try:
        group: Any = importlib.import_module("lietorch").Sim3
    except (ImportError, OSError) as error:  # an undefined symbol: it was built against another torch
        raise SolverUnavailable(f"lietorch cannot be imported: {error}; build it against the torch that is installed") from error
    return _solver(group, lambda X: group.Identity(len(X), dtype=X.dtype, device=X.device))


def pypose() -> Solver:
    """pypose's Sim3. Its quaternions are used as they come, not normalised."""
    try:
        from harness.adapters.pypose_sim3 import PyposeSim3
    except (ImportError, OSError) as error:
        raise SolverUnavailable(f"pypose cannot be imported: {error}; install it: pip install pypose") from error
    return _solver(PyposeSim3, PyposeSim3.identity_like)


def _solver(group: Any, identity: Callable[[Any], Any]) -> Solver:
    from harness.adapters.gauss_newton import solver_on

    operations: dict[str, Callable[..., Any]] = {
        "identity": lambda X: identity(X),
        "inv": lambda X: group(X).inv(),
        "mul": lambda X, Y: group(X) * group(Y),
        "act": lambda X, p: group(X).act(p),
        "exp": lambda a: group.exp(a),
        "retr": lambda X, a: group(X).retr(a),
    }

    def op(name: str, x: Mapping[str, Any]) -> Any:
        made = operations[name](**x)
        return made.data if name != "act" else made

    return Solver(solver_on(group), op=op)
