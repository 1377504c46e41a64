"""One interface to the groups of lietorch, of pypose and of a user's file. Runs in children only.

A user's file has classes SO3, RxSO3, SE3 and Sim3, or some of them, that follow lietorch's: made from a tensor (B, N) and holding
it in ``.data``, with ``Identity(B, dtype=, device=)``, ``exp(a)``, ``inv()``, ``*``, ``act(p)``, ``retr(a)``, ``log()``,
``adj(a)``, ``adjT(a)`` and ``matrix()``.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from harness.adapters.which_lietorch import MISSING, which_lietorch
from harness.errors import SolverUnavailable
from harness.probe.rungs import GROUP_NAMES
from harness.solvers import import_file

Operands = Mapping[str, torch.Tensor]


class Missing(Exception):
    """The library has no such operation or group."""


class NothingThere(SolverUnavailable):
    """It is not that a library does not work: there is none."""


class Library(Protocol):
    """``call`` does one operation on tensors and gives back what the library gave, unwrapped to a tensor, or None for undefined."""

    groups: tuple[str, ...]
    adjT_of_inverse: bool

    def call(self, op: str, group: str, x: Operands, batch: int, dtype: torch.dtype, device: str) -> Any: ...

    def about(self) -> dict[str, str]: ...


class LietorchLike:
    """Princeton's lietorch, or whatever has its classes."""

    adjT_of_inverse = False

    def __init__(self, module: Any, about: dict[str, str]) -> None:
        self._classes = {name: getattr(module, name) for name in GROUP_NAMES if hasattr(module, name)}
        self._about = about
        self.groups = tuple(self._classes)
        if not self.groups:
            raise NothingThere(f"{getattr(module, '__file__', module)} has no class SO3, RxSO3, SE3 or Sim3")

    def call(self, op: str, group: str, x: Operands, batch: int, dtype: torch.dtype, device: str) -> Any:
        cls = self._classes[group]
        X, a, p = (x.get(name) for name in ("X", "a", "p"))
        calls: dict[str, tuple[str, Callable[[], Any]]] = {
            "Identity": ("Identity", lambda: cls.Identity(batch, dtype=dtype, device=device)),
            "exp": ("exp", lambda: cls.exp(a)),
            "inv": ("inv", lambda: cls(X).inv()),
            "mul": ("__mul__", lambda: cls(X) * cls(x["Y"])),
            "act": ("act", lambda: cls(X).act(p)),
            "act4": ("act", lambda: cls(X).act(p)),
            "retr": ("retr", lambda: cls(X).retr(a)),
            "log": ("log", lambda: cls(X).log()),
            "adj": ("adj", lambda: cls(X).adj(a)),
            "adjT": ("adjT", lambda: cls(X).adjT(a)),
            "matrix": ("matrix", lambda: cls(X).matrix()),
        }
        method, call = calls[op]
        if not hasattr(cls, method):
            raise Missing(f"{group} has no {method}")
        made = call()
        return made if isinstance(made, torch.Tensor) or made is None else getattr(made, "data", None)

    def about(self) -> dict[str, str]:
        return self._about


class Pypose:
    """pypose's LieTensors. Its AdjT is, by its own documentation, the adjoint of the inverse and not the transpose."""

    groups: tuple[str, ...] = GROUP_NAMES
    adjT_of_inverse = True

    def __init__(self) -> None:
        try:
            self._pypose: Any = importlib.import_module("pypose")
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and error.name == "pypose":
                raise NothingThere("pypose is not installed: pip install pypose") from error
            raise SolverUnavailable(f"pypose cannot be imported: {error}") from error

    def call(self, op: str, group: str, x: Operands, batch: int, dtype: torch.dtype, device: str) -> Any:
        pp = self._pypose
        if op == "Identity":
            return getattr(pp, f"identity_{group}")(batch, dtype=dtype, device=device).tensor()
        of = {name: self._wrap(name, group, tensor) for name, tensor in x.items()}
        calls: dict[str, Callable[[], Any]] = {
            "exp": lambda: of["a"].Exp(),
            "inv": lambda: of["X"].Inv(),
            "mul": lambda: of["X"] * of["Y"],
            "act": lambda: of["X"].Act(of["p"]),
            "act4": lambda: of["X"].Act(of["p"]),
            "retr": lambda: of["X"].Retr(of["a"]),
            "log": lambda: of["X"].Log(),
            "adj": lambda: of["X"].Adj(of["a"]),
            "adjT": lambda: of["X"].AdjT(of["a"]),
            "matrix": lambda: of["X"].matrix(),
        }
        made = calls[op]()
        return made.tensor() if hasattr(made, "ltype") else made

    def _wrap(self, name: str, group: str, tensor: torch.Tensor) -> Any:
        if name == "p":
            return tensor
        kind = group if name in "XY" else {"SO3": "so3", "RxSO3": "rxso3", "SE3": "se3", "Sim3": "sim3"}[group]
        return self._pypose.LieTensor(tensor, ltype=getattr(self._pypose, f"{kind}_type"))

    def about(self) -> dict[str, str]:
        return {"library": f"pypose {self._pypose.__version__}", "folder": str(Path(self._pypose.__file__).parent)}


def open_library(target: str) -> Library:
    """``lietorch``, ``pypose`` or a FILE.py. Raises ``SolverUnavailable``; whatever else a file raises is its own."""
    if target == "pypose":
        return Pypose()
    if target == "lietorch":
        return LietorchLike(*_lietorch())
    path = Path(target)
    module = import_file(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LietorchLike(module, {"library": path.name, "folder": str(path.parent), "sha256": sha256})


def _lietorch() -> tuple[Any, dict[str, str]]:
    found = which_lietorch()
    if found.kind == MISSING:
        raise NothingThere(found.reason)
    if not found.usable:
        raise SolverUnavailable(found.reason)
    try:
        module = importlib.import_module("lietorch")
    except (ImportError, OSError) as error:  # undefined symbol: built against another torch
        raise SolverUnavailable(f"lietorch cannot be imported: {error}; was it built against torch {torch.__version__}?") from error
    return module, {"library": "lietorch", "folder": str(found.folder), "extension": str(found.backends)}
