"""File names as a user types them, with patterns: PowerShell and cmd leave those to the program, bash needs a setting for **."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError


def expanded(files: Sequence[Path]) -> list[Path]:
    """The files that are meant, each once; ** stands for folders below. Raises ``UsageError`` for a name that no file has."""
    found: list[Path] = []
    for file in files:
        if file.exists():  # brackets may be a name's own
            found.append(file)
        elif not glob.has_magic(str(file)):
            raise UsageError(f"{file}: no such file")
        else:
            names = sorted(glob.glob(str(file), recursive=True))  # noqa: PTH207  Path.glob takes no absolute pattern
            matching = [Path(name) for name in names if Path(name).is_file()]
            if not matching:
                raise UsageError(f"{file}: no file has such a name")
            found += matching
    return list(dict.fromkeys(found))
