"""A smaller case: which points of a case are kept and where they lie, how many iterations, which changes. Pure.

Points that stay keep what a kernel can see of their memory: strides, offset into the storage, the pointer modulo 512, sharing.
They move up to where the first point lay, or, where a fault may be bound to an address, stay from ``first_slot`` on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic

from harness import casefile, layout
from harness.case import Case, CaseDocument, Recorded, TensorSpec
from harness.errors import CaseError
from harness.minimize.change import ONCE, Change


class CannotBuild(Exception):
    """No case is like that: for example two tensors in one memory of which only one was changed."""


@dataclass(frozen=True, eq=False)
class Cut:
    """What is left of a case. ``rows`` are the points (rows of an operation's operands) that are kept, ascending.

    ``first_slot`` is the row of the original memory at which the first of them lies; ``changes`` are made in their order.
    """

    rows: np.ndarray
    max_iters: int
    first_slot: int = 0
    changes: tuple[Change, ...] = ()

    @property
    def words(self) -> str:
        more = f", {len(self.changes)} changes" if self.changes else ""
        return f"{len(self.rows)} points, {self.max_iters} iterations{more}"


@dataclass(frozen=True, eq=False)
class Packed:
    """A case as the bytes of its two files: what travels to whoever runs it. ``digest`` is that of both."""

    document: bytes
    tensors: bytes
    digest: str


def whole(case: Case) -> Cut:
    """The cut that leaves everything."""
    return Cut(np.arange(rows_of(case.document)), case.document.options.max_iters)


def rows_of(document: CaseDocument) -> int:
    """Points of the problem; of an operation the rows of its operands."""
    return next((document.tensors[name].shape[0] for name in per_row(document)), 0)


def per_row(document: CaseDocument) -> tuple[str, ...]:
    """The tensors that have a row for each point."""
    return tuple(name for name in document.tensors if name not in ONCE)


def build(case: Case, cut: Cut) -> Case:
    """The smaller case. Raises ``CannotBuild``."""
    document = case.document
    specs, values = dict(document.tensors), dict(case.values)
    for name in per_row(document):
        specs[name] = _moved(specs[name], len(cut.rows), cut.first_slot)
        values[name] = _rows(values[name], cut.rows)
    options = document.options.model_dump() | {"max_iters": cut.max_iters}
    for change in cut.changes:
        change.apply(specs, values, options, cut.rows)
    fields: dict[str, Any] = {
        "tensors": specs, "options": options, "generator": None, "recorded": Recorded(),
        # Of a scene whose numbers were changed nobody knows the true pose.
        "truth_T_CkCf": document.truth_T_CkCf if not any(change.of_values for change in cut.changes) else None,
    }  # fmt: skip
    for tensors in (specs, _apart(specs)):
        made = Case(_checked(document, fields | {"tensors": tensors}), values, case.path)
        try:
            layout.check_overlaps(made)
            return made
        except CaseError:  # rows that moved up contradict each other where they overlapped: each tensor gets memory of its own
            continue
    raise CannotBuild("a tensor overlaps itself, and its rows no longer agree")


def pack(case: Case) -> Packed:
    tensors = casefile.pack_tensors(case.values, case.document)
    sha256 = hashlib.sha256(tensors).hexdigest()
    document = casefile.pack_document(case.document.model_copy(update={"tensors_sha256": sha256}))
    return Packed(document, tensors, hashlib.sha256(document).hexdigest())


def _moved(spec: TensorSpec, n: int, slot: int) -> TensorSpec:
    step = slot * (spec.stride[0] if spec.stride else 0)
    original = spec.original_storage_offset
    return spec.model_copy(
        update={
            "shape": (n, *spec.shape[1:]),
            "storage_offset": spec.storage_offset + step,
            "data_ptr_mod_512": (spec.data_ptr_mod_512 + step * spec.itemsize) % 512,
            "original_storage_offset": None if original is None else original + step,
        }
    )


def _rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return np.ascontiguousarray(values[rows[0] : rows[-1] + 1])  # no gathering for what is one piece
    return np.ascontiguousarray(values[rows])


def _apart(specs: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
    return {name: spec.model_copy(update={"alias_group": None}) for name, spec in specs.items()}


def _checked(document: CaseDocument, fields: dict[str, Any]) -> CaseDocument:
    """The document with these fields, checked as if it had been read."""
    unchecked = document.model_copy(update=fields | {"options": document.options})
    try:
        return CaseDocument.model_validate(unchecked.model_dump(by_alias=True) | {"options": fields["options"]})
    except pydantic.ValidationError as error:
        raise CannotBuild(str(error)) from None
