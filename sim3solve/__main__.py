"""Run a MASt3R-SLAM program with this solver in its tracker and no change to its code: ``python -m sim3solve main.py ...``.

``mast3r_slam.tracker`` is patched the moment the program imports it, in the processes that it spawns as well.
``SIM3SOLVE_BACKEND`` chooses the backend (default: auto). ``SIM3SOLVE_PATCH=1`` does the same without another command line.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from sim3solve.on_import import when_imported
from sim3solve.startup import TRACKER, VARIABLE, patch_tracker

USAGE = (
    "usage: python -m sim3solve PROGRAM.py [ARGUMENT ...]\nexample: python -m sim3solve main.py --dataset datasets/tum/rgbd_dataset"
)


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
    backend = os.environ.get("SIM3SOLVE_BACKEND", "auto")
    when_imported(TRACKER, lambda module: patch_tracker(module, backend))
    os.environ[VARIABLE] = backend  # for the processes it spawns
    sys.argv = arguments
    sys.path[0] = str(program.resolve().parent)
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    main()
