"""Whose a launch is, by the host's stack when it was made, and which kernels are in question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.errors import UsageError
from harness.sanitizer.tools import CUDA_TOOLS

KERNELS = {"cuda": "solve|batch|linearize"}
"""Solver -> a regular expression for its own kernels. That torch's, which copy the inputs, were launched proves nothing."""

HELP = (
    "Regular expression for the kernels in question, found in their mangled names. compute-sanitizer instruments no other, torch's "
    "say, and a result is clean only if one of them was launched. Default: for cuda its own, else all."
)
SOLVE, HARNESS, UNKNOWN = "solve", "harness", "unknown"
_OF_HARNESS = re.compile(r"(?:^|[/\\])harness[/\\](?:worker|sanitizer[/\\]inside)\.py$")
_CALLS_THE_SOLVER = frozenset({"solve", "op", "_solve_pose", "timed", "_solve_op"})
"""Functions of these files that call the solver. What they call otherwise are functions of the same files."""


def origin(frames: Iterable[tuple[str | None, str | None]]) -> str:
    """``SOLVE``, ``HARNESS`` or ``UNKNOWN``. ``frames`` are (function, path), innermost first.

    A stack of Python that does not come through the child's files is a thread's of the solver's: the harness launches from none.
    Without a frame of Python, as on a thread of a library, it may be anybody's.
    """
    python = [(function, path) for function, path in frames if path is not None and path.endswith(".py")]
    if not python:
        return UNKNOWN
    innermost = next((function for function, path in python if _OF_HARNESS.search(path)), None)
    return SOLVE if innermost is None or innermost in _CALLS_THE_SOLVER else HARNESS


def chosen(kernels: str | None, tools: Sequence[str]) -> str | None:
    """What ``--kernels`` names, checked. Raises ``UsageError``."""
    if kernels is None:
        return None
    if not set(tools) & set(CUDA_TOOLS):
        raise UsageError(f"--kernels is for --tool {', '.join(CUDA_TOOLS)}: what kernels they watch")
    try:
        re.compile(kernels)
    except re.error as error:
        raise UsageError(f"--kernels {kernels}: no regular expression: {error}") from None
    return kernels
