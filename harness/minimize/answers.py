"""Every run's answer on disk, under the hash of what was run: no question is ever run twice, whatever interrupted the search.

A line per run, appended at once and unbuffered, so that kill -9 loses only what had not answered. A line cut short is no answer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from harness.errors import HarnessError
from harness.jsonfile import dumps
from harness.minimize.failure import Answer

FILE = "answers.jsonl"


class Answers:
    """The answers of one folder. Several to one question are votes, in the order in which they came."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._known: dict[str, list[Answer]] = {}
        try:
            self._read()
            self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise HarnessError(f"{self._file}: {error.strerror or error}") from error

    def of(self, key: str) -> list[Answer]:
        return self._known.setdefault(key, [])

    @property
    def count(self) -> int:
        return sum(map(len, self._known.values()))

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer. Raises ``HarnessError`` where the disk refuses: a search must not go on without memory."""
        line = dumps({"key": key, **answer.to_json()}, indent=None)
        try:
            os.write(self._descriptor, (line + "\n").encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise HarnessError(f"{self._file}: {error.strerror or error}") from error
        self.of(key).append(answer)

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(self) -> None:
        if not self._file.exists():
            return
        data = self._file.read_bytes()
        for line in data.splitlines():
            try:
                document = json.loads(line)
                key = document.pop("key")
                self.of(key).append(Answer.from_json(document))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # cut short, or damaged: it is asked again
        if data and not data.endswith(b"\n"):
            with open(self._file, "ab") as file:  # what comes next must not be read as the end of a torn line
                file.write(b"\n")
