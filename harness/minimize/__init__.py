"""The smallest case that still fails alike: fewer points, fewer iterations, simple values, plain memory. See docs/minimizing.md."""

from __future__ import annotations

from harness.minimize.failure import Failure
from harness.minimize.minimize import Progress, minimize_case
from harness.minimize.result import Minimized, MinimizeLimits, Now, Target

__all__ = ["Failure", "MinimizeLimits", "Minimized", "Now", "Progress", "Target", "minimize_case"]
