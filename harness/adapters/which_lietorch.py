"""Which package answers to ``import lietorch``: Princeton's, PyPI's namesake, or neither. Imports none of them.

Two projects have the name. Told apart by what their files hold, not by version or metadata: a renamed wheel, an editable
install or a copied folder has none to trust.
"""

from __future__ import annotations

import importlib.machinery
import sys
from dataclasses import dataclass
from pathlib import Path

INSTALL = "pip install --no-build-isolation git+https://github.com/princeton-vl/lietorch.git"
PRINCETON, NAMESAKE, UNKNOWN, MISSING = "princeton", "namesake", "unknown", "missing"

_PRINCETONS = ("groups.py", "group_ops.py")  # the package; its maths is the extension lietorch_backends
_NAMESAKES = ("bspline.py", "generic.py", "nn/m2.py", "nn/r2.py", "models/rotnist.py")


@dataclass(frozen=True)
class Lietorch:
    """``kind`` is one of the four above; ``evidence`` what it was told by; ``fix`` is empty for Princeton's with its extension."""

    kind: str
    folder: Path | None
    backends: Path | None
    evidence: str
    fix: str = ""

    @property
    def usable(self) -> bool:
        return self.kind == PRINCETON and self.backends is not None

    @property
    def reason(self) -> str:
        """One sentence for a user who wanted Princeton's."""
        return f"{self.evidence}; {self.fix}" if self.fix else self.evidence


def which_lietorch(path: list[str] | None = None) -> Lietorch:
    """Look along ``path`` (default: ``sys.path``). Reads names of files only; no code of either package runs."""
    folder = _find("lietorch", path)
    backends = _find("lietorch_backends", path)
    if folder is None:
        return Lietorch(MISSING, None, backends, "there is no module lietorch", f"install Princeton's: {INSTALL}")
    has = [name for name in _PRINCETONS if (folder / name).is_file()]
    namesakes = [name for name in _NAMESAKES if (folder / name).is_file()]
    if has == list(_PRINCETONS):
        if backends is None:
            evidence = f"{folder} is Princeton's lietorch, but its compiled part lietorch_backends is not there"
            return Lietorch(PRINCETON, folder, None, evidence, f"build it: {INSTALL}")
        return Lietorch(PRINCETON, folder, backends, f"{folder} is Princeton's lietorch, with {backends.name}")
    if namesakes and not has:
        evidence = (
            f"{folder} is another project of the same name, PyPI's lietorch, a package for PDE-G-CNN networks (it holds "
            f"{', '.join(namesakes)} and no groups.py): it has no SO3, SE3 or Sim3"
        )
        return Lietorch(NAMESAKE, folder, backends, evidence, f"pip uninstall lietorch, then install Princeton's: {INSTALL}")
    evidence = f"{folder} is called lietorch, but holds neither Princeton's groups.py and group_ops.py nor PyPI's namesake"
    return Lietorch(UNKNOWN, folder, backends, evidence, f"Princeton's is installed with: {INSTALL}")


def _find(name: str, path: list[str] | None) -> Path | None:
    """The folder of a package, or the file of a module; also by the finders of editable installs, which run no package code."""
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec is None and path is None:
        for finder in sys.meta_path:
            if hasattr(finder, "find_spec") and finder is not importlib.machinery.PathFinder:
                spec = spec or finder.find_spec(name, None)
    if spec is None:
        return None
    if spec.origin is not None and Path(spec.origin).name != "__init__.py":
        return Path(spec.origin)
    places = list(spec.submodule_search_locations or ())
    return Path(places[0]) if places else None
