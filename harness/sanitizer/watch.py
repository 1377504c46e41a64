"""A child under a tool, from the parent's side: what it is started as, and what the files it left make of its outcome.

The order: what the tool found comes first; a run at its limit stays one; how the child itself ended, if not well, is kept; only
then does the tool's state decide, and a good result that was not watched to the end is ``INCONCLUSIVE``. A process that died of a
signal, and of which ASan only tells where, has crashed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import exitcode
from harness.outcome import EXACT, POOL, Kind, Outcome
from harness.process import Ended
from harness.registry import BUILTIN, SolverSpec
from harness.sanitizer import command, hostlog, hoststate, hosttools, launches, locate, records, state, text
from harness.sanitizer.locate import ComputeSanitizer
from harness.sanitizer.tools import CHILD, CUDA_TOOLS, HOST_TOOLS, LOG, RECORDS
from harness.worker_files import FAULTHANDLER, JOURNAL, RESULT, STDERR

_MAX_BYTES = 64 << 20
_MOST_NAMES = 100
_ON_CPU = ("reference", "native", "skip")
_FATAL = re.compile(r"^(?:Fatal Python error: |Windows fatal exception: )([^\n]{1,80})", re.MULTILINE)
_SIGNALS = {
    "Segmentation fault": "SIGSEGV", "Bus error": "SIGBUS", "Aborted": "SIGABRT", "Illegal instruction": "SIGILL",
    "Floating point exception": "SIGFPE", "Floating-point exception": "SIGFPE",
}  # fmt: skip
_STATUSES = {"access violation": 0xC0000005, "stack overflow": 0xC00000FD, "float divide by zero": 0xC0000094}
_EXPANDABLE = re.compile(r",?\s*expandable_segments\s*:\s*\w+", re.IGNORECASE)


class ToolUnavailable(RuntimeError):
    """The tool cannot be used here, or not on this solver; the message says why and what would help."""


def default_memory(tool: str) -> str:
    """Where tensors lie when nobody says: allocations of their own for tools that would not see past the end of a pool's."""
    return EXACT if tool in CUDA_TOOLS else POOL


@dataclass(frozen=True)
class Watch:
    """What a child is started under. ``by`` is the tool's name and version.

    ``kernels`` is a regular expression for the kernels in question: no other is instrumented, and one of them must be launched.
    """

    tool: str
    by: ComputeSanitizer | hosttools.HostTool
    kernels: str | None = None
    sources: Path | None = None  # where its source lines are to be looked up first
    launched: tuple[str, ...] | None = None  # known from a run whose launches filled its records: this one lists none

    def argv(self, folder: Path, child: list[str]) -> list[str]:
        if isinstance(self.by, ComputeSanitizer):
            lists = self.launched is None
            return [*command.argv(self.by, self.tool, folder.resolve(), kernels=self.kernels, list_launches=lists), *child]
        return child

    def environment(self, folder: Path) -> dict[str, str]:
        """No pools for the GPU's memory: they hide what lies past the end of a tensor."""
        if isinstance(self.by, hosttools.HostTool):
            return self.by.environment(folder.resolve())
        changed = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"):
            if _EXPANDABLE.search(os.environ.get(name, "")):  # memcheck takes such memory for unallocated
                changed[name] = _EXPANDABLE.sub("", os.environ[name]).strip(", ")
        return changed

    def about(self) -> dict[str, Any]:
        if isinstance(self.by, ComputeSanitizer):
            return {"name": locate.NAME, "version": self.by.version, "source": self.by.source}
        return {"name": self.tool, "version": self.by.compiler, "source": str(self.by.runtime)}


def prepare(tool: str, solver: SolverSpec, device: str, kernels: str | None = None) -> Watch:
    """What to start a child of this solver under; ``kernels`` are those in question. Raises ``ToolUnavailable``."""
    sources = Path(solver.argument) if solver.is_of_revision and solver.argument else None
    if tool in HOST_TOOLS:
        if solver.base in BUILTIN and solver.base != "native":
            raise ToolUnavailable(
                f"{tool} watches C and C++ on the CPU that is built for it, and {solver.name} has none; it is for native and for "
                "FILE.py:FACTORY with a library of your own"
            )
        try:
            return Watch(tool, hosttools.find(tool), sources=sources)
        except hosttools.RuntimeMissing as error:
            raise ToolUnavailable(str(error)) from error
    if solver.base in _ON_CPU or device == "cpu":
        why = f"{solver.name} runs on the CPU" if solver.base in _ON_CPU else "--device asked for the CPU"
        raise ToolUnavailable(f"{why}, and {tool} watches kernels on a GPU; --tool asan and ubsan watch the CPU")
    if not has_gpu():
        raise ToolUnavailable(f"{tool} watches kernels on an NVIDIA GPU, and this machine shows none")
    try:
        return Watch(tool, locate.find(), kernels or launches.KERNELS.get(solver.base), sources)
    except locate.SanitizerMissing as error:
        raise ToolUnavailable(str(error)) from error


def without_a_list(watch: Watch, outcome: Outcome) -> Watch | None:
    """What to run the same again under, where its launches filled the record file; None for every other outcome."""
    by = outcome.values.get("watched_by", {})
    return dataclasses.replace(watch, launched=tuple(by["launched"])) if by.get("crowded") is True else None


def has_gpu() -> bool:
    """Whether the system shows an NVIDIA GPU. Asks no driver: one that is broken is for the child to meet."""
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").is_file()
    return Path("/dev/dxg").exists() or any(Path("/dev").glob("nvidia[0-9]*"))


def child_end(watch: Watch, folder: Path, ended: Ended) -> Ended:
    """How the child ended, where compute-sanitizer's own exit code tells of the tool."""
    fatal = _fatal(folder)
    if ended.timed_out or ended.code is None or ended.output_bytes is not None:
        return ended
    if fatal is not None:
        return dataclasses.replace(ended, code=fatal)
    if not isinstance(watch.by, ComputeSanitizer):
        return ended
    if ended.code < 0:
        return dataclasses.replace(ended, code=None, lost=f"{locate.NAME} itself died of {exitcode.decode(ended.code).name}")
    return dataclasses.replace(ended, code=0) if (folder / RESULT).exists() else ended


def judged(outcome: Outcome, watch: Watch, folder: Path, ended: Ended, limit_s: float, shared: Path | None = None) -> Outcome:
    """The child's own outcome with what the tool says: its state, its findings, and what they make of the kind.

    ``shared`` is the folder in which the tool left its files when other jobs ran in the same process.
    """
    found = _state(watch, folder, ended, limit_s, shared)
    about = watch.about() | _watched(watch, found)
    again = () if watch.launched is None else (f"run twice under {watch.tool}: the first time its launches filled the records",)
    changed: dict[str, Any] = {
        "tool_state": found.word, "notes": (*outcome.notes, *again, *found.notes), "values": outcome.values | {"watched_by": about},
    }  # fmt: skip
    if found.word == state.FINDINGS:
        died_of = hostlog.deadly_signal(found.findings[-1]) if watch.tool in HOST_TOOLS else None
        if died_of is not None and outcome.exit is not None:
            # It died of itself; the tool says where. What the system gave is the tool's own abort().
            kind, changed["exit"] = Kind.CRASHED, exitcode.decode(-int(getattr(signal, died_of)))
        else:
            kind = Kind.FINDINGS
            if watch.tool in HOST_TOOLS and outcome.exit is not None and outcome.exit.signal == "SIGABRT":
                changed["exit"] = dataclasses.replace(outcome.exit, meaning=f"ended by {watch.tool} at the fault", crashed=False)
        return dataclasses.replace(outcome, kind=kind, findings=found.findings, reason=None, **changed)
    if outcome.kind in (Kind.OK, Kind.SOLVER_STATUS) and found.word != state.CLEAN:
        kind, reason = Kind.INCONCLUSIVE, found.reason
        if found.word == state.UNSUPPORTED:
            kind = Kind.UNAVAILABLE
        elif found.word == state.NEVER_ATTACHED and outcome.device == "cpu" and watch.tool in CUDA_TOOLS:
            kind, reason = Kind.UNAVAILABLE, f"it ran on the CPU, and {watch.tool} watches kernels on a GPU"
        return dataclasses.replace(outcome, kind=kind, reason=reason, **changed)
    if outcome.kind is Kind.INCONCLUSIVE and outcome.exit is not None and ended.output_bytes is None and found.reason:
        return dataclasses.replace(outcome, reason=found.reason, **changed)
    if found.reason and outcome.kind is not Kind.UNAVAILABLE:
        changed["notes"] = (*changed["notes"], found.reason)
    if outcome.kind is Kind.UNAVAILABLE:
        changed["tool_state"] = None
    return dataclasses.replace(outcome, **changed)


def _state(watch: Watch, folder: Path, ended: Ended, limit_s: float, shared: Path | None) -> state.State:
    left = shared or folder
    document = _document(folder / CHILD)
    fatal = _FATAL.search(_read(folder / FAULTHANDLER))
    child = state.Child(
        started=(folder / JOURNAL).exists(), finished=(folder / RESULT).exists(), launched=_names(document.get("launched")),
        died_of=fatal[1] if fatal and _fatal(folder) is not None else None,
    )  # fmt: skip
    if watch.launched is not None:
        child = dataclasses.replace(child, launched=watch.launched)
    end = state.Ending(ended.code, ended.timed_out, limit_s)
    roots = (Path.cwd(),) if watch.sources is None else (watch.sources, Path.cwd())
    if isinstance(watch.by, ComputeSanitizer):
        log = text.read(left / LOG, watch.tool, left / STDERR)
        read = records.read(left / RECORDS, watch.tool, roots, log.nearest)
        return state.decide(watch.tool, read, log, child, end, kernels=watch.kernels, shared=shared is not None)
    findings, problem = hostlog.read(left, watch.tool, roots)
    stack = hostlog.python_frames(_read(folder / FAULTHANDLER)) if fatal else []
    seen = hoststate.Seen(
        document.get("runtime") is True, _names(document.get("instrumented")), findings, problem, tuple(stack),
        _names(document.get("unwatched")) or (),
    )  # fmt: skip
    return hoststate.decide(watch.tool, seen, child, end)


def _watched(watch: Watch, found: state.State) -> dict[str, Any]:
    """What the tool saw run: a report of it says what a clean result is worth."""
    if watch.tool in HOST_TOOLS:
        return {"libraries": list(found.watched)[:_MOST_NAMES]}
    return {"launched": list(found.launched)[:_MOST_NAMES]} | ({"crowded": True} if found.crowded else {})


def _fatal(folder: Path) -> int | None:
    """The exit code of a child that died of a fatal signal, by its own trace. On Windows such a trace may be of one survived."""
    found = _FATAL.search(_read(folder / FAULTHANDLER))
    if found is None:
        return None
    if found[1] in _SIGNALS:
        return -int(getattr(signal, _SIGNALS[found[1]], 0)) or None
    if (folder / RESULT).exists():
        return None
    return _STATUSES.get(found[1])


def _names(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else None


def _document(file: Path) -> Mapping[str, Any]:
    """What the child wrote; empty for what cannot be read: it may have been overrun."""
    try:
        document = json.loads(_read(file))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _read(file: Path) -> str:
    try:
        with open(file, "rb") as handle:
            return handle.read(_MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
