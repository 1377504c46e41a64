"""A stand-in for the C++ compiler, as CXX: it takes its time, counts its calls, and gives a library that was built before."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

COUNT, SECONDS, LIBRARY = "FAKE_COUNT", "FAKE_SECONDS", "FAKE_LIBRARY"


def put_in_place(folder: Path, monkeypatch, *, seconds: float, library: Path | None = None) -> Path:
    """Use it with an empty cache. Without a ``library`` it fails. Returns the file that has a byte for each compile."""
    count = folder / "compiles"
    count.touch()
    monkeypatch.setenv("SIM3SOLVE_CACHE", str(folder / "cache"))
    monkeypatch.setenv("CXX", shlex.join([sys.executable, str(Path(__file__).resolve())]))
    monkeypatch.setenv(COUNT, str(count))
    monkeypatch.setenv(SECONDS, str(seconds))
    monkeypatch.setenv(LIBRARY, str(library or ""))
    return count


def main() -> int:
    if "--version" in sys.argv:
        print("a slow compiler 1.0")
        return 0
    with open(os.environ[COUNT], "ab") as file:
        file.write(b".")
    time.sleep(float(os.environ[SECONDS]))
    if not os.environ[LIBRARY]:
        print("planted: this is no C++", file=sys.stderr)
        return 1
    shutil.copyfile(os.environ[LIBRARY], sys.argv[sys.argv.index("-o") + 1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
