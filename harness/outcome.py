"""What happened to one (case, solver, tool): a kind with the payload that kind must have. Data only."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Kind(str, Enum):
    """How one replay ended."""

    OK = "OK"  # a pose came back
    SOLVER_STATUS = "SOLVER_STATUS"  # the solver said, by a status, that it has no pose
    RAISED = "RAISED"  # a Python exception
    CRASHED = "CRASHED"  # the process died: signal, NTSTATUS
    CUDA_ERROR = "CUDA_ERROR"  # the CUDA driver or runtime reported an error
    TIMEOUT = "TIMEOUT"  # ended by the harness at the time limit
    FINDINGS = "FINDINGS"  # a sanitizer found something
    INCONCLUSIVE = "INCONCLUSIVE"  # not enough evidence for any of the others
    UNAVAILABLE = "UNAVAILABLE"  # could not be tried on this machine


REQUIRED_PAYLOAD: dict[Kind, tuple[str, ...]] = {
    Kind.OK: ("status",),
    Kind.SOLVER_STATUS: ("status",),
    Kind.RAISED: ("exception",),
    Kind.CRASHED: ("exit",),
    Kind.CUDA_ERROR: ("cuda",),
    Kind.TIMEOUT: ("limit_s",),
    Kind.FINDINGS: ("findings",),
    Kind.INCONCLUSIVE: ("reason",),
    Kind.UNAVAILABLE: ("reason",),
}

POOL, EXACT, POISON = "pool", "exact", "poison"
MEMORY_MODES = (POOL, EXACT, POISON)
"""Where tensors lie: as in the application; each an allocation of its own, exactly its size; that, and all around it NaN."""
RECORDED = "recorded"  # the layout of a case that nobody changed

TOOL_STATES = ("clean", "findings", "never attached", "timed out", "tool failed", "unsupported", "kernel not launched")


def how(tool: str, memory: str = POOL, layout: str = RECORDED) -> str:
    """One word for the way a case was run: ``none``, ``memcheck``, ``memcheck+exact``, ``none@shift-4``."""
    return tool + ("" if memory == POOL else f"+{memory}") + ("" if layout == RECORDED else f"@{layout}")


SPAWNED, BUILDING, IMPORTED = "spawned", "building", "imported"
STAGES = (SPAWNED, IMPORTED, "loaded", "context", "solving", "solved", "written")
"""What a child journals, in order. Where it compiles something ``building`` lies between spawned and imported, and ``iteration k``
between solving and solved. With ``imported`` the solver is loaded: the time limit begins."""


NO_POSE = "but its pose is not finite"
"""How the note ends that a solver's status promised one."""


@dataclass(frozen=True)
class Exit:
    """How the operating system says a process ended. ``code`` as the OS gave it; ``name`` its decoded name."""

    code: int
    name: str
    meaning: str
    crashed: bool
    signal: str | None = None


@dataclass(frozen=True)
class ExceptionInfo:
    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class CudaError:
    """A CUDA error by number and name. After a sticky one the process can do nothing more on the GPU."""

    code: int
    name: str
    sticky: bool
    meaning: str = ""


@dataclass(frozen=True)
class IterationRecord:
    cost: float
    delta_norm: float
    n_matches: int
    T_CkCf: tuple[float, ...]


CONFIDENCES = ("proven", "likely", "possible", "unknown")
"""How sure a diagnosis is. proven: the cause itself was observed. likely: the symptom is this cause's own and nothing known speaks
against it, but nobody saw the cause. possible: the symptom fits, and others fit as well. unknown: no cause is named."""


@dataclass(frozen=True)
class Fact:
    """A quotation of evidence, and where it stands."""

    quote: str
    where: str


@dataclass(frozen=True)
class Diagnosis:
    """A named cause. ``sentence`` begins with whose fault it is; ``refute`` would show it wrong, and ``test`` is what to run."""

    cause: str
    confidence: str
    sentence: str
    facts: tuple[Fact, ...]
    refute: str
    test: str
    fix: str

    def __post_init__(self) -> None:
        if self.confidence not in CONFIDENCES:
            raise ValueError(f"confidence {self.confidence!r} is none of {', '.join(CONFIDENCES)}")

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Diagnosis:
        """Raises KeyError, TypeError or ValueError for anything ``dataclasses.asdict`` did not write."""
        return cls(**document | {"facts": tuple(Fact(**fact) for fact in document["facts"])})


@dataclass(frozen=True)
class Outcome:
    """One replay. Fields a kind needs are checked; the others are what evidence there was."""

    case: str
    solver: str
    tool: str
    kind: Kind
    stage: str
    seconds: float
    repeat: str
    exit: Exit | None = None
    status: str | None = None
    exception: ExceptionInfo | None = None
    cuda: CudaError | None = None
    limit_s: float | None = None
    reason: str | None = None
    findings: tuple[dict[str, Any], ...] = ()
    tool_state: str | None = None  # one of TOOL_STATES, for a tool other than none
    memory: str = POOL
    layout: str = RECORDED
    iterations: int | None = None
    cost: float | None = None
    T_WCf: tuple[float, ...] | None = None
    T_CkCf: tuple[float, ...] | None = None
    trace: tuple[IterationRecord, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)  # an op's result, the oracle's yardsticks
    device: str | None = None
    solve_seconds: float | None = None
    notes: tuple[str, ...] = ()
    stdout: str = ""
    stderr: str = ""
    faulthandler: str = ""
    stages: tuple[tuple[str, float], ...] = ()  # (stage, seconds since the child was asked for)
    judged: bool = True  # False for a baseline that claims no parity
    parity: dict[str, Any] | None = None
    expected: bool | None = None
    verdict: str = ""
    input: dict[str, Any] = field(default_factory=dict)  # what the judge saw in the case (see diagnosis.inputs)
    diagnosis: Diagnosis | None = None  # the cause, where something went wrong
    signature: str = ""  # the same for the same bug on any machine

    def __post_init__(self) -> None:
        for name in REQUIRED_PAYLOAD[self.kind]:
            if getattr(self, name) in (None, ()):
                raise ValueError(f"an outcome {self.kind.value} needs {name}")

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.case, self.solver, self.how)

    @property
    def loaded(self) -> bool:
        """Whether the solver was loaded: what went wrong before that has nothing to do with the case."""
        return any(stage == IMPORTED for stage, _ in self.stages)

    @property
    def broke_its_promise(self) -> bool:
        """Whether the solver gave a status that promises a pose, and none that is finite."""
        return any(note.endswith(NO_POSE) for note in self.notes)

    @property
    def how(self) -> str:
        """Tool, memory mode and layout in one word."""
        return how(self.tool, self.memory, self.layout)

    def to_json(self) -> dict[str, Any]:
        """The documented form: the enumerated fields first, ``signal`` beside ``exit``."""
        document = dataclasses.asdict(self)
        document["outcome"] = document.pop("kind").value
        document["signal"] = self.exit.signal if self.exit else None
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Outcome:
        """The reverse of ``to_json``. Raises KeyError, TypeError or ValueError on anything else."""
        fields = dict(document)
        fields.pop("signal")
        fields["kind"] = Kind(fields.pop("outcome"))
        for name, kind in (("exit", Exit), ("exception", ExceptionInfo), ("cuda", CudaError)):
            if fields[name] is not None:
                fields[name] = kind(**fields[name])
        for name in ("cost", "seconds", "limit_s"):
            fields[name] = None if fields[name] is None else float(fields[name])
        for name in ("T_WCf", "T_CkCf"):
            fields[name] = None if fields[name] is None else tuple(float(x) for x in fields[name])
        fields["trace"] = tuple(iteration_record(row) for row in fields["trace"])
        fields["stages"] = tuple((str(stage), float(t)) for stage, t in fields["stages"])
        fields["findings"] = tuple(fields["findings"])
        fields["notes"] = tuple(fields["notes"])
        _check_types(fields)
        if fields.get("diagnosis") is not None:
            fields["diagnosis"] = Diagnosis.from_json(fields["diagnosis"])
        return cls(**fields)


def _check_types(fields: dict[str, Any]) -> None:
    """A run may be a stranger's. Raises TypeError naming the field."""
    for name in ("case", "solver", "tool", "stage", "repeat", "stdout", "stderr", "faulthandler", "verdict", "signature"):
        if not isinstance(fields.get(name, ""), str):
            raise TypeError(f"{name} is not text")
    for name in ("parity", "input", "values"):
        if not isinstance(fields.get(name), dict | None):
            raise TypeError(f"{name} is not an object")
    if not all(isinstance(finding, dict) for finding in fields["findings"]):
        raise TypeError("findings are not objects")


def iteration_record(row: dict[str, Any]) -> IterationRecord:
    pose = tuple(float(x) for x in row["T_CkCf"])
    return IterationRecord(float(row["cost"]), float(row["delta_norm"]), int(row["n_matches"]), pose)
