"""Changes that make a case simpler to read: identity poses, ones, unit weights, default options, plain memory. Pure.

Each says what it makes of which tensor or option. They are tried together, and kept where the failure survives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.case import CARRIERS, Case, TensorSpec, as_float
from sim3solve.problem import MASKS, Options, field_shapes

IDENTITY_POSE, IDENTITY, ONES, ZEROS, TRUE, ROUNDED, ZERO = "identity pose", "identity", "ones", "zeros", "true", "rounded", "zero"
PLAIN, UNSHARED, NO_OFFSET, CONTIGUOUS, ALIGNED = "plain memory", "memory of its own", "offset 0", "C order", "aligned to 512"
DEFAULT = "default"
MAX_ELEMENTS = 36
"""Elements are set to zero one by one only where so few are left."""
MAX_ROUNDED = 4096
"""Digits are for people to read: of more numbers nobody does."""
ONCE = frozenset(name for name, shape in field_shapes("calib", 1).items() if shape == field_shapes("calib", 2)[name])
"""The tensors that are there once, not a row for each point."""

_POSES = ("T_WCf", "T_WCk", "X", "Y")
_FIRST = dict.fromkeys(_POSES, IDENTITY_POSE) | dict.fromkeys(MASKS, TRUE) | {"K": IDENTITY, "a": ZEROS}
_UNIT = np.array([0, 0, 0, 0, 0, 0, 1, 1.0])


@dataclass(frozen=True)
class Change:
    """``tensor`` (or ``option``) becomes ``to``; with ``element`` only that one, its row numbered as in the original case."""

    to: str
    tensor: str = ""
    option: str = ""
    element: tuple[int, ...] = ()

    def __str__(self) -> str:
        at = f"[{', '.join(map(str, self.element))}]" if self.element else ""
        return f"{self.tensor or 'options.' + self.option}{at}: {self.to}"

    @property
    def of_values(self) -> bool:
        return bool(self.tensor) and self.to not in (PLAIN, UNSHARED, NO_OFFSET, CONTIGUOUS, ALIGNED)

    def apply(self, specs: dict[str, TensorSpec], values: dict[str, np.ndarray], options: dict[str, Any], rows: np.ndarray) -> None:
        """Make it. ``rows`` are the original numbers of the rows that are left; an element of one that is gone changes nothing."""
        if self.option:
            options[self.option] = getattr(Options, self.option)
        elif self.of_values:
            values[self.tensor] = self._values(values[self.tensor], specs[self.tensor], rows)
        else:
            specs[self.tensor] = self._spec(specs[self.tensor])

    def _values(self, values: np.ndarray, spec: TensorSpec, rows: np.ndarray) -> np.ndarray:
        if self.element:
            changed = values.copy()
            row = self.element[0] if self.tensor in ONCE else rows == self.element[0]
            changed[row, *self.element[1:]] = 0  # zero has the same bits in every type
            return changed
        numbers = _numbers(values, spec.dtype)
        return carried(_simple(self.to, numbers), spec.dtype)

    def _spec(self, spec: TensorSpec) -> TensorSpec:
        plain = TensorSpec.contiguous(spec.dtype, spec.shape, device=spec.device)
        if self.to == PLAIN:
            return plain
        updates: dict[str, dict[str, Any]] = {
            UNSHARED: {"alias_group": None},
            NO_OFFSET: {"storage_offset": 0, "original_storage_offset": None},
            CONTIGUOUS: {"stride": plain.stride},
            ALIGNED: {"data_ptr_mod_512": 0},
        }
        return spec.model_copy(update=updates[self.to])


def carried(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Float64 numbers as the carrier type of a dtype (bfloat16: its upper bits, not rounded)."""
    if dtype == "bfloat16":
        return (np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(numbers.astype(CARRIERS[dtype]))


def first_changes(case: Case) -> list[Change]:
    """The simplest there is, for every tensor's numbers, every tensor's memory, and every option."""
    document = case.document
    changes = [Change(_FIRST.get(name, ONES), name) for name in document.tensors]
    changes += [Change(PLAIN, name) for name in document.tensors]
    fixed = ("max_iters", "img_size")  # the one is minimized by itself, the other has no default
    return changes + [Change(DEFAULT, option=name) for name in dict(document.options) if name not in fixed]


def second_changes(case: Case, made: Sequence[Change]) -> list[Change]:
    """For tensors that could not be made as simple as that: single properties of the memory, zeros in place of ones."""
    changes = []
    for name in case.document.tensors:
        if Change(PLAIN, name) not in made:
            changes += [Change(to, name) for to in (UNSHARED, NO_OFFSET, CONTIGUOUS, ALIGNED)]
        if _FIRST.get(name, ONES) == ONES and Change(ONES, name) not in made:
            changes.append(Change(ZEROS, name))
    return changes


def last_changes(case: Case, rows: np.ndarray) -> list[list[Change]]:
    """For numbers that are still as recorded: single elements to zero where few are left, then fewer digits."""
    floating = [name for name in case.document.tensors if name not in MASKS]
    elements = [Change(ZERO, name, element=at) for name in floating for at in _elements(case, name, rows)]
    rounded = [Change(ROUNDED, name) for name in floating if case.values[name].size <= MAX_ROUNDED]
    return [elements if len(elements) <= MAX_ELEMENTS else [], rounded]


def pruned(changes: Sequence[Change], rows: np.ndarray) -> tuple[Change, ...]:
    """The same without those that no longer show: of points that are gone, or of a tensor that was then set as a whole."""
    left = []
    for at, change in enumerate(changes):
        later = {other.to for other in changes[at + 1 :] if other.tensor == change.tensor and other.of_values and not other.element}
        gone = change.element and change.tensor not in ONCE and change.element[0] not in rows
        if not gone and not (change.of_values and later - {ROUNDED}):
            left.append(change)
    return tuple(left)


def _elements(case: Case, name: str, rows: np.ndarray) -> Iterator[tuple[int, ...]]:
    """The elements that are neither 0 nor 1, which is as simple as a number gets."""
    numbers = _numbers(case.values[name], case.document.tensors[name].dtype)
    simple = (numbers == 0) | (numbers == 1)
    for at in np.argwhere(~simple)[: MAX_ELEMENTS + 1]:
        yield (int(at[0]) if name in ONCE else int(rows[at[0]]), *map(int, at[1:]))


def _numbers(values: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a signalling NaN is one of the values a case may hold
        return as_float(values, dtype)


def _simple(to: str, numbers: np.ndarray) -> np.ndarray:
    if to == IDENTITY_POSE:
        return np.broadcast_to(_UNIT, numbers.shape)
    if to == IDENTITY:
        return np.eye(*numbers.shape)
    if to == ROUNDED:
        return _two_digits(numbers)
    return np.full(numbers.shape, {ONES: 1.0, ZEROS: 0.0, TRUE: True}[to])


def _two_digits(numbers: np.ndarray) -> np.ndarray:
    """Two significant decimal digits; NaN and infinities as they are."""
    shown = [f"{number:.2g}" for number in numbers.ravel().tolist()]
    return np.array([float(text) for text in shown], dtype=np.float64).reshape(numbers.shape)
