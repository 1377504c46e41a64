"""Standard output that cannot be written: an error with a sentence, and no exit code that says that a failure was found."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from harness.errors import HarnessError


class OutputError(HarnessError):
    """``reader_gone`` says that whoever read the output wanted no more of it, as ``| head`` does."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        self.reader_gone = error.errno == errno.EPIPE


class _Stream:
    """A text stream that is the other one in everything but how it fails."""

    def __init__(self, stream: TextIO, *, matters: bool) -> None:
        self._stream, self._matters = stream, matters

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if self._matters:
            raise OutputError(error) from None


@contextmanager
def checked() -> Iterator[None]:
    """Raises ``OutputError`` when stdout cannot be written, at the latest at the end. What stderr cannot take is dropped: the words
    there are for somebody who looks on, and change no result."""
    out, err = sys.stdout, sys.stderr
    if out is None or err is None:  # a Windows program without a console
        yield
        return
    sys.stdout, sys.stderr = _Stream(out, matters=True), _Stream(err, matters=False)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OutputError:
        _abandon(out)
        raise
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = out, err


def _abandon(stream: TextIO) -> None:
    """What is left in its buffer goes nowhere: the interpreter would fail on it once more at its exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        stream.flush()
    except (OSError, ValueError):
        pass  # no stream of the system: a test's
