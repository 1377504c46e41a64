"""Do something to a module the moment a program has imported it: a tracker is patched or recorded so."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Then = Callable[[ModuleType], None]


def when_imported(name: str, then: Then, *, order: int = 0) -> None:
    """Call ``then(module)`` once the module of that name has run; at once when it already has.

    Of several callbacks for one module those of lower ``order`` come first, so that who looks on sees what the others did,
    whoever registered first. What ``then`` raises comes out of the program's ``import``.
    """
    loaded = sys.modules.get(name)
    if loaded is not None and not getattr(getattr(loaded, "__spec__", None), "_initializing", False):
        then(loaded)
        return
    finder = next((f for f in sys.meta_path if isinstance(f, _Finder)), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
    finder.add(name, then, order)


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the other finders find a module that somebody waits for, and puts a loader round the one they found."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, Then]]] = {}

    def add(self, name: str, then: Then, order: int) -> None:
        self._waiting.setdefault(name, []).append((order, then))

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._waiting:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if find is None or finder is self:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    callbacks = [then for _, then in sorted(self._waiting[name], key=lambda entry: entry[0])]
                    spec.loader = _Loader(spec.loader, callbacks)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """The module's own loader, and callbacks after it. Then the module has its own loader back, and no trace of this one."""

    def __init__(self, own: Any, callbacks: list[Then]) -> None:
        self._own, self._callbacks = own, callbacks

    def __getattr__(self, name: str) -> Any:  # get_code, is_package, ...: whoever asks means the module's own
        if name in ("_own", "_callbacks"):
            raise AttributeError(name)
        return getattr(self._own, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._own.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        module.__loader__ = self._own
        self._own.exec_module(module)
        for then in self._callbacks:
            then(module)
