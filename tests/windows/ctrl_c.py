"""Runs a command in a console of its own, presses Ctrl-C there once a file exists, and ends as the command does.

``python ctrl_c.py FILE COMMAND...``, started with a new console: the event reaches every process of the console.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from pathlib import Path

CTRL_C_EVENT = 0
LIMIT_S = 240.0


def main() -> int:
    marker, command = Path(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGINT, lambda number, frame: None)
    process = subprocess.Popen(command)
    until = time.monotonic() + LIMIT_S
    while not marker.exists():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            sys.exit(f"{marker} did not come; the command: {process.poll()}")
        time.sleep(0.1)
    if not ctypes.WinDLL("kernel32").GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0):
        process.kill()
        sys.exit("no event was sent")
    return process.wait(LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
