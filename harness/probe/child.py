"""The child of the probe: climbs rungs and writes down each before and after, so that the one that kills it is known by name.

In its folder it finds ``job.json`` and leaves ``journal.jsonl`` and ``faulthandler``. It loads the library and then, where it may
fork, does nothing itself: a fork climbs, and when it dies the next one goes on. A rung that hangs is ended by faulthandler's own
watchdog, which needs no lock of Python's, after it has written the stacks.
"""

from __future__ import annotations

import faulthandler
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NoReturn

import torch

from harness import cudaerror
from harness.errors import SolverUnavailable
from harness.jsonfile import dumps, write_json
from harness.probe.lane import FORK, Lane, Seen, entry_of, read_seen
from harness.probe.libraries import Library, Missing, NothingThere, open_library
from harness.probe.measure import judge, refusal
from harness.probe.operands import operands
from harness.probe.oracle import GROUPS, Array, expected
from harness.probe.rungs import ERROR, REFUSED_DTYPES, UNAVAILABLE, Result, Rung
from harness.process import Ended
from harness.worker_files import FAULTHANDLER, JOB, JOURNAL

_cuda: Any = torch.cuda  # half of it has no types
_SLEEP_CYCLES = 4_000_000  # some 2 ms: what an op on the wrong stream has to overtake


def main(folder: Path) -> int:
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    rungs = [Rung(**fields) for _, fields in job["rungs"]]
    journal = _Journal(folder)
    with open(folder / FAULTHANDLER, "w", encoding="utf-8") as stacks:
        faulthandler.enable(stacks, all_threads=True)
        try:
            library = open_library(job["target"])
        except SolverUnavailable as error:
            journal.write({"unavailable": str(error), "missing": isinstance(error, NothingThere)})
            return 0
        except BaseException as error:  # noqa: BLE001  the top of a child: what a user's file raises is the finding
            journal.write({"raised": f"{type(error).__name__}: {error}"})
            return 0
        if job["fork"] and not _cuda.is_initialized():  # a GPU in use does not survive a fork
            _climb_in_forks(library, rungs, job["rung_limit_s"], folder, journal)
        else:
            _climb_here(library, rungs, job["rung_limit_s"], journal, stacks)
    journal.write({"done": True})
    return 0


class _Journal:
    """Lines that are on disk, as far as a dying process can see, when ``write`` returns."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, entry: dict[str, Any]) -> None:
        os.write(self._descriptor, (dumps(entry, indent=None) + "\n").encode())


def _climb_here(library: Library, rungs: Sequence[Rung], limit_s: float, journal: _Journal, stacks: IO[str]) -> None:
    journal.write({"environment": _environment() | library.about(), "groups": list(library.groups), "devices": _devices()})
    with torch.no_grad():
        for number, rung in enumerate(rungs):
            journal.write({"start": number})
            faulthandler.dump_traceback_later(limit_s, exit=True, file=stacks)
            result, over = _try(library, rung)
            faulthandler.cancel_dump_traceback_later()
            journal.write(entry_of(number, result))
            if over:
                return  # a sticky CUDA error: nothing more can be tried in this process


def _climb_in_forks(library: Library, rungs: Sequence[Rung], limit_s: float, folder: Path, journal: _Journal) -> None:
    numbers = {rung: number for number, rung in enumerate(rungs)}

    def add(result: Result) -> None:
        journal.write({"start": numbers[result.rung]})
        journal.write(entry_of(numbers[result.rung], result))

    forks = _Forks(library, limit_s, folder, numbers)
    seen = forks.ask("inquiry", ())
    if seen.environment is not None:
        journal.write({"environment": seen.environment, "groups": seen.groups, "devices": seen.devices})
    Lane(FORK, [rung for rung in rungs if rung.group in library.groups], add).climb(forks)


class _Forks:
    """Climbs in a copy of this process."""

    def __init__(self, library: Library, limit_s: float, folder: Path, numbers: Mapping[Rung, int]) -> None:
        self._library, self._limit_s, self._folder, self._numbers = library, limit_s, folder, numbers

    def ask(self, name: str, rungs: Sequence[Rung]) -> Seen:
        folder = self._folder / name
        folder.mkdir()
        # Should this process die before it can tell what the fork did, its parent reads the fork's own journal.
        write_json(folder / JOB, [self._numbers[rung] for rung in rungs])
        sys.stdout.flush()
        sys.stderr.flush()
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            self._become_climber(folder, rungs)
        _, status = os.waitpid(pid, 0)
        return read_seen(folder, rungs, Ended(os.waitstatus_to_exitcode(status), time.monotonic() - start))

    def _become_climber(self, folder: Path, rungs: Sequence[Rung]) -> NoReturn:
        code = 70
        try:
            with open(folder / FAULTHANDLER, "w", encoding="utf-8") as stacks:
                faulthandler.enable(stacks, all_threads=True)
                journal = _Journal(folder)
                _climb_here(self._library, rungs, self._limit_s, journal, stacks)
                journal.write({"done": True})
            code = 0
        finally:
            os._exit(code)


def _try(library: Library, rung: Rung) -> tuple[Result, bool]:
    """The result of a rung, and whether the process is of no use after it."""
    if rung.group not in library.groups:
        return Result(rung, UNAVAILABLE, detail=f"there is no {rung.group}"), False
    try:
        made = _on_thread(rung, lambda: _on_stream(library, rung))
    except Missing as missing:
        return Result(rung, UNAVAILABLE, detail=str(missing)), False
    except BaseException as error:  # noqa: BLE001  the top of a child: whatever an op raises is its result
        text = f"{type(error).__name__}: {error}".strip()
        cuda = cudaerror.find(text)
        if rung.dtype in REFUSED_DTYPES and cuda is None:
            return refusal(rung, error), False
        return Result(rung, ERROR, detail=_first_line(text)), cuda is not None and cuda.sticky
    try:
        return judge(rung, made, *_truth(rung, library.adjT_of_inverse)), False
    except Exception as error:  # noqa: BLE001  what came back may do anything when it is looked at; the process must not end of it
        return Result(rung, ERROR, detail=_first_line(f"what came back cannot be judged: {type(error).__name__}: {error}")), False


def _on_thread(rung: Rung, call: Callable[[], Any]) -> Any:
    if rung.thread == "main":
        return call()
    left: list[Any] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with torch.no_grad():  # a thread has its own
                left.append(call())
        except BaseException as error:  # noqa: BLE001  carried to the main thread
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return left[0]


def _on_stream(library: Library, rung: Rung) -> Any:
    """The op's result as a CPU tensor, waited for; whatever the device reports is raised here."""
    dtype = getattr(torch, rung.dtype)
    truth, _ = _truth(rung, library.adjT_of_inverse)
    values = {name: torch.from_numpy(value).to(dtype) for name, value in truth.items()}
    if not rung.device.startswith("cuda"):
        x = {name: _lay_out(value, rung).copy_(value) for name, value in values.items()}
        return library.call(rung.name, rung.group, x, rung.batch, dtype, rung.device)
    x = {name: _lay_out(value, rung) for name, value in values.items()}
    ready = {name: value.to(rung.device) for name, value in values.items()}
    torch.cuda.synchronize(rung.device)
    stream = _cuda.Stream(rung.device) if rung.stream == "side" else torch.cuda.current_stream(rung.device)
    with torch.cuda.stream(stream):
        if rung.stream == "side":
            _cuda._sleep(_SLEEP_CYCLES)  # the operands are still NaN for who does not wait for this stream
        for name, value in ready.items():
            x[name].copy_(value)
        made = library.call(rung.name, rung.group, x, rung.batch, dtype, rung.device)
        kept = made.clone() if isinstance(made, torch.Tensor) else made
        stream.synchronize()
    torch.cuda.synchronize(rung.device)
    return kept.cpu() if isinstance(kept, torch.Tensor) else kept


def _lay_out(value: torch.Tensor, rung: Rung) -> torch.Tensor:
    """Memory for a value in the rung's layout, with NaN in it and all around it."""
    rows, columns = value.shape
    if rung.layout == "strided":
        return torch.full((rows, columns + 3), float("nan"), dtype=value.dtype, device=rung.device)[:, :columns]
    offset = 1 if rung.layout == "offset" else 0
    flat = torch.full((rows * columns + offset + 1,), float("nan"), dtype=value.dtype, device=rung.device)
    return flat[offset : offset + rows * columns].view(rows, columns)


def _truth(rung: Rung, adjT_of_inverse: bool) -> tuple[dict[str, Array], Array]:
    return _cached_truth(rung.op, rung.group, rung.dtype, rung.batch, adjT_of_inverse)


@lru_cache(maxsize=4096)
def _cached_truth(op: str, group: str, dtype: str, batch: int, adjT_of_inverse: bool) -> tuple[dict[str, Array], Array]:
    """The operands as the dtype holds them, in float64, and what must come out."""
    rung = Rung(op, group, dtype, "cpu", batch)
    kind = getattr(torch, dtype)
    values = operands(rung, GROUPS[group])
    rounded = {name: torch.from_numpy(value).to(kind).double().numpy() for name, value in values.items()}
    return rounded, expected(rung.name, GROUPS[group], rounded, batch, adjT_of_inverse=adjT_of_inverse)


def _environment() -> dict[str, str]:
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    system = platform.platform(terse=True)
    return {"python": platform.python_version(), "torch": str(torch.__version__), "gpu": gpu, "system": system}


def _devices() -> list[str]:
    return ["cpu", "cuda:0"] if torch.cuda.is_available() else ["cpu"]


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0][:300]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
