"""Runs the mingw compiler for Windows programs in the stage: they call ``cxx.cpp``, which leaves its command in a folder here."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

from setting import Wine

COMPILER = "x86_64-w64-mingw32-g++-posix"
_TICK_S = 0.05
_COMPILE_LIMIT_S = 120.0


class Relay:
    """Answers while it is entered."""

    def __init__(self, wine: Wine, folder: Path) -> None:
        self._wine, self._folder = wine, folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Relay:
        shutil.rmtree(self._folder, ignore_errors=True)  # what a run that was ended had asked for
        self._folder.mkdir(parents=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _serve(self) -> None:
        answered: set[Path] = set()
        while not self._end.wait(_TICK_S):
            for words in self._folder.glob("*/words"):
                if words not in answered:
                    answered.add(words)
                    self._answer(words)

    def _answer(self, words: Path) -> None:
        cwd, *arguments = words.read_text(encoding="utf-8").splitlines()
        argv = [COMPILER, *map(self._wine.unix_path, arguments)]
        try:
            done = subprocess.run(
                argv, cwd=self._wine.unix_path(cwd), stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
                errors="replace", timeout=_COMPILE_LIMIT_S,
            )  # fmt: skip
            reply = f"{done.returncode}\n{done.stdout}{done.stderr}"
        except (OSError, subprocess.TimeoutExpired) as error:
            reply = f"1\n{error}"
        part = words.with_name("reply.part")
        part.write_text(reply, encoding="utf-8")
        part.rename(words.with_name("reply"))


def version() -> str:
    done = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]
