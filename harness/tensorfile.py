"""The safetensors format, written and read strictly: the same bytes everywhere, and a reason by tensor when a file is wrong.

The format is 8 bytes with the header's length (little endian), a JSON header ``{name: {dtype, shape, data_offsets}}`` and the
values. The library of that name is not used: what it writes differs between its versions, and a generated case is known by the
hash of its bytes. Every file written here is one the library reads, and the reverse (``tests/test_case.py``).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness import jsonfile
from harness.case import CARRIERS, TensorSpec
from harness.errors import CaseError

MAX_HEADER_BYTES = 1 << 20

_WIRE = {
    "bool": "BOOL", "uint8": "U8", "int32": "I32", "int64": "I64",
    "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip


def pack(specs: Mapping[str, TensorSpec], values: Mapping[str, np.ndarray]) -> bytes:
    """The file that holds ``values[name]`` for every spec, largest element first so that each tensor is aligned in it."""
    names = sorted(specs, key=lambda name: (-specs[name].itemsize, name))
    header, end = {}, 0
    for name in names:
        start, end = end, end + specs[name].nbytes
        header[name] = {"dtype": _WIRE[specs[name].dtype], "shape": list(specs[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *(np.ascontiguousarray(values[name]).tobytes() for name in names)])


def max_bytes(specs: Mapping[str, TensorSpec]) -> int:
    """No valid file for these specs is longer."""
    return 8 + MAX_HEADER_BYTES + sum(spec.nbytes for spec in specs.values())


def unpack(file: Path, data: bytes, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    """The values, read-only views of ``data``. Raises ``CaseError`` unless the file holds exactly the tensors of ``specs``."""
    header, start = _header(file, data)
    header.pop("__metadata__", None)
    for name in sorted(set(specs) ^ set(header)):
        raise CaseError(file, name or "header", "is in this file only" if name in header else "missing")
    spans = {name: _span(file, name, header[name], spec) for name, spec in specs.items()}
    expected = start
    for name, (first, last) in sorted(spans.items(), key=lambda item: item[1]):
        if start + first != expected:
            raise CaseError(file, f"{name}.data_offsets", "overlap those before, or leave a gap")
        expected = start + last
    if expected != len(data):
        raise CaseError(file, "file", f"has {len(data)} bytes, its header accounts for {expected}")
    return {name: _values(file, name, data, start + spans[name][0], spec) for name, spec in specs.items()}


def _header(file: Path, data: bytes) -> tuple[dict[str, Any], int]:
    if len(data) < 8:
        raise CaseError(file, "header", "the file ends before it")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise CaseError(file, "header", f"claims {length} bytes of {len(data) - 8}; the limit is {MAX_HEADER_BYTES}")
    try:
        header = jsonfile.parse(data[8 : 8 + length])
    except ValueError as error:
        raise CaseError(file, "header", str(error)) from None
    if not isinstance(header, dict):
        raise CaseError(file, "header", "is not an object")
    return header, 8 + length


def _span(file: Path, name: str, entry: Any, spec: TensorSpec) -> tuple[int, int]:
    """Where a tensor's values start and end, counted from the header's end."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CaseError(file, name, "must hold dtype, shape and data_offsets")
    if entry["dtype"] != _WIRE[spec.dtype]:
        raise CaseError(file, f"{name}.dtype", f"is {str(entry['dtype'])[:50]}, the case says {_WIRE[spec.dtype]}")
    if not _are_integers(entry["shape"]) or entry["shape"] != list(spec.shape):
        raise CaseError(file, f"{name}.shape", f"is {str(entry['shape'])[:100]}, the case says {list(spec.shape)}")
    offsets = entry["data_offsets"]
    if not _are_integers(offsets) or len(offsets) != 2 or offsets[0] < 0 or offsets[1] - offsets[0] != spec.nbytes:
        raise CaseError(file, f"{name}.data_offsets", f"are {str(offsets)[:100]}, the tensor has {spec.nbytes} bytes")
    return offsets[0], offsets[1]


def _are_integers(value: Any) -> bool:
    # Exactly int: to Python, True and 1.0 equal 1.
    return isinstance(value, list) and all(type(item) is int for item in value)


def _values(file: Path, name: str, data: bytes, start: int, spec: TensorSpec) -> np.ndarray:
    raw = np.frombuffer(data, np.uint8, spec.nbytes, start) if spec.nbytes else np.empty(0, np.uint8)
    if spec.dtype == "bool" and raw.size and raw.max() > 1:
        raise CaseError(file, name, "a bool holds a byte that is neither 0 nor 1")
    values = raw.view(CARRIERS[spec.dtype]).reshape(spec.shape)
    values.flags.writeable = False
    return values
