"""Patch the tracker of every Python process by an environment variable: no code and no command line changes.

``SIM3SOLVE_PATCH=1``, or the name of a backend, patches ``mast3r_slam.tracker`` as soon as a process imports it, spawned children
included. ``sim3solve-patch.pth``, which is installed beside the package, calls ``install`` when Python starts with the variable
set. Nothing here may end or delay a Python that merely starts: torch is not imported, and what goes wrong is one line on stderr.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

from sim3solve.on_import import when_imported

TRACKER = "mast3r_slam.tracker"
VARIABLE = "SIM3SOLVE_PATCH"
BACKENDS = ("auto", "cuda", "native", "torch", "reference")
_OFF = ("", "0", "no", "off", "false")
_ON = ("1", "yes", "on", "true")
_installed = False


def install() -> None:
    """Patch the tracker when it is imported, if ``SIM3SOLVE_PATCH`` asks for it."""
    global _installed
    word = os.environ.get(VARIABLE, "").strip().lower()
    if word in _OFF or _installed:  # Python reads a virtual environment's .pth files twice
        return
    _installed = True
    backend = os.environ.get("SIM3SOLVE_BACKEND", "auto") if word in _ON else word
    if backend not in BACKENDS:
        _say(f"{VARIABLE}={word}: must be 1 or one of {', '.join(BACKENDS)}; the tracker is not patched")
        return

    def patch_quietly(module: ModuleType) -> None:
        try:
            patch_tracker(module, backend)
        except Exception as error:  # noqa: BLE001  this runs inside the program's own import, which must not fail for it
            _say(f"{TRACKER} is not patched: {type(error).__name__}: {error}")

    when_imported(TRACKER, patch_quietly)


def patch_tracker(module: ModuleType, backend: str) -> None:
    """Patch the ``FrameTracker`` of a module. Raises ``ProblemError`` when it has none or it is no tracker."""
    from sim3solve.mast3r_slam import patch
    from sim3solve.problem import ProblemError

    tracker = getattr(module, "FrameTracker", None)
    if tracker is None:
        raise ProblemError("tracker", f"{module.__name__} has no FrameTracker")
    patch(tracker, backend)  # type: ignore[arg-type]


def _say(text: str) -> None:
    if sys.stderr is not None:  # pythonw has none
        print(f"sim3solve: {text}", file=sys.stderr)  # noqa: T201
