"""The errors a user can meet. Each names the file and the field; the command line catches ``HarnessError`` once."""

from __future__ import annotations

import os
from pathlib import Path


class HarnessError(Exception):
    """Base of every error that a user, not a programmer, can mend."""


class UsageError(HarnessError):
    """A command was given words it cannot use."""


class FileFieldError(HarnessError):
    """Something is wrong with one field of one file."""

    def __init__(self, file: Path | str, field: str, reason: str) -> None:
        super().__init__(_printable(f"{file}: {field}: {reason}"))
        self.file = str(file)
        self.field = field
        self.reason = reason


class CaseError(FileFieldError):
    """A case cannot be read, written or trusted."""


class SourceError(FileFieldError):
    """A data set that a case should be made from is missing something or is malformed."""


class ResultError(FileFieldError):
    """What a child or an earlier run left behind cannot be read."""


class AuditError(FileFieldError):
    """A native binary, or what is asked of it, cannot be read."""


class SpecimenError(FileFieldError):
    """The table of specimens cannot be read."""


class SolverUnavailable(HarnessError):
    """A solver cannot run on this machine; the message says why and what would help."""


MAX_PATH = 260
"""Windows' limit for a whole path, unless long paths are switched on."""


def os_reason(error: OSError, *, windows: bool = os.name == "nt") -> str:
    """What the system said; and on Windows, which calls a path that is too long one that is not there, its length."""
    said = error.strerror or str(error)
    longest = max(
        (len(str(Path(str(name)).absolute())) for name in (error.filename, error.filename2) if name is not None), default=0
    )
    if not windows or longest < MAX_PATH - 12:  # of a folder Windows wants 12 less, for a file in it
        return said
    return f"{said} (the path has {longest} characters; Windows stops at {MAX_PATH} unless long paths are on: docs/windows.md)"


def _printable(text: str, limit: int = 2000) -> str:
    # The field may be a name out of a stranger's file: no terminal escapes, no page-long message.
    clipped = text if len(text) <= limit else text[:limit] + " ..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in clipped)
