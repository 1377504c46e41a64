"""What a task asks of the Dask worker it runs in, where it does: its name, its folder, and bundles that it lacks.

A worker that lacks a bundle raises an event that the client has subscribed to, and the client hands it the files. No other
connection is needed than those that Dask has.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

from harness.cargo import Bundle, CargoError

ARRIVAL_S = 300.0


def current() -> Any | None:
    """The worker whose task this thread runs; None where that is none."""
    if "distributed.worker" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def topic(origin: str) -> str:
    """The events by which the process ``origin`` is asked for bundles."""
    return f"harness-wants-{origin}"


def ask(bundle: Bundle) -> Mapping[str, bytes]:
    """The files of a bundle, from the client that offers it. Raises ``CargoError``."""
    worker = current()
    assert worker is not None
    arrival = _Arrival()
    with _lock:
        _arrivals[bundle.key] = arrival
    worker.log_event(topic(bundle.origin), {"key": bundle.key, "worker": worker.address})
    try:
        if not arrival.here.wait(ARRIVAL_S):
            raise CargoError(f"{bundle.folder} did not come from the client in {ARRIVAL_S:g} s")
    finally:
        with _lock:
            _arrivals.pop(bundle.key, None)
    if arrival.files is None:
        raise CargoError(arrival.problem)
    return arrival.files


def receive(key: str, files: Mapping[str, bytes] | None, problem: str) -> None:
    """In the worker's loop: what it asked for."""
    with _lock:
        arrival = _arrivals.get(key)
    if arrival is not None:
        arrival.files, arrival.problem = files, problem
        arrival.here.set()


class _Arrival:
    def __init__(self) -> None:
        self.here = threading.Event()
        self.files: Mapping[str, bytes] | None = None
        self.problem = ""


_arrivals: dict[str, _Arrival] = {}
_lock = threading.Lock()
