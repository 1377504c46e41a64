"""A case: one recorded or made input of the pose solver, its exact memory layout, and what must happen. Data only.

``CaseDocument`` is ``case.json``; ``Case`` is that document with its values in memory. Reading and writing is ``casefile``'s
job, rebuilding the recorded memory is ``layout``'s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field

from harness.document import Document, Finite, Pose
from harness.recorded import Recorded as Recorded
from sim3solve.problem import MASKS, Options, ProblemError, Status, field_shapes

SCHEMA: Literal["sim3solve-case/1"] = "sim3solve-case/1"
MAX_POINTS = 1 << 24
MAX_WINDOW_BYTES = 1 << 31
MAX_IMAGE_SIDE = 1 << 20
ID_PATTERN = r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,98}[A-Za-z0-9_+-])?"

_CARRIERS = {
    "bool": np.bool_, "uint8": np.uint8, "int32": np.int32, "int64": np.int64,
    "float16": np.float16, "bfloat16": np.uint16, "float32": np.float32, "float64": np.float64,
}  # fmt: skip
CARRIERS: Mapping[str, np.dtype[Any]] = MappingProxyType({name: np.dtype(carrier) for name, carrier in _CARRIERS.items()})
"""NumPy's type for each dtype of a case. NumPy has no bfloat16: its bits travel as uint16 (``as_float`` reads them)."""

FLOATING = frozenset({"float16", "bfloat16", "float32", "float64"})
OPS: Mapping[str, Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "identity": {"X": (8,)},
        "inv": {"X": (8,)},
        "mul": {"X": (8,), "Y": (8,)},
        "act": {"X": (8,), "p": (3,)},
        "exp": {"a": (7,)},
        "retr": {"X": (8,), "a": (7,)},
    }
)
"""Sim(3) operations an ``op`` case may hold, and the row each operand has; operands are (B, row)."""

_WINDOWS_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{i}" for port in ("COM", "LPT") for i in range(1, 10)}


class TensorSpec(Document):
    """Type and exact place of one tensor. Strides and offset count elements; ``storage_offset`` counts from its window's start."""

    dtype: Literal["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
    shape: tuple[Annotated[int, Field(ge=0, le=MAX_POINTS)], ...] = Field(max_length=4)
    stride: tuple[Annotated[int, Field(ge=0, le=MAX_WINDOW_BYTES)], ...] = Field(max_length=4)
    storage_offset: int = Field(default=0, ge=0, le=MAX_WINDOW_BYTES)
    data_ptr_mod_512: int = Field(default=0, ge=0, lt=512)
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:[0-9]{1,3})?)$")
    alias_group: str | None = Field(default=None, pattern=r"^[^=]", max_length=100)  # "=NAME" is layout's name for an own window
    original_storage_offset: int | None = Field(default=None, ge=0, lt=1 << 63)

    @property
    def itemsize(self) -> int:
        return CARRIERS[self.dtype].itemsize

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.itemsize

    @property
    def end_byte(self) -> int:
        """One past the last byte the tensor touches, counted from its window's start."""
        if math.prod(self.shape) == 0:
            return self.storage_offset * self.itemsize
        last = self.storage_offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return (last + 1) * self.itemsize

    @property
    def base_mod_512(self) -> int:
        """Where its window starts, modulo 512."""
        return (self.data_ptr_mod_512 - self.storage_offset * self.itemsize) % 512

    @classmethod
    def contiguous(cls, dtype: str, shape: tuple[int, ...], **rest: Any) -> TensorSpec:
        stride = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        return cls(dtype=dtype, shape=shape, stride=stride, **rest)  # type: ignore[arg-type]

    @pydantic.model_validator(mode="after")
    def _fits(self) -> TensorSpec:
        if len(self.shape) != len(self.stride):
            raise ProblemError("stride", f"has {len(self.stride)} entries for a shape of {len(self.shape)}")
        needed = max(self.nbytes, self.end_byte)
        if needed > MAX_WINDOW_BYTES:
            raise ProblemError("stride", f"needs {needed} bytes of memory; the limit is {MAX_WINDOW_BYTES}")
        if self.data_ptr_mod_512 % self.itemsize:
            raise ProblemError("data_ptr_mod_512", f"{self.data_ptr_mod_512} is no multiple of the {self.itemsize}-byte element")
        return self


class OptionsDocument(Document):
    """``sim3solve.Options`` as it is written; every value is checked by ``Options`` itself."""

    sigma_ray: Finite = Options.sigma_ray
    sigma_dist: Finite = Options.sigma_dist
    sigma_pixel: Finite = Options.sigma_pixel
    sigma_depth: Finite = Options.sigma_depth
    huber: Finite = Options.huber
    max_iters: int = Options.max_iters
    rel_error: Finite = Options.rel_error
    delta_norm: Finite = Options.delta_norm
    pixel_border: Finite = Options.pixel_border
    depth_eps: Finite = Options.depth_eps
    img_size: tuple[Annotated[int, Field(le=MAX_IMAGE_SIDE)], Annotated[int, Field(le=MAX_IMAGE_SIDE)]] | None = None

    @pydantic.model_validator(mode="after")
    def _checked(self) -> OptionsDocument:
        self.options()
        return self

    def options(self) -> Options:
        return Options(**dict(self))


class Provenance(Document):
    """Where the values come from. ``versions`` maps a tool or library to its version."""

    source: str = Field(max_length=2000)
    licence: str = Field(max_length=2000)
    attribution: str = Field(default="", max_length=4000)
    versions: dict[str, str] = Field(default_factory=dict, max_length=100)


class Expectation(Document):
    """What must happen, and why. ``parity`` asks for agreement with the oracle; ``statuses`` is empty for any."""

    outcomes: tuple[str, ...] = ("OK",)
    statuses: tuple[Status, ...] = ()
    parity: bool = True
    because: str = Field(default="", max_length=2000)

    @pydantic.field_validator("statuses", mode="before")
    @classmethod
    def _status(cls, value: Any) -> Any:
        known = {status.value for status in Status}
        if not isinstance(value, (list, tuple)):
            return value
        return tuple(Status(v) if isinstance(v, str) and v in known else v for v in value)


class Operation(Document):
    """One Lie-group operation, for an ``op`` case."""

    group: Literal["Sim3"] = "Sim3"
    name: Literal["identity", "inv", "mul", "act", "exp", "retr"]


class Generator(Document):
    """How to make values that are not stored. Names a scene of ``harness.scenes``; it runs no code from the case."""

    scene: Literal["room", "plane"]
    n_points: int = Field(ge=0, le=MAX_POINTS)
    seed: int = Field(ge=0, lt=1 << 63)


class CaseDocument(Document):
    """``case.json``."""

    schema_: Literal["sim3solve-case/1"] = Field(default=SCHEMA, alias="schema")
    id: str = Field(pattern=f"^{ID_PATTERN}$")
    kind: Literal["ray_dist", "calib", "op"]
    title: str = Field(default="", max_length=300)
    options: OptionsDocument = OptionsDocument()
    tensors: dict[str, TensorSpec] = Field(max_length=32)
    op: Operation | None = None
    generator: Generator | None = None
    truth_T_CkCf: Pose | None = None
    expect: Expectation = Expectation()
    requires: tuple[Literal["cuda"], ...] = ()
    tags: tuple[Annotated[str, Field(max_length=60)], ...] = Field(default=(), max_length=32)
    provenance: Provenance
    recorded: Recorded = Recorded()
    tensors_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> CaseDocument:
        if not is_valid_id(self.id):
            raise ProblemError("id", f"{self.id} cannot be a folder on Windows")
        for name, shape in self._expected_shapes().items():
            if name not in self.tensors:
                raise ProblemError(f"tensors.{name}", f"missing from a case of kind {self.kind}")
            spec = self.tensors[name]
            if spec.shape != shape:
                raise ProblemError(f"tensors.{name}.shape", f"must be {shape}, got {spec.shape}")
            if (spec.dtype == "bool") != (name in MASKS) or (name not in MASKS and spec.dtype not in FLOATING):
                wanted = "bool" if name in MASKS else "floating"
                raise ProblemError(f"tensors.{name}.dtype", f"must be {wanted}, got {spec.dtype}")
        unknown = set(self.tensors) - set(self._expected_shapes())
        if unknown:
            raise ProblemError(f"tensors.{min(unknown)}", f"not a tensor of a case of kind {self.kind}")
        if self.kind == "calib" and self.options.img_size is None:
            raise ProblemError("options.img_size", "a calibrated case needs (height, width)")
        self._check_memory()
        self._check_generator()
        return self

    def _check_memory(self) -> None:
        firsts: dict[str, TensorSpec] = {}
        ends: dict[str, int] = {}
        for name, spec in self.tensors.items():
            group = spec.alias_group or f"={name}"
            first = firsts.setdefault(group, spec)
            if first.base_mod_512 != spec.base_mod_512:
                raise ProblemError(f"tensors.{name}.data_ptr_mod_512", f"contradicts the others of alias group {group!r}")
            if first.device != spec.device:
                raise ProblemError(f"tensors.{name}.device", f"contradicts the others of alias group {group!r}")
            ends[group] = max(ends.get(group, 0), spec.end_byte)
        needed = max(sum(ends.values()), sum(spec.nbytes for spec in self.tensors.values()))
        if needed > MAX_WINDOW_BYTES:
            raise ProblemError("tensors", f"need {needed} bytes of memory together; the limit is {MAX_WINDOW_BYTES}")

    def _check_generator(self) -> None:
        # Before anything is generated: the scene must make what the tensors say.
        if self.generator is None:
            return
        if self.kind != "ray_dist":
            raise ProblemError("generator", f"given in a case of kind {self.kind}; scenes are ray_dist")
        if self.generator.n_points != self.n_points:
            raise ProblemError("generator.n_points", f"is {self.generator.n_points}, the tensors have {self.n_points} points")

    def _expected_shapes(self) -> dict[str, tuple[int, ...]]:
        if self.kind == "op":
            if self.op is None:
                raise ProblemError("op", "missing from a case of kind op")
            first = next(iter(self.tensors.values()), None)
            batch = first.shape[0] if first is not None and first.shape else 1
            return {name: (batch, *row) for name, row in OPS[self.op.name].items()}
        if self.op is not None:
            raise ProblemError("op", f"given in a case of kind {self.kind}")
        Xf = self.tensors.get("Xf")
        return field_shapes(self.kind, Xf.shape[0] if Xf is not None and Xf.shape else 0)

    @property
    def n_points(self) -> int:
        return self.tensors["Xf"].shape[0] if "Xf" in self.tensors else 0


@dataclass(frozen=True, eq=False)
class Case:
    """A document and its values. ``values[name]`` is a C-contiguous NumPy array of the carrier type and of the spec's shape."""

    document: CaseDocument
    values: Mapping[str, np.ndarray]
    path: Path | None = None

    @property
    def id(self) -> str:
        return self.document.id

    @property
    def options(self) -> Options:
        return self.document.options.options()

    def as_float(self, name: str) -> np.ndarray:
        """A tensor as float64 (masks as bool), whatever type it was recorded in. Shape as in its spec."""
        return as_float(self.values[name], self.document.tensors[name].dtype)


def as_float(values: np.ndarray, dtype: str) -> np.ndarray:
    """Carrier values as float64, bool unchanged."""
    if dtype == "bool":
        return values
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.astype(np.float64)


def is_valid_id(text: str) -> bool:
    """Whether a folder of this name can exist on every system."""
    return re.fullmatch(ID_PATTERN, text) is not None and text.split(".")[0].upper() not in _WINDOWS_DEVICES
