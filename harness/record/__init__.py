"""Record the pose solver's inputs out of a running tracker. Two lines do it::

    from harness.record import record
    record(FrameTracker, out="recorded")

or none: ``harness record --out recorded -- python main.py``. docs/recording.md says what is kept, when, and what it costs.
"""

from __future__ import annotations

import atexit
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.record.settings import Settings

if TYPE_CHECKING:
    from harness.record.methods import Recording

__all__ = ["record"]


def record(
    tracker: Any,
    out: Path | str,
    *,
    every: int = 1,
    last: int | None = None,
    on_failure_only: bool = False,
    max_bytes: int = Settings.max_bytes,
    live: bool = False,
) -> Recording:
    """Record every call of a tracker's ``opt_pose_*`` methods into cases below the folder ``out``.

    ``tracker`` is a tracker class, and then all trackers of that class are recorded, or one tracker. The options are those of
    ``harness record``. ``stop()`` of what is returned, or leaving it as a ``with`` block, ends it. Raises ``UsageError`` when
    ``tracker`` has no such method or an option makes no sense; nothing that happens afterwards is raised into the tracker.
    """
    from harness.record.limits import short_of_space
    from harness.record.methods import attach  # numpy and pydantic are not imported by a program that never tracks
    from harness.record.recorder import Recorder

    settings = Settings(Path(out), every, last, on_failure_only, max_bytes, live)
    recorder = Recorder(settings)
    recording = attach(tracker, recorder)
    if short := short_of_space(settings.out, settings.max_bytes):
        logging.getLogger("harness.record").warning("%s", short)
    atexit.register(recorder.close)
    return recording
