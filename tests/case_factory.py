"""Small valid cases for the tests, made of random bits so that every NaN payload occurs, and hypothesis strategies of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from harness import scenes
from harness.case import CARRIERS, FLOATING, OPS, Case, CaseDocument, Generator, Operation, Provenance, TensorSpec
from harness.casefile import DOCUMENT, TENSORS, write_case
from harness.layout import view
from sim3solve.problem import MASKS, field_shapes

PROVENANCE = Provenance(source="made for a test", licence="Apache-2.0")
NO_HASH = "0" * 64


def shapes_of(kind: str, n: int, op: str = "mul") -> dict[str, tuple[int, ...]]:
    """The tensors of a kind; for an ``op``, n rows of its operands."""
    return {name: (n, *row) for name, row in OPS[op].items()} if kind == "op" else field_shapes(kind, n)


def random_bits(spec: TensorSpec, rng: np.random.Generator) -> np.ndarray:
    """Any bits the type can hold, signalling NaNs included."""
    if spec.dtype == "bool":
        return rng.integers(0, 2, spec.shape, dtype=np.uint8).view(np.bool_)
    return np.frombuffer(rng.bytes(spec.nbytes), dtype=CARRIERS[spec.dtype]).reshape(spec.shape)


def make_case(
    kind: str = "ray_dist",
    n: int = 5,
    *,
    op: str = "mul",
    float_type: str = "float32",
    specs: dict[str, TensorSpec] | None = None,
    values: dict[str, np.ndarray] | None = None,
    seed: int = 0,
    **fields: Any,
) -> Case:
    """A valid case with contiguous tensors of random bits, but for the specs and values given."""
    given, rng = specs or {}, np.random.default_rng(seed)
    tensors = {
        name: given.get(name) or TensorSpec.contiguous("bool" if name in MASKS else float_type, shape)
        for name, shape in shapes_of(kind, n, op).items()
    }
    if kind == "calib":
        fields.setdefault("options", {"img_size": (96, 128)})
    if kind == "op":
        fields.setdefault("op", Operation(name=op))
    fields = {"id": "small", "provenance": PROVENANCE} | fields
    document = CaseDocument(kind=kind, tensors=tensors, tensors_sha256=NO_HASH, **fields)
    return Case(document, {name: random_bits(spec, rng) for name, spec in tensors.items()} | (values or {}))


def make_generated(n: int = 40, scene: str = "room", **fields: Any) -> Case:
    generator = Generator(scene=scene, n_points=n, seed=7)
    return make_case(n=n, generator=generator, values=scenes.generate(generator), **fields)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_same(got: Case, expected: Case) -> None:
    """Same document, but for the hash that writing fills in, and the same bits."""
    ignore = {"tensors_sha256": NO_HASH}
    assert got.document.model_copy(update=ignore) == expected.document.model_copy(update=ignore)
    assert set(got.values) == set(expected.values)
    for name, values in expected.values.items():
        assert same_bits(got.values[name], values), name


def edit_document(folder: Path, change: Any) -> None:
    """Rewrite ``case.json`` with ``change(fields)`` applied."""
    file = folder / DOCUMENT
    fields = json.loads(file.read_text())
    change(fields)
    file.write_text(json.dumps(fields))


def set_tensors(folder: Path, data: bytes) -> None:
    """Replace the tensors and, as an attacker would, the hash that guards them."""
    (folder / TENSORS).write_bytes(data)
    edit_document(folder, lambda fields: fields.update(tensors_sha256=hashlib.sha256(data).hexdigest()))


def written(folder: Path, **fields: Any) -> Case:
    return write_case(make_case(**fields), folder)


@st.composite
def strided(draw: st.DrawFn, dtype: str, shape: tuple[int, ...], base_mod_512: int | None = None) -> TensorSpec:
    """A tensor that does not overlap itself: any order of dimensions, any gaps, any offset and alignment."""
    size = CARRIERS[dtype].itemsize
    stride, reach = [0] * len(shape), 1
    for axis in draw(st.permutations(range(len(shape)))):
        stride[axis] = reach + draw(st.integers(0, 3))
        reach = stride[axis] * max(shape[axis], 1)
    offset = draw(st.integers(0, 200))
    base = draw(st.integers(0, 512 // size - 1)) * size if base_mod_512 is None else base_mod_512
    return TensorSpec(
        dtype=dtype, shape=shape, stride=tuple(stride), storage_offset=offset, data_ptr_mod_512=(base + offset * size) % 512
    )  # fmt: skip


@st.composite
def layouts(draw: st.DrawFn, max_n: int = 5) -> Case:
    """A case of any kind, types and layout; some of its tensors share one window of random bytes, overlapping as they will."""
    kind = draw(st.sampled_from(["ray_dist", "calib", "op"]))
    op = draw(st.sampled_from(sorted(OPS)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shared_base = draw(st.integers(0, 63)) * 8
    specs, shared = {}, []
    for name, shape in shapes_of(kind, draw(st.integers(0, max_n)), op).items():
        dtype = "bool" if name in MASKS else draw(st.sampled_from(sorted(FLOATING)))
        if dtype != "bool" and draw(st.booleans()):
            specs[name] = draw(strided(dtype, shape, shared_base)).model_copy(update={"alias_group": "shared"})
            shared.append(name)
        else:
            specs[name] = draw(strided(dtype, shape))
    window = np.frombuffer(rng.bytes(max((specs[name].end_byte for name in shared), default=0)), np.uint8)
    values = {name: np.array(view(window, specs[name]), order="C") for name in shared}
    return make_case(kind, op=op, n=0 if not specs else next(iter(specs.values())).shape[0], specs=specs, values=values)


def covered_bytes(spec: TensorSpec) -> set[int]:
    """The bytes of its window that a tensor owns, index by index, without NumPy's help."""
    found = set()
    for index in np.ndindex(*spec.shape):
        element = spec.storage_offset + sum(i * step for i, step in zip(index, spec.stride, strict=True))
        start = element * spec.itemsize
        found.update(range(start, start + spec.itemsize))
    return found
