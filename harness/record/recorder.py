"""The recorder: before a call its inputs become a case that says "never came back", after it the case says what happened.

It never raises into the tracker, and never changes what the tracker gets: arguments, result and exception are the program's own
objects. What it cannot do it logs once, to the logger ``harness.record`` and to the journal beside the cases.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from harness import cudaerror
from harness.case import CaseDocument, Expectation, Provenance, Recorded, TensorSpec
from harness.casefile import TENSORS
from harness.record import store
from harness.record.describe import exception_text, provenance, recorded_result, tracker_file
from harness.record.inputs import Inputs, NotRecordable, not_recordable, read_inputs
from harness.record.journal import Journal
from harness.record.limits import DiskFull, Full, Kept, is_disk_full
from harness.record.settings import Settings
from harness.record.stacks import keep_stacks
from harness.record.staging import Staging
from harness.record.window import place_of, specs

_log = logging.getLogger("harness.record")
_numbers = itertools.count(1)  # one count for all recorders of a process: it is part of the case's name
_NO_HASH = "0" * 64
_DOCUMENT_BYTES = 8192  # of room on the disk for case.json
_MOST_COSTS = 100_000
_SPARES = 2
_Made = TypeVar("_Made")
_EXPECT = Expectation(
    outcomes=("OK", "SOLVER_STATUS"),
    because="Recorded, so nobody said what must happen: a solver that is right gives the oracle's pose or says why there is none.",
)


@dataclass
class Call:
    """A recorded call that is going on. ``cost_s`` is what recording it took so far."""

    folder: Path
    document: CaseDocument
    cost_s: float
    started: float


class GpuDead(NotRecordable):
    """Nothing of this process can use the GPU any more, since before this call."""


class Recorder:
    """Records calls of one process, from any of its threads; a forked child starts afresh. See ``Settings`` for the limits."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        keep_stacks(self.settings)
        self._journal = Journal(self.settings)
        self._kept = Kept(self.settings.out, self.settings.run, self.settings.keep_returned, self.settings.max_bytes)
        self._own = threading.local()
        self._calls = itertools.count()
        self._seen = 0
        self._said: set[str] = set()
        self._stopped = False
        self._last_case = ""
        self._costs_ms: list[float] = []
        self._spares: deque[Path] = deque()  # its operations are atomic

    # --- what the wrapped methods call --------------------------------------------------------------------------------------------

    def before(self, method: str, tracker: Any, arguments: tuple[Any, ...]) -> Call | None:
        """Put a call's inputs on disk. None when this call is not recorded."""
        if os.getpid() != self._pid:
            self._start()
        number = next(self._calls)
        self._seen = number + 1
        if self._stopped or number % self.settings.every:
            return None
        made: list[Call] = []
        self._guarded(lambda: made.append(self._record(number + 1, method, tracker, arguments)))
        return made[0] if made else None

    def returned(self, call: Call, value: Any) -> None:
        """Write what a call returned."""
        self._to_the_end(lambda: self._finish(call, *recorded_result(value)))

    def raised(self, call: Call, error: BaseException) -> None:
        """Write what a call raised, before anybody swallows it."""
        self._to_the_end(lambda: self._finish(call, Recorded(event="raised", exception=exception_text(error)), well=False))

    def close(self) -> None:
        """Say how many calls there were and what recording one cost, and tidy up. For the end of a process."""
        if os.getpid() != self._pid:
            return
        while self._spares:
            shutil.rmtree(self._spares.pop(), ignore_errors=True)
        costs = sorted(self._costs_ms)
        median = costs[len(costs) // 2] if costs else None
        self._journal.write("closed", calls=self._seen, recorded=len(costs), median_ms=median)

    # --- before -------------------------------------------------------------------------------------------------------------------

    def _record(self, number: int, method: str, tracker: Any, arguments: tuple[Any, ...]) -> Call:
        began = time.perf_counter()
        inputs = read_inputs(method, tracker, arguments)
        layout, layout_tags = specs({name: place_of(tensor) for name, tensor in inputs.tensors.items()})
        image, mask_tags = self._image(number, inputs, layout)
        folder = self.settings.out / f"{self.settings.run}-{self._pid}-{next(_numbers):06d}"
        title = f"call {number} of {method} in process {self._pid}, {threading.current_thread().name}"
        source = provenance(tracker, method, {tensor.device for tensor in inputs.tensors.values()})
        tags = ("recorded", *layout_tags, *mask_tags)
        recorded = Recorded(event="never_returned", tracker=tracker_file(tracker, method))
        document = _document(folder.name, inputs, layout, tags, title, source, recorded)
        n_bytes = len(image) + _DOCUMENT_BYTES
        self._part_with(self._kept.enter(folder, n_bytes, self._on_disk()))
        try:
            document = self._with_room(
                n_bytes, lambda: store.write(folder, document, image, sync=not self.settings.live, spare=self._spare())
            )
        except BaseException:
            self._kept.forget(folder)
            raise
        self._last_case = folder.name
        now = time.perf_counter()
        return Call(folder, document, now - began, now)

    def _image(self, number: int, inputs: Inputs, layout: Mapping[str, TensorSpec]) -> tuple[memoryview, tuple[str, ...]]:
        staging: Staging = self._own.__dict__.setdefault("staging", Staging())
        try:
            return staging.fill(inputs.tensors, layout)
        except RuntimeError as error:
            cuda = cudaerror.find(str(error))
            if cuda is None or not cuda.sticky:
                raise NotRecordable(f"the inputs could not be copied: {error}") from error
            last = f"the last one recorded before it is {self._last_case}" if self._last_case else "none was recorded before it"
            raise GpuDead(
                f"the GPU was already dead before call {number} ({cuda.name}, {cuda.code}: {cuda.meaning}). A kernel "
                f"launched before this call did it, and it only shows now; {last}"
            ) from error

    # --- after --------------------------------------------------------------------------------------------------------------------

    def _finish(self, call: Call, recorded: Recorded, well: bool) -> None:
        began = time.perf_counter()
        seconds = began - call.started
        self._write_end(call, recorded, well)
        if not well:
            self._journal.write("failed", case=call.folder.name, seconds=round(seconds, 6))
        if len(self._costs_ms) < _MOST_COSTS:
            self._costs_ms.append(1000 * (call.cost_s + time.perf_counter() - began))

    def _write_end(self, call: Call, recorded: Recorded, well: bool) -> None:
        if well and self.settings.keep_returned == 0:
            self._part_with(self._kept.leave(call.folder, well=True))
            return
        try:
            recorded = recorded.model_copy(update={"tracker": call.document.recorded.tracker})
            document = call.document.model_copy(update={"recorded": recorded})
            self._with_room(_DOCUMENT_BYTES, lambda: store.update(call.folder, document, sync=not self.settings.live))
        except (OSError, Full):
            # It would go on saying "never came back", which is not true.
            self._kept.forget(call.folder)
            store.remove(call.folder)
            raise
        self._part_with(self._kept.leave(call.folder, well=well))

    # --- room on the disk ---------------------------------------------------------------------------------------------------------

    def _on_disk(self) -> int | None:
        """Bytes that the next case may take, with those of the spare that it is written over; None when the disk does not say."""
        try:
            spare = (self._spares[-1] / TENSORS).stat().st_size if self._spares else 0
            return shutil.disk_usage(self.settings.out).free + spare
        except (OSError, IndexError):  # not there yet; another thread took the spare
            return None

    def _with_room(self, n_bytes: int, write: Callable[[], _Made]) -> _Made:
        """Write; where the disk turns out to be full, once more in the place of calls that are given up. The call that is going
        on may be the one that does not come back, so it is worth more than any that did."""
        try:
            return write()
        except OSError as error:
            if not is_disk_full(error):
                raise
        while (spare := self._spare()) is not None:
            n_bytes -= store.discard(spare)
        for case in self._kept.give_way(n_bytes):
            store.remove(case)
        return write()

    # --- cases that are not kept --------------------------------------------------------------------------------------------------

    def _part_with(self, cases: list[Path]) -> None:
        """They stop being cases at once; two are kept as memory to write the next ones into, for two trackers at a time."""
        for case in cases:
            aside = store.set_aside(case)
            if aside is not None:
                self._spares.append(aside)
        while len(self._spares) > _SPARES:
            shutil.rmtree(self._spares.popleft(), ignore_errors=True)

    def _spare(self) -> Path | None:
        try:
            return self._spares.pop()
        except IndexError:
            return None

    # --- what comes after a call, whatever comes in between -----------------------------------------------------------------------

    def _to_the_end(self, write: Callable[[], None]) -> None:
        """Write, and write it again when Ctrl-C came in between: what a call did must not be lost to the next one's end."""
        try:
            self._guarded(write)
        except KeyboardInterrupt:
            self._guarded(write)
            raise

    # --- what goes wrong ----------------------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except GpuDead as error:
            self._say(str(error), gpu_dead=True)
        except NotRecordable as error:
            self._say(f"a call was not recorded: {error}")
        except Full as error:
            self._say(f"no further calls are recorded until there is room: {error}", refused=isinstance(error, DiskFull))
        except OSError as error:
            reason = f"{self.settings.out}: {error.strerror or error}"
            if is_disk_full(error):
                self._say(f"no further calls are recorded until there is room: {reason}", refused=True)
            else:
                self._stopped = True
                self._say(f"recording has stopped, the tracker goes on: {reason}", refused=True)
        except Exception as error:  # noqa: BLE001  the tracker must not fail because it is looked at
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._say(
                f"a call was not recorded: {type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
            )

    def _say(self, reason: str, *, gpu_dead: bool = False, refused: bool = False) -> None:
        """Log a reason once. The numbers in it may differ."""
        plain = "".join(c for c in reason if not c.isdigit())
        if plain in self._said or len(self._said) > 100:
            return
        self._said.add(plain)
        self._journal.write("problem", reason=reason, gpu_dead=gpu_dead, refused=refused)
        _log.warning("%s", reason)


def _document(
    name: str, inputs: Inputs, layout: Mapping[str, TensorSpec], tags: tuple[str, ...], title: str, source: Provenance,
    recorded: Recorded,
) -> CaseDocument:  # fmt: skip
    kind: Any = inputs.kind  # one of the words that the document allows
    try:
        return CaseDocument(
            id=name, kind=kind, title=title[:300], options=inputs.options, tensors=dict(layout), expect=_EXPECT, tags=tags,
            provenance=source, recorded=recorded, tensors_sha256=_NO_HASH,
        )  # fmt: skip
    except pydantic.ValidationError as error:
        raise not_recordable("", error) from None
