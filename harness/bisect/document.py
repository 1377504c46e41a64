"""``bisect.json``: what was asked, what was run, and what came of it. Anybody may have written the file that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ResultError
from harness.gitrepo import Commit
from harness.jsonfile import write_json

FILE = "bisect.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CommitFacts(_Part):
    sha: str = Field(pattern="^([0-9a-f]{40}|[0-9a-f]{64})$")
    subject: str
    author: str
    date: str

    @classmethod
    def of(cls, commit: Commit) -> CommitFacts:
        return cls(**_facts(commit))


class Tested(CommitFacts):
    """A commit that was run: in how many runs the target was shown, was absent, and could not be told."""

    verdict: Literal["good", "bad", "skipped"]
    shown: int
    absent: int
    other: int
    unavailable: int
    odds_log10: float  # that it has the bug, from its own runs
    median: float | None  # of the number in question, where there is one
    said: str  # of its last run

    @classmethod
    def row(cls, commit: Commit, **more: object) -> Tested:
        return cls.model_validate({**_facts(commit), **more})


class Suspect(CommitFacts):
    probability: float

    @classmethod
    def with_probability(cls, commit: Commit, probability: float) -> Suspect:
        return cls.model_validate({**_facts(commit), "probability": probability})


class Bisected(_Part):
    """``decided`` is None while it is going on, ``run`` until all is done. ``against``: good ones after a bad one."""

    format: Literal[1] = 1
    id: str
    fingerprint: str
    command: str
    started: str
    finished: str | None = None
    case: str
    solver: str
    tool: str
    memory: str
    confidence: float
    good: CommitFacts
    bad: CommitFacts
    commits: int  # that changed the solver between good and bad
    what: Literal["failure", "d", "iterations", "time"]
    target: str
    p_shown_if_bad: float | None = None
    p_shown_if_good: float | None = None
    decided: bool | None = None
    first_bad: Suspect | None = None
    before: CommitFacts | None = None
    suspects: tuple[Suspect, ...] = ()
    tested: tuple[Tested, ...] = ()
    against: tuple[str, ...] = ()
    runs: int = 0
    diff: str = ""
    diff_cut: bool = False
    run: str | None = None  # of the replay side by side


def read(folder: Path) -> Bisected:
    """Raises ``ResultError`` naming file and field."""
    file = folder / FILE
    try:
        return Bisected.model_validate_json(file.read_bytes(), strict=False)
    except OSError as error:
        raise ResultError(file, "file", error.strerror or str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ResultError(file, ".".join(map(str, first["loc"])) or "json", first["msg"]) from None


def write(folder: Path, document: Bisected) -> None:
    write_json(folder / FILE, document.model_dump(mode="json"))


def _facts(commit: Commit) -> dict[str, str]:
    return {"sha": commit.sha, "subject": commit.subject, "author": commit.author, "date": commit.date}
