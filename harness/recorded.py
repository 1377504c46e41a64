"""What the run that a case was recorded from did with its input. Data only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.document import Document, Pose


class RecordedExit(Document):
    """How the process of a recorded call ended: ``code`` as the operating system gave it, the rest decoded from it."""

    code: int = Field(ge=-(1 << 31), lt=1 << 32)
    name: str = Field(max_length=100)
    meaning: str = Field(max_length=300)
    crashed: bool
    signal: str | None = Field(default=None, max_length=100)


class Recorded(Document):
    """What the recorded run did with this input. ``not_run`` for cases that come from no run.

    Of a call that never came back: the ``exit`` of its process and the Python ``stack`` that a fatal signal left, as far as anybody
    saw them. ``tracker`` is the file whose function was recorded.
    """

    event: Literal["not_run", "returned", "raised", "never_returned"] = "not_run"
    exception: str = Field(default="", max_length=20_000)
    exit: RecordedExit | None = None
    stack: str = Field(default="", max_length=20_000)
    tracker: str = Field(default="", max_length=2000)
    T_WCf: Pose | None = None
    T_CkCf: Pose | None = None
