"""A value that a thread of its own works out, for any number of others to wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
_SLICE_S = 0.2  # on Windows a wait hears of Ctrl-C only when it ends


class Later(Generic[T]):
    """``work`` begins at once. Its thread is a daemon: one that never comes back does not keep the process alive."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        threading.Thread(target=self._do, args=(work,), daemon=True).start()

    def _do(self, work: Callable[[], T]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001  handed to who waits, as concurrent.futures does
            self._future.set_exception(error)

    def get(self) -> T:
        """The value. Raises what ``work`` raised."""
        return self._future.result()

    def failure(self, wait_s: float) -> BaseException | None:
        """What ``work`` raised, if it did. Raises ``TimeoutError`` when it is still at it after ``wait_s``."""
        end = time.monotonic() + wait_s
        while True:
            try:
                return self._future.exception(min(_SLICE_S, max(0.0, end - time.monotonic())))
            except TimeoutError:
                if time.monotonic() >= end:
                    raise
