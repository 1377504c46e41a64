"""A command as a user types it: in a POSIX shell, or on Windows in both of cmd and PowerShell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence


def command_line(words: Sequence[str], *, windows: bool = os.name == "nt") -> str:
    """The words as one line. To cmd, which is one of the shells on Windows, single quotes are letters like any other."""
    return subprocess.list2cmdline(words) if windows else shlex.join(words)


def found_on_path(words: Sequence[str], *, windows: bool = os.name == "nt") -> list[str]:
    """The words with the program that PATH names in the first place.

    Windows itself looks in the folder of the program that asks before PATH: in a virtual environment that is where the Python
    lies that the environment was made from, without its packages.
    """
    found = shutil.which(words[0]) if windows else None
    return [found or words[0], *words[1:]]
