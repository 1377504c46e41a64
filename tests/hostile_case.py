"""What the tests of strangers' cases share: ways to damage a case, and what must come of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
from case_factory import same_bits, set_tensors
from hypothesis import strategies as st

from harness import layout
from harness.case import Case, TensorSpec
from harness.casefile import DOCUMENT, TENSORS, read_case
from harness.errors import CaseError

FULL: dict[str, Any] = {
    "kind": "calib", "n": 2, "seed": 3, "title": "t", "tags": ("a",), "truth_T_CkCf": (0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.25),
    "options": {"img_size": (96, 128), "sigma_ray": 0.004, "max_iters": 9},
    "expect": {"outcomes": ("OK",), "statuses": ("CONVERGED",)},
    "recorded": {"event": "raised", "exception": "E"},
    "specs": {"Qk": TensorSpec(dtype="float16", shape=(2, 1), stride=(3, 1), storage_offset=2, data_ptr_mod_512=36, device="cuda:0",
                               alias_group=None, original_storage_offset=7)},
}  # fmt: skip


def put(place: Path, original: Case, document: bytes | None = None, tensors: bytes | None = None) -> Path:
    assert original.path is not None
    for name, data in ((DOCUMENT, document), (TENSORS, tensors)):
        if data is not None or (original.path / name).exists():
            (place / name).write_bytes((original.path / name).read_bytes() if data is None else data)
    return place


def bytes_of(original: Case, name: str) -> bytes:
    assert original.path is not None
    return (original.path / name).read_bytes()


def attempt(folder: Path) -> Case | None:
    """The case, or None after a ``CaseError`` that says where."""
    try:
        case = read_case(folder)
    except CaseError as error:
        assert Path(error.file).parent == folder or Path(error.file) == folder
        assert error.field
        assert error.reason
        assert str(error).isprintable()
        return None
    layout.arrays(case)
    return case


def refused(folder: Path) -> CaseError:
    with pytest.raises(CaseError) as caught:
        read_case(folder)
    return caught.value


def assert_as_written(case: Case, original: Case) -> None:
    """The original's bits, and a document that says what the file says and nothing else."""
    assert set(case.values) == set(original.values)
    for name, values in original.values.items():
        assert same_bits(case.values[name], values), name
    assert case.path is not None
    stated = json.loads((case.path / DOCUMENT).read_text())
    assert case.document.model_dump(mode="json", by_alias=True, exclude_unset=True) == stated


NESTED = 100_000


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(-(10**90), 10**90),
        st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
        st.sampled_from([1 << 24, (1 << 24) + 1, 1 << 31, 1 << 63, 1 << 64, -1, 0, 511, 512, 2.0, 1e308, 5e-324, -0.0]),
        st.sampled_from(["float32", "bool", "cpu", "cuda:9", "calib", "op", "inv", "room", "CONVERGED", "0" * 64]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(spot for key, item in items for spot in spots(item, (*path, key)))]


def change_at(fields: Any, path: tuple[Any, ...], data: st.DataObject) -> Any:
    """``fields`` with the value at ``path`` replaced, removed, or given a member more."""
    if not path:
        return data.draw(anything)
    changed = copy.deepcopy(fields)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    what = data.draw(st.sampled_from(["replace", "replace", "remove", "add", "near"]))
    if what == "remove":
        del parent[path[-1]]
    elif what == "add" and isinstance(parent, dict):
        parent[data.draw(st.sampled_from(["generator", "op", "alias_group", "dtype", "x"]) | st.text(max_size=5))] = data.draw(
            anything
        )
    elif what == "near" and type(parent[path[-1]]) in (int, float):
        parent[path[-1]] += data.draw(st.integers(-3, 3))
    else:
        parent[path[-1]] = data.draw(anything)
    return changed


def assert_as_the_library_reads(place: Path, data: bytes) -> bool:
    """After the attacker mended the hash: refused, or the values that the safetensors library finds in the same bytes."""
    set_tensors(place, data)
    case = attempt(place)
    if case is None:
        return False
    read = dict(safetensors.deserialize(data))
    assert set(read) == set(case.values)
    for name, values in case.values.items():
        assert bytes(read[name]["data"]) == values.tobytes()
        assert tuple(read[name]["shape"]) == values.shape
    return True


def tensor(name: str, **change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["tensors"][name].update(change)


def top(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update(change)


def both(*changes: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def apply(fields: dict[str, Any]) -> None:
        for change in changes:
            change(fields)

    return apply


BIG = 1 << 24
