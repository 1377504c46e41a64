"""Everything known about one outcome, and how rules look at it: the solver's frames, quotations with their place, siblings."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.diagnosis import faultclass, frames
from harness.diagnosis.documents import Documents, Rung
from harness.diagnosis.frames import Frame
from harness.diagnosis.libraries import has_frame, is_solver_of, may_be_solver_of
from harness.diagnosis.sweeps import Sweep
from harness.outcome import ExceptionInfo, Fact, Kind, Outcome

OPS = ("identity", "inv", "mul", "act", "act3", "act4", "retr", "exp", "log", "adj", "adjT", "matrix")
_OPERATIONS = {op: op for op in OPS} | {"Identity": "identity", "__mul__": "mul"}
"""What functions are called that do one."""
DEVICE_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
HOST_TOOLS = ("asan", "ubsan")
RECORDED_SOLVER = "recorded"
"""The solver of an outcome that is a recording, not a replay."""
MAX_QUOTE = 300
GROUP = "Sim3"
"""The group of every case: a pose is eight numbers."""
_BEFORE_THE_SOLVE = ("none", "spawned", "building")
_ON_WINDOWS = {"--tool asan": "--memory exact", "--tool ubsan": "--layouts"}
"""The sanitizers of compilers run on Linux only. What says most in their place where the failure is."""


@dataclass(frozen=True)
class Evidence:
    """``siblings`` are other outcomes of the same case; those of the same solver count.

    What is not known is left out, and no rule may take that for something.
    """

    outcome: Outcome
    siblings: tuple[Outcome, ...] = ()
    oracle: Outcome | None = None
    documents: Documents = field(default_factory=Documents)

    # What it ran.

    @functools.cached_property
    def frames(self) -> tuple[Frame, ...]:
        """The solver's innermost frames, from faulthandler or the exception's traceback."""
        return frames.top(self._stack)

    @property
    def called(self) -> Frame | None:
        """The outermost of the solver's frames: what was asked of it, at whatever moment it was looked at."""
        return frames.entry(self._stack)

    @functools.cached_property
    def _stack(self) -> tuple[Frame, ...]:
        found = frames.from_faulthandler(self.outcome.faulthandler)
        exception = self.exception
        return found or (frames.from_traceback(exception.traceback) if exception else ())

    @property
    def innermost(self) -> tuple[Frame, ...]:
        """The call that was under way, whosever it is; empty without a stack."""
        return self._stack[:1]

    @functools.cached_property
    def _called(self) -> str | None:
        named = (_OPERATIONS.get(frame.function) for frame in frames.top(self._stack, 12))
        return next((op for op in named if op), None)

    @property
    def op_was_called(self) -> bool:
        """Whether the stack shows that a Lie-group operation was under way."""
        return self._called is not None

    @property
    def op(self) -> str | None:
        """The Lie-group operation: of the innermost frame named after one, else the case's own."""
        named = self.outcome.input.get("op")
        return self._called or (named if isinstance(named, str) else None)

    def ran(self, library: str) -> bool:
        """Whether what failed is this library's or built on it, by the innermost frames or the solver's name. Of a recording no
        more is known than what was installed."""
        if self.outcome.solver == RECORDED_SOLVER and not self.frames:
            versions = self.outcome.input.get("versions")
            return isinstance(versions, dict) and library in versions
        return has_frame(library, self.frames) or is_solver_of(library, self.outcome.solver)

    def may_have_run(self, library: str) -> bool:
        return self.ran(library) or (not self.frames and may_be_solver_of(library, self.outcome.solver))

    @property
    def on_gpu(self) -> bool:
        """Whether the tensors were on a GPU. Without a device in the outcome the case's own counts."""
        if self.outcome.device is not None:
            return self.outcome.device.startswith("cuda")
        devices = self.outcome.input.get("devices")
        return isinstance(devices, list) and any(str(device).startswith("cuda") for device in devices)

    @property
    def gpu_index(self) -> int:
        """0 where the number of the GPU is not known."""
        found = re.fullmatch(r"cuda:(\d{1,3})", self.outcome.device or "")
        return int(found[1]) if found else 0

    @property
    def capability(self) -> tuple[int, int] | None:
        """(9, 0) for an sm_90: of the GPU that the outcome is of, as the run's environment lists it."""
        gpus = self.documents.environment.get("gpus")
        if not self.on_gpu or not isinstance(gpus, list) or self.gpu_index >= len(gpus):
            return None
        found = re.search(r"\bsm_(\d{2,3})\b", str(gpus[self.gpu_index]))
        return divmod(int(found[1]), 10) if found else None

    @property
    def side(self) -> str:
        """Whose code runs the solve."""
        return "Device" if self.on_gpu else "Host"

    @property
    def solving(self) -> bool:
        """Whether the process had got as far as its imports."""
        return self.outcome.stage not in _BEFORE_THE_SOLVE

    @property
    def in_the_solve(self) -> bool:
        """Whether the solver had been called, in the tensors' own memory, and had not come back."""
        return self.outcome.stage == "solving" or self.outcome.stage.startswith("iteration")

    # How it ended.

    @functools.cached_property
    def fault(self) -> str:
        return faultclass.fault_class(self.outcome)

    @property
    def exception(self) -> ExceptionInfo | None:
        return self.outcome.exception

    @property
    def off(self) -> bool:
        """A result came back, is held to parity, and fails it."""
        o = self.outcome
        return o.kind is Kind.OK and o.judged and o.parity is not None and o.parity.get("within") is not True

    def number(self, name: str) -> int:
        """A count of the input facts; 0 where it is not known."""
        value = self.outcome.input.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def known(self, name: str) -> bool:
        return self.outcome.input.get(name) is not None

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Of the case's floating-point tensors; empty where they are not known."""
        named = self.outcome.input.get("dtypes")
        return tuple(map(str, named)) if isinstance(named, (list, tuple)) else ()

    # Siblings.

    def same_solver(self, *, tools: tuple[str, ...] | None = None) -> Iterator[Outcome]:
        """The other ways in which this solver was run on this case."""
        for other in self.siblings:
            if other.solver == self.outcome.solver and other.key != self.outcome.key and (tools is None or other.tool in tools):
                yield other

    @property
    def sweep(self) -> Sweep | None:
        """The layout sweep of this case and solver, that of the same tool where there is one."""
        mine = [it for it in self.documents.sweeps if (it.case, it.solver) == (self.outcome.case, self.outcome.solver)]
        return next((it for it in mine if it.is_of(self.outcome)), mine[0] if mine else None)

    def rungs(self, *, surely: bool = True, **wanted: str) -> tuple[Rung, ...]:
        """The probe's rungs that have these values, nearest to the case first; ``device="cuda"`` fits every GPU.

        None where another library was probed than the one that ran, or, not ``surely``, than one that may have run.
        """
        probe = self.documents.probe
        if probe is None or not (self.ran if surely else self.may_have_run)(probe.target):
            return ()
        dtypes = self.dtypes
        found = [rung for rung in probe.rungs if all(_fits(rung, *pair) for pair in wanted.items())]
        return tuple(sorted(found, key=lambda rung: (rung.group != GROUP, rung.dtype not in dtypes)))

    def command(self, *more: str) -> str:
        """The command that repeats the outcome, with other options."""
        base = self.outcome.repeat or f"harness replay {self.outcome.case} --solver {self.outcome.solver}"
        if self._on_windows:
            more = tuple(_ON_WINDOWS.get(each, each) for each in more)
        options = r" --tool \S+| --memory \S+" + (r"| --layout \S+" if "--layouts" in more else "")
        return " ".join([re.sub(options, "", base), *more])

    @property
    def _on_windows(self) -> bool:
        """Whether it was run there, as far as anything says so."""
        return (
            str(self.documents.environment.get("os", "")).startswith("Windows") or "Windows fatal exc" in self.outcome.faulthandler
        )


def _fits(rung: Rung, name: str, value: str) -> bool:
    has = str(getattr(rung, name))
    return has.startswith("cuda") if (name, value) == ("device", "cuda") else has == value


# Quotations.


def place(outcome: Outcome, part: str) -> str:
    return f"{outcome.case} / {outcome.solver} / {outcome.how}: {part}"


LABELS = {
    "outcome": "outcome", "status": "status", "exit": "exit code", "cuda": "CUDA error", "device": "device",
    "iterations": "iterations", "limit_s": "time limit, s", "tool_state": "state of the tool",
    "parity.op_error": "error of the operation", "trace[-1].cost": "cost at the last iteration",
    "input.n_points": "points", "input.n_valid": "valid points", "input.batch": "batch",
    "input.masked_nonfinite": "masked points that are not finite", "input.masked_at_origin": "masked points at the origin",
    "input.valid_nonfinite": "valid points that are not finite", "input.all_zero": "every point is zero",
    "input.max_tangent": "largest number in the tangent", "input.dtypes": "number types", "input.devices": "devices",
    "input.recorded": "recorded",
}  # fmt: skip
"""What a bare value is called where it is quoted, by its place in the outcome. What explains itself has no label."""


def fact(outcome: Outcome, part: str, quote: Any) -> Fact:
    label = f"{LABELS[part]}: " if part in LABELS else ""
    return Fact(clip(f"{label}{quote}"), place(outcome, part))


def clip(text: str) -> str:
    return text if len(text) <= MAX_QUOTE else text[: MAX_QUOTE - 4] + " ..."


TEXTS = ("exception.message", "exception.traceback", "reason", "notes", "stderr", "stdout", "faulthandler")
SAID = ("exception.message", "reason")
"""What the process itself or the harness states, not what anyone could have printed."""


def text_of(outcome: Outcome, part: str) -> str:
    if part.startswith("exception."):
        return str(getattr(outcome.exception, part.partition(".")[2])) if outcome.exception else ""
    text = getattr(outcome, part) or ""
    return "\n".join(text) if isinstance(text, tuple) else text


def find_line(outcome: Outcome, pattern: re.Pattern[str], parts: tuple[str, ...] = TEXTS) -> Fact | None:
    """The first line in these texts that the pattern is found in, quoted from where it matches."""
    anywhere = _anywhere(pattern)
    for part in parts:
        text = text_of(outcome, part)
        if anywhere.search(text) is None:  # line by line is a hundred times slower, and most rules find nothing
            continue
        for number, line in enumerate(text.splitlines(), 1):
            found = pattern.search(line[:4000])
            if found:
                start = found.start() if found.end() > MAX_QUOTE - 4 else 0
                return Fact(clip(line[start:].strip()), place(outcome, f"{part}, line {number}"))
    return None


@functools.cache
def _anywhere(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """The same for a text of many lines."""
    return re.compile(pattern.pattern, pattern.flags | re.MULTILINE)


def exit_facts(outcome: Outcome) -> tuple[Fact, ...]:
    if outcome.exit is None:
        return ()
    code = outcome.exit.code
    shown = f"{code} (0x{code & 0xFFFFFFFF:08X})" if abs(code) > 255 else str(code)
    return (fact(outcome, "exit", f"{shown} {outcome.exit.name}: {outcome.exit.meaning}"),)


def frame_facts(e: Evidence) -> tuple[Fact, ...]:
    """The solver's innermost frames, as they stand in the text they come from."""
    part = "faulthandler" if frames.from_faulthandler(e.outcome.faulthandler) else "exception.traceback"
    lines = text_of(e.outcome, part).splitlines()
    return tuple(fact(e.outcome, f"{part}, line {f.text_line}", lines[f.text_line - 1].strip()) for f in e.frames)


def input_fact(e: Evidence, name: str) -> Fact:
    value = e.outcome.input.get(name)
    if isinstance(value, dict):
        value = ", ".join(f"{key} {item}" for key, item in value.items() if item != "")
    elif isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    elif isinstance(value, bool):
        value = "yes" if value else "no"
    return fact(e.outcome, f"input.{name}", value)
