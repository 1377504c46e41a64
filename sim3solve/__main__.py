"""Run a MASt3R-SLAM program with this solver in its tracker and no change to its code: ``python -m sim3solve main.py ...``.

``mast3r_slam.tracker`` is patched the moment the program imports it. ``SIM3SOLVE_BACKEND`` chooses the backend (default: auto).
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sim3solve.mast3r_slam import patch

TRACKER = "mast3r_slam.tracker"
USAGE = (
    "usage: python -m sim3solve PROGRAM.py [ARGUMENT ...]\nexample: python -m sim3solve main.py --dataset datasets/tum/rgbd_dataset"
)


class PatchOnImport(importlib.abc.MetaPathFinder):
    """Finds the tracker's module where it is, and patches its ``FrameTracker`` as soon as it has run."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != TRACKER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            run = loader.exec_module

            def run_and_patch(module: ModuleType) -> None:
                run(module)
                patch(module.FrameTracker, self._backend)

            loader.exec_module = run_and_patch
        return spec


def main() -> None:
    """Run the program named on the command line as ``python PROGRAM.py`` would."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)  # noqa: T201
        sys.exit(0 if arguments else 2)
    program = Path(arguments[0])
    if not program.is_file():
        print(f"{program}: no such file\n{USAGE}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    sys.meta_path.insert(0, PatchOnImport(os.environ.get("SIM3SOLVE_BACKEND", "auto")))
    sys.argv = arguments
    sys.path[0] = str(program.resolve().parent)
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    main()
