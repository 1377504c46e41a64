"""Stand-ins for what a tracker's module imports but its pose solve does not need: the network, images, frames, windows.

A stand-in module gives a class for any name that is asked of it. Nothing is pretended: whoever calls such a class gets an
``ImportError`` that names it, so a solve that does need the thing says so.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

NEVER_REAL = ("mast3r_slam.frame", "mast3r_slam.mast3r_utils")
"""These load the network's code, and through it extensions whose faults are not the solve's."""
_ALWAYS_REAL = ("torch", "lietorch", "lietorch_backends", "numpy", "pypose", "yaml", "math")
"""Missing, these are missed: the solve, or reading its settings, is made of them."""


class _StandIn(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # it has submodules, too

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(cls: type, *arguments: Any, **named: Any) -> Any:
            raise ImportError(f"{self.__name__}.{name} is a stand-in: the pose solve was not expected to need it")

        made = type(name, (), {"__new__": refuse, "__module__": self.__name__})
        setattr(self, name, made)
        return made


class _Config(ModuleType):
    """The checkout's settings where its own module cannot be imported, for want of PyYAML."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.config: dict[str, Any] = {}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """First in line it answers for ``NEVER_REAL``, last in line for whatever nobody else has."""

    def __init__(self, checkout: Path, *, last: bool) -> None:
        self._last = last
        self._checkout = checkout

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        own = fullname == "mast3r_slam" or fullname.startswith("mast3r_slam.")
        if self._last:
            # A module of the checkout itself that is missing is its own fault and must show.
            wanted = not own and fullname.partition(".")[0] not in {*_ALWAYS_REAL, *sys.stdlib_module_names}
        else:
            wanted = fullname in NEVER_REAL or (fullname == "mast3r_slam.config" and not _has_yaml())
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname != "mast3r_slam.config") if wanted else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Config(spec.name) if spec.name == "mast3r_slam.config" else _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _has_yaml() -> bool:
    return importlib.machinery.PathFinder.find_spec("yaml") is not None


@contextmanager
def stand_in_for_the_rest(checkout: Path) -> Iterator[None]:
    """While this lasts, imports of what is not installed, and of the tracker's network side, give stand-ins."""
    first, last = _Finder(checkout, last=False), _Finder(checkout, last=True)
    sys.meta_path.insert(0, first)
    sys.meta_path.append(last)
    try:
        yield
    finally:
        sys.meta_path.remove(first)
        sys.meta_path.remove(last)
