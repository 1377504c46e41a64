"""The tracker of any checkout of MASt3R-SLAM, without weights, model, camera or window: ``mast3r-slam:PATH``.

``PATH/mast3r_slam/tracker.py`` is imported as it is, and its own ``opt_pose_*`` are called. What it imports but the pose solve
does not need is a stand-in (``harness.adapters.stand_ins``). The class of its poses is the one its own sources name. With a PATH
that is a settings file of the checkout the tracker runs with those settings; otherwise with the case's, laid over its own.

Where the tracker has a method ``solve``, as upstream's has, or its poses a ``retr``, each iteration is seen and journaled.
Runs in children only.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.adapters.iterations import Iterations
from harness.adapters.stand_ins import NEVER_REAL, stand_in_for_the_rest
from harness.errors import SolverUnavailable
from harness.registry import checkout_of
from harness.solvers import Observe, Solver
from sim3solve.problem import Calib, Options, RayDist, Solution

_PACKAGE = "mast3r_slam"
_NAMES_POSES = ("tracker", "geometry", "frame", "mast3r_utils")
_UPSTREAMS: dict[str, Any] = {
    "C_conf": 0.0, "Q_conf": 1.5, "min_match_frac": 0.05, "match_frac_thresh": 0.333, "filtering_mode": "weighted_pointmap",
    "filtering_score": "median", "sigma_point": 0.05,
}  # fmt: skip
"""Upstream's tracking settings that are no option of a case; a tracker may read them in its constructor."""


def tracker(path: str) -> Solver:
    """The solver. Raises ``SolverUnavailable`` for what is not installed; what the checkout itself raises is its own."""
    given = Path(path)
    checkout = checkout_of(given)
    sys.path.insert(0, str(checkout))
    with stand_in_for_the_rest(checkout):
        try:
            module = importlib.import_module(f"{_PACKAGE}.tracker")
            pose = pose_class(checkout)
        except ModuleNotFoundError as error:
            raise SolverUnavailable(f"{checkout} needs the module {error.name}, which is not installed") from error
    config, own = _config(checkout, given)

    def solve(problem: RayDist, options: Options, observe: Observe) -> Solution:
        case_settings = {} if given != checkout else {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
        config.clear()
        config.update(own)
        config["use_calib"] = isinstance(problem, Calib)
        config["tracking"] = _UPSTREAMS | dict(own.get("tracking", {})) | case_settings
        made = _tracker(module.FrameTracker, config["tracking"], problem.Xf.device)
        return _solve(made, pose, problem, dataclasses.replace(options, **_options(config["tracking"])), observe)

    return Solver(solve)


def _config(checkout: Path, given: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The dict that the checkout's modules share, and what stands in its settings file. A tracker may do without either."""
    if not (checkout / _PACKAGE / "config.py").is_file():
        if given != checkout:
            raise SolverUnavailable(f"{given}: cannot be read: {checkout} has no {_PACKAGE}/config.py")
        return {}, {}
    config = getattr(importlib.import_module(f"{_PACKAGE}.config"), "config", None)
    if not isinstance(config, dict):
        raise SolverUnavailable(f"{checkout}: {_PACKAGE}/config.py has no dict named config")
    file = given if given != checkout else checkout / "config" / "base.yaml"
    return config, _load(checkout, file, required=given != checkout)


def pose_class(checkout: Path) -> Any:
    """The class of poses that the checkout's sources name: their own ``Sim3``, an imported one, or ``X.Sim3`` of an imported X."""
    for name in _NAMES_POSES:
        file = checkout / _PACKAGE / f"{name}.py"
        if not file.is_file():
            continue
        found = _named_in(ast.parse(file.read_bytes(), str(file)), f"{_PACKAGE}.{name}")
        if found is not None:
            if found in NEVER_REAL:
                raise SolverUnavailable(f"{checkout}: Sim3 is of {found}, which is not imported: it loads the network's code")
            module = importlib.import_module(found)
            if hasattr(module, "Sim3"):
                return module.Sim3
    raise SolverUnavailable(f"{checkout}: none of {', '.join(_NAMES_POSES)} names a class Sim3")


def _named_in(tree: ast.Module, own: str) -> str | None:
    """The module that a source takes its Sim3 from; ``own`` is the source's."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == "Sim3" and node in tree.body:
            return own
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = f"{_PACKAGE}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            if any(alias.name == "Sim3" for alias in node.names):
                return package
            modules |= {alias.asname or alias.name: f"{package}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "Sim3" and isinstance(node.value, ast.Name):
            return modules.get(node.value.id)
    return None


def _load(checkout: Path, file: Path, *, required: bool) -> dict[str, Any]:
    """The settings in ``file`` with what they inherit, by the checkout's own reader; empty when not to be had nor required."""
    module = importlib.import_module(f"{_PACKAGE}.config")
    if not hasattr(module, "load_config") or not file.is_file():
        if required:
            raise SolverUnavailable(f"{file}: cannot be read: config.py has no load_config, or PyYAML is not installed")
        return {}
    here = Path.cwd()
    os.chdir(checkout)  # "inherit: config/base.yaml" is relative to it
    try:
        module.load_config(str(file))
    finally:
        os.chdir(here)
    return dict(module.config)


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(Options)} - {"img_size"}
    return {name: value for name, value in settings.items() if name in names}


def _tracker(cls: Any, settings: dict[str, Any], device: torch.device) -> Any:
    try:
        return cls(None, None, device)  # model, keyframes
    except TypeError:  # an edited constructor: the solve needs no more than this
        made = cls.__new__(cls)
        made.cfg, made.device = settings, device
        return made


def _solve(made: Any, pose: Any, problem: RayDist, options: Options, observe: Observe) -> Solution:
    arguments = [problem.Xf, problem.Xk, pose(problem.T_WCf), pose(problem.T_WCk), problem.Qk, problem.valid_opt]
    call: Callable[..., Any] = made.opt_pose_ray_dist_sim3
    if isinstance(problem, Calib):
        call = made.opt_pose_calib_sim3
        arguments += [problem.meas_k, problem.valid_meas_k, problem.K, options.img_size]
    with torch.no_grad(), Iterations(made, pose, problem.valid_opt, observe) as iterations:
        T_WCf, T_CkCf = call(*arguments)
        return iterations.solution(T_WCf, T_CkCf, options)
