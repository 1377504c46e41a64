"""A solver that dies and tells everything it knows about the machine before: what a bundle has to keep to itself.

LEAK names a file with what to print; without it the solver dies in silence.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

OWNER = "made by alice.brown on desk-7q, /home/alice.brown/acme-rocket/notes.txt"


def make():
    def solve(problem, options):
        leak = os.environ.get("LEAK")
        if leak:
            data = Path(leak).read_bytes()
            sys.stdout.buffer.write(data)
            sys.stderr.buffer.write(data)
            sys.stdout.flush()
            sys.stderr.flush()
        return ctypes.string_at(0)

    return solve
