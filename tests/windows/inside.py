"""Runs pytest in Windows' CPython as a user whose folders have a name that no 8-bit code page of Windows can spell, and a space."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

USER = "Zoë 山田"


def main() -> int:
    home = Path(os.environ["SYSTEMDRIVE"] + "\\", "users", USER)
    for name, folder in {"TEMP": "Temp", "TMP": "Temp", "USERPROFILE": ".", "LOCALAPPDATA": "AppData/Local"}.items():
        (home / folder).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(home / folder)
    tempfile.tempdir = None
    import pytest

    return int(pytest.main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
