"""What a Python process does when it starts with ``HARNESS_RECORD`` set: wait for the tracker's module, and record its class.

``sim3solve-record.pth`` calls ``install`` (or, from a checkout that is not installed, ``startup/sitecustomize.py``), in spawned
processes too. Until the tracker is imported nothing is imported here but the standard library.
"""

from __future__ import annotations

import atexit
import os
import sys
from types import ModuleType

from harness.errors import HarnessError
from harness.record.journal import Journal
from harness.record.settings import Settings
from sim3solve.on_import import when_imported

_installed = False


def install() -> None:
    """Record this process's tracker, if ``HARNESS_RECORD`` asks for it. What goes wrong is one line on stderr."""
    global _installed
    if _installed:
        return
    _installed = True
    try:
        settings = Settings.from_environment(os.environ)
        if settings is None:
            return
        os.environ.update(settings.to_environment())  # a child is of the same run, wherever it starts
        journal = Journal(settings)
        journal.write("loaded", pid=os.getpid(), argv=list(getattr(sys, "orig_argv", [])))
        when_imported(settings.tracker.partition(":")[0], lambda module: _attach(module, settings, journal), order=1)
    except (HarnessError, OSError) as error:
        _say(f"nothing is recorded: {error}")


def _attach(module: ModuleType, settings: Settings, journal: Journal) -> None:
    try:
        from harness.record.methods import attach
        from harness.record.recorder import Recorder

        name = settings.tracker.partition(":")[2]
        if not hasattr(module, name):
            raise HarnessError(f"{module.__name__} has no {name}")
        recorder = Recorder(settings)
        recording = attach(getattr(module, name), recorder)
        journal.write("tracker", tracker=settings.tracker, methods=list(recording.methods))
        atexit.register(recorder.close)
    except Exception as error:  # noqa: BLE001  this runs inside the program's own import, which must not fail for it
        journal.write("problem", reason=f"nothing is recorded: {type(error).__name__}: {error}")
        _say(f"nothing is recorded: {type(error).__name__}: {error}")


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(f"harness record: {text}", file=sys.stderr)  # noqa: T201
