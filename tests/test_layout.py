"""The recorded memory is rebuilt exactly: strides, offset, alignment, aliasing, gaps."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from case_factory import covered_bytes, layouts, make_case, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import CARRIERS, Case, TensorSpec
from harness.errors import CaseError
from harness.layout import POISON, aligned_bytes, arrays, check_overlaps, groups, windows


@settings(max_examples=150, deadline=None)
@given(case=layouts())
def test_every_tensor_has_its_recorded_place_and_bits(case: Case) -> None:
    rebuilt = arrays(case)
    assert set(rebuilt) == set(case.document.tensors)
    for name, spec in case.document.tensors.items():
        array = rebuilt[name]
        assert array.dtype == CARRIERS[spec.dtype]
        assert array.shape == spec.shape
        assert array.strides == tuple(step * spec.itemsize for step in spec.stride)
        assert array.ctypes.data % 512 == spec.data_ptr_mod_512
        assert same_bits(np.ascontiguousarray(array).reshape(spec.shape), case.values[name])


@settings(max_examples=100, deadline=None)
@given(case=layouts())
def test_offsets_count_from_the_window_and_gaps_are_poison(case: Case) -> None:
    specs = case.document.tensors
    for group, names in groups(specs).items():
        window = windows(case)[group]
        owned = set().union(*(covered_bytes(specs[name]) for name in names))
        assert len(window) == max(specs[name].end_byte for name in names)
        assert owned <= set(range(len(window)))
        assert all(window[i] == POISON for i in set(range(len(window))) - owned)
        for name in names:
            start = specs[name].storage_offset * specs[name].itemsize
            first = case.values[name].reshape(-1)[:1].tobytes()
            assert window[start : start + len(first)].tobytes() == first


def shared_poses() -> Case:
    """As upstream makes them: ``T_WCf`` and ``T_WCk`` are rows 1 and 3 of one (4, 8) buffer."""
    row = {"dtype": "float32", "shape": (1, 8), "stride": (8, 1), "alias_group": "T_WC"}
    specs = {
        "T_WCf": TensorSpec(storage_offset=8, data_ptr_mod_512=32, **row),
        "T_WCk": TensorSpec(storage_offset=24, data_ptr_mod_512=96, **row),
    }
    return make_case(specs=specs)


def test_rows_of_one_buffer_lie_in_one_buffer() -> None:
    rebuilt = arrays(shared_poses())
    assert rebuilt["T_WCk"].ctypes.data - rebuilt["T_WCf"].ctypes.data == 64
    assert rebuilt["T_WCf"].ctypes.data % 512 == 32


def test_writing_through_one_view_shows_in_the_other() -> None:
    same = {"dtype": "float32", "shape": (5, 3), "alias_group": "X"}
    values = np.arange(15, dtype=np.float32).reshape(5, 3)
    specs = {"Xf": TensorSpec(stride=(3, 1), **same), "Xk": TensorSpec(stride=(3, 1), **same)}
    rebuilt = arrays(make_case(specs=specs, values={"Xf": values, "Xk": values}))
    rebuilt["Xf"][2, 1] = 77.0
    assert rebuilt["Xk"][2, 1] == 77.0
    assert not np.shares_memory(rebuilt["Xf"], rebuilt["Qk"])


def test_each_replay_gets_memory_of_its_own() -> None:
    case = shared_poses()
    first = arrays(case)
    first["T_WCf"][...] = 0
    assert same_bits(arrays(case)["T_WCf"], case.values["T_WCf"])


def test_two_types_may_share_bytes() -> None:
    wide = np.arange(8, dtype=np.float64).reshape(1, 8) / 3
    specs = {
        "T_WCf": TensorSpec(dtype="float64", shape=(1, 8), stride=(8, 1), alias_group="g"),
        "T_WCk": TensorSpec(dtype="float32", shape=(1, 8), stride=(8, 1), storage_offset=8, data_ptr_mod_512=32, alias_group="g"),
    }
    narrow = wide.view(np.float32)[:, 8:].copy()
    rebuilt = arrays(make_case(specs=specs, values={"T_WCf": wide, "T_WCk": narrow}))
    assert rebuilt["T_WCk"].ctypes.data == rebuilt["T_WCf"].ctypes.data + 32


def test_expanded_tensor_is_one_element() -> None:
    spec = TensorSpec(dtype="float32", shape=(5, 1), stride=(0, 1))
    case = make_case(specs={"Qk": spec}, values={"Qk": np.full((5, 1), 2.5, np.float32)})
    rebuilt = arrays(case)
    assert len(windows(case)["=Qk"]) == 4
    rebuilt["Qk"][0, 0] = 9
    assert (rebuilt["Qk"] == 9).all()


def contradictions() -> dict[str, Case]:
    expanded = TensorSpec(dtype="float32", shape=(5, 1), stride=(0, 1))
    overlapping = TensorSpec(dtype="float32", shape=(5, 3), stride=(2, 1))
    same = TensorSpec(dtype="float32", shape=(5, 3), stride=(3, 1), alias_group="X")
    ramp = np.arange(15, dtype=np.float32).reshape(5, 3)
    other_nan = np.full((5, 3), np.nan, np.float32)
    payload = other_nan.copy()
    payload.view(np.uint32)[4, 2] ^= 1
    return {
        "Qk": make_case(specs={"Qk": expanded}, values={"Qk": np.arange(5, dtype=np.float32).reshape(5, 1)}),
        "Xf": make_case(specs={"Xf": overlapping}, values={"Xf": ramp}),
        "Xf ": make_case(specs={"Xf": same, "Xk": same}, values={"Xf": ramp, "Xk": ramp + 1}),
        "Xf  ": make_case(specs={"Xf": same, "Xk": same}, values={"Xf": other_nan, "Xk": payload}),
    }


@pytest.mark.parametrize("name", list(contradictions()))
def test_values_that_contradict_each_other_are_refused(name: str) -> None:
    case = contradictions()[name]
    for check in (windows, check_overlaps):
        with pytest.raises(CaseError) as caught:
            check(case)
        assert caught.value.field == f"tensors.{name.strip()}"


@st.composite
def perhaps_contradicting(draw: st.DrawFn) -> Case:
    spec = st.builds(
        TensorSpec, dtype=st.just("float16"), shape=st.just((3, 3)), stride=st.tuples(st.integers(0, 4), st.integers(0, 4)),
        storage_offset=st.integers(0, 9), alias_group=st.sampled_from([None, "a"]),
    )  # fmt: skip
    specs = {}
    for name in ("Xf", "Xk"):
        drawn = draw(spec)
        specs[name] = drawn.model_copy(update={"data_ptr_mod_512": drawn.storage_offset * 2})
    values = {name: np.array(draw(st.lists(st.integers(0, 1), min_size=9, max_size=9)), np.float16).reshape(3, 3) for name in specs}
    if draw(st.booleans()):
        values = {name: np.zeros((3, 3), np.float16) for name in specs}
    return make_case(n=3, specs=specs, values=values)


def contradicts(case: Case) -> bool:
    """By hand: two indices of one window that share an element and differ."""
    for names in groups(case.document.tensors).values():
        held: dict[int, float] = {}
        for name in names:
            spec = case.document.tensors[name]
            if spec.dtype != "float16":
                continue
            for (i, j), value in np.ndenumerate(case.values[name]):
                element = spec.storage_offset + i * spec.stride[0] + j * spec.stride[1]
                if held.setdefault(element, float(value)) != float(value):
                    return True
    return False


@settings(max_examples=200, deadline=None)
@given(case=perhaps_contradicting())
def test_exactly_the_contradicting_are_refused(case: Case) -> None:
    for check in (windows, check_overlaps):
        if contradicts(case):
            with pytest.raises(CaseError, match="contradict"):
                check(case)
        else:
            check(case)


@pytest.mark.parametrize("n_bytes", [0, 1, 511, 512, 513, 4096])
@pytest.mark.parametrize("mod", [0, 1, 4, 256, 511])
def test_aligned_bytes(n_bytes: int, mod: int) -> None:
    room = aligned_bytes(n_bytes, mod)
    assert len(room) == n_bytes
    assert room.ctypes.data % 512 == mod
    assert (room == POISON).all()


def test_poison_is_nan_in_every_floating_type() -> None:
    room = aligned_bytes(8, 0)
    for dtype in (np.float16, np.float32, np.float64):
        assert np.isnan(room.view(dtype)).all()
    assert np.isnan((room.view(np.uint16).astype(np.uint32) << 16).view(np.float32)).all()


@pytest.mark.parametrize("offset", [0, 3, 200])
def test_tensors_without_elements(offset: int) -> None:
    spec = TensorSpec(
        dtype="float32", shape=(0, 3), stride=(1 << 20, 1 << 30), storage_offset=offset, data_ptr_mod_512=offset * 4 % 512
    )
    rebuilt = arrays(make_case(n=0, specs={"Xf": spec}))["Xf"]
    assert rebuilt.shape == (0, 3)
    assert rebuilt.ctypes.data % 512 == offset * 4 % 512


def test_checking_does_not_pay_for_gaps() -> None:
    wide = TensorSpec(dtype="float32", shape=(5, 3), stride=(1 << 26, 1))
    case = make_case(specs={"Xf": wide})
    tracemalloc.start()
    try:
        check_overlaps(case)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_memory_that_is_not_there_is_a_case_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(np, "full", refuse)
    with pytest.raises(CaseError, match="bytes of memory"):
        windows(make_case())
