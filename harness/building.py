"""Tells of what is about to be compiled: whatever ``sim3solve.build`` finds lacking in its cache. In children only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

Tell = Callable[[], None]


def told(module: ModuleType, tell: Tell) -> None:
    """From here on ``module``, today's ``sim3solve.build`` or a revision's, calls ``tell`` before it builds anything."""
    there = vars(module)["cached"]
    vars(module)["cached"] = _Cached(there.original if isinstance(there, _Cached) else there, tell)


def told_as(module: ModuleType, other: ModuleType) -> None:
    """The same as ``other`` does, where that tells at all."""
    there = vars(other)["cached"]
    if isinstance(there, _Cached) and "cached" in vars(module):
        told(module, there.tell)


class _Cached:
    """``build.cached``, which takes what builds as its last argument."""

    def __init__(self, original: Callable[..., Any], tell: Tell) -> None:
        self.original, self.tell = original, tell

    def __call__(self, *args: Any) -> Any:
        *what, build = args

        def telling(file: Path) -> None:
            self.tell()
            build(file)

        return self.original(*what, telling)
