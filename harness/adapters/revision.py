"""A solver as it stood at another revision: that revision's package takes the place of today's, in this child and for good.

What of the harness has today's types keeps them: they were imported before. So a problem is made anew of the old types, and the
solution of today's. The old package finds only itself: its kernels, its structs and its way to build them, each in a place of the
cache that its own sources name. Runs in children only, which solve with this one solver.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from harness import building, solvers
from harness.errors import SolverUnavailable
from harness.gitrepo import PACKAGE
from harness.solvers import Observe, Solver
from sim3solve import build as todays_build
from sim3solve import native as today
from sim3solve.problem import Options, Problem, Solution, Status


def native(folder: str) -> Solver:
    _put_in_place(Path(folder))
    _flags_by_name(importlib.import_module(f"{PACKAGE}.native"))
    return _with_todays_types(solvers.native(), Path(folder))


def torch(folder: str) -> Solver:
    _put_in_place(Path(folder), uses_torch=True)
    return _with_todays_types(solvers.torch_float32(), Path(folder))


def cuda(folder: str) -> Solver:
    _put_in_place(Path(folder), uses_torch=True)
    return _with_todays_types(solvers.cuda(), Path(folder))


def _put_in_place(folder: Path, *, uses_torch: bool = False) -> None:
    """From here on ``import sim3solve`` means the package in ``folder``, whatever is installed and whatever finds modules."""
    start = folder / PACKAGE / "__init__.py"
    if not start.is_file():
        raise SolverUnavailable(f"the sources of this revision are not on this machine: no {start}")
    if uses_torch:
        with contextlib.suppress(ImportError, OSError):  # without torch the solver itself will say so
            importlib.import_module("harness.torch_layout")  # it speaks to the driver through today's package
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(PACKAGE, start, submodule_search_locations=[str(start.parent)])
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    with contextlib.suppress(ImportError):  # it had none yet, and no solver that is compiled
        building.told_as(importlib.import_module(f"{PACKAGE}.build"), todays_build)


def _flags_by_name(module: ModuleType) -> None:
    """Compiler flags that a sanitizer needs, for a revision that did not yet ask for any: as words of the compiler's name."""
    flags = os.environ.get(today.FLAGS_VARIABLE)
    if flags and not hasattr(module, "FLAGS_VARIABLE"):
        with contextlib.suppress(RuntimeError):  # no compiler: the solver itself will say so
            os.environ["CXX"] = " ".join([*module.compiler.find().command, flags])


def _with_todays_types(made: Solver, folder: Path) -> Solver:
    """The old solver, called with today's problem and options and giving today's solution."""
    _check(folder)
    then = importlib.import_module(f"{PACKAGE}.problem")
    inner: Callable[[Any, Any, Observe], Any] = made.solve

    def solve(problem: Problem, options: Options, observe: Observe) -> Solution:
        fields = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
        got = inner(then.PROBLEMS[problem.kind](**fields), _options(then.Options, options), observe)
        return Solution(Status(got.status.value), got.T_WCf, got.T_CkCf, got.iterations, got.cost, got.trace)

    return dataclasses.replace(made, solve=solve)


def _check(folder: Path) -> None:
    """Every module of the package in this process is the old one's; anything else would be a comparison with oneself."""
    for name, module in list(sys.modules.items()):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            file = getattr(module, "__file__", None)
            if file is None or not Path(file).is_relative_to(folder):
                raise RuntimeError(f"{name} is loaded from {file}, not from {folder}")


def _options(then: Any, options: Options) -> Any:
    """Options that the old package does not know must be at their defaults."""
    known = {field.name for field in dataclasses.fields(then)}
    lacking = [
        field.name for field in dataclasses.fields(options)
        if field.name not in known and getattr(options, field.name) != field.default
    ]  # fmt: skip
    if lacking:
        raise SolverUnavailable(f"this revision did not know the option {lacking[0]}, which the case sets")
    return then(**{name: getattr(options, name) for name in known if hasattr(options, name)})
