"""The errors a user can meet. Each names the file and the field; the command line catches ``HarnessError`` once."""

from __future__ import annotations

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


def _printable(text: str, limit: int = 2000) -> str:
    # The field may be a name out of a stranger's file: no terminal escapes, no page-long message.
    clipped = text if len(text) <= limit else text[:limit] + " ..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in clipped)
