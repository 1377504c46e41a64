"""Builds the object of a kernel that takes a ``long``, with the machine's C++ compiler.

``python tests/specimens/long_kernel.py FOLDER`` leaves long_stand_in.o there, for ``harness audit FOLDER/long_stand_in.o``.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "collision"))
from collision_pair import Pair  # noqa: E402  a file of the other specimen, not a package

from sim3solve import build, compiler  # noqa: E402


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = compiler.find()
        print(Pair(found.command, found.style, cured=False).object(HERE / "long_stand_in.cpp", folder))
    except (compiler.CompilerMissing, build.BuildError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
