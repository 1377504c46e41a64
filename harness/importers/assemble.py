"""A case from values: the one place where importers fill in a document."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.case import CARRIERS, Case, CaseDocument, TensorSpec
from harness.casefile import pack_tensors

_PLACEHOLDER = "0" * 64


def make_case(values: Mapping[str, np.ndarray], specs: Mapping[str, TensorSpec] | None = None, **document: Any) -> Case:
    """A case of these values and fields of ``CaseDocument``. Tensors without a spec are contiguous and 512-byte aligned."""
    specs = dict(specs or {})
    for name, array in values.items():
        specs.setdefault(name, TensorSpec.contiguous(_dtype(array), array.shape))
    draft = CaseDocument(tensors=specs, tensors_sha256=_PLACEHOLDER, **document)
    kept = {name: np.ascontiguousarray(array) for name, array in values.items()}
    digest = hashlib.sha256(pack_tensors(kept, draft)).hexdigest()
    return Case(draft.model_copy(update={"tensors_sha256": digest}), kept)


def pose_tuple(T: np.ndarray) -> tuple[float, ...]:
    return tuple(float(x) for x in T)


def _dtype(array: np.ndarray) -> str:
    return next(name for name, carrier in CARRIERS.items() if carrier == array.dtype and name != "bfloat16")
