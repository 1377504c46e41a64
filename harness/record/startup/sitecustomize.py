"""Starts the recorder in a Python that has no ``sim3solve-record.pth``: for a checkout on PYTHONPATH that is not installed.

Python imports the first ``sitecustomize`` on its path when it starts. This one hides another, so it makes room for that.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [entry for entry in sys.path if entry != _HERE]
_this = sys.modules.pop("sitecustomize")
try:
    importlib.import_module("sitecustomize")
except ModuleNotFoundError:
    sys.modules["sitecustomize"] = _this

from harness.record import hook  # noqa: E402

hook.install()
