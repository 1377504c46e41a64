"""A command as a user types it: in a POSIX shell, or on Windows in both of cmd and PowerShell."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence


def command_line(words: Sequence[str], *, windows: bool = os.name == "nt") -> str:
    """The words as one line. To cmd, which is one of the shells on Windows, single quotes are letters like any other."""
    return subprocess.list2cmdline(words) if windows else shlex.join(words)
