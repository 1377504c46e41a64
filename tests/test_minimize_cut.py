"""A smaller case keeps what a kernel sees of its memory, and a change changes what it says and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from case_factory import assert_same, layouts, make_case, make_generated, same_bits
from hypothesis import given
from hypothesis import strategies as st

from harness import layout
from harness.case import FLOATING, TensorSpec
from harness.casefile import read_case, write_case
from harness.errors import CaseError
from harness.minimize.change import (
    MAX_ELEMENTS,
    ONCE,
    PLAIN,
    ROUNDED,
    ZERO,
    Change,
    first_changes,
    last_changes,
    pruned,
    second_changes,
)
from harness.minimize.cut import CannotBuild, Cut, build, pack, per_row, rows_of, whole
from sim3solve.problem import MASKS


def cut_of(case, rows, **more) -> Cut:
    return Cut(np.array(rows, dtype=np.int64), case.document.options.max_iters, **more)


@given(layouts(), st.data())
def test_any_points_of_any_layout_are_a_case_that_can_be_written_and_read(tmp_path_factory, case, data):
    rows = sorted(data.draw(st.sets(st.integers(0, max(0, rows_of(case.document) - 1))))) if rows_of(case.document) else []
    slot = data.draw(st.sampled_from([0, rows[0] if rows else 0]))
    try:
        made = build(case, cut_of(case, rows, first_slot=slot))
    except CannotBuild as refused:
        assert "overlaps itself" in str(refused)
        return
    assert rows_of(made.document) == len(rows)
    for name, values in made.values.items():
        wanted = case.values[name] if name in ONCE else case.values[name][rows]
        assert same_bits(values, np.ascontiguousarray(wanted)) and values.flags.c_contiguous
        before, after = case.document.tensors[name], made.document.tensors[name]
        assert (after.stride, after.dtype, after.device) == (before.stride, before.dtype, before.device)
        step = 0 if name in ONCE else slot * before.stride[0]
        assert after.storage_offset == before.storage_offset + step
        assert after.data_ptr_mod_512 == (before.data_ptr_mod_512 + step * before.itemsize) % 512
    layout.arrays(made)  # the memory can be rebuilt
    folder = tmp_path_factory.mktemp("cut") / "c"
    assert_same(write_case(made, folder), made)
    assert (folder / "tensors.safetensors").read_bytes() == pack(made).tensors
    assert (folder / "case.json").read_bytes() == pack(made).document


def test_the_whole_case_is_the_case():
    case = make_case("calib", 7)
    made = build(case, whole(case))
    assert_same(made, case)


def test_points_may_stay_where_they_lay():
    """The address of a row is the same, modulo 512, as it was in the whole case."""
    spec = TensorSpec(dtype="float32", shape=(9, 3), stride=(5, 1), storage_offset=2, data_ptr_mod_512=24)
    case = make_case(n=9, specs={"Xf": spec})

    def addresses(case):
        array = layout.arrays(case)["Xf"]
        return [row.__array_interface__["data"][0] % 512 for row in array]

    before = addresses(case)
    assert addresses(build(case, cut_of(case, [4, 5, 6], first_slot=4))) == before[4:7]
    assert addresses(build(case, cut_of(case, [4, 5, 6]))) == before[:3]


def test_rows_that_contradict_each_other_in_shared_memory_get_memory_of_their_own():
    window = np.random.default_rng(0).bytes(13 * 4)
    buffer = np.frombuffer(window, np.float32)
    shared = {"dtype": "float32", "shape": (4, 3), "stride": (3, 1), "alias_group": "g"}
    specs = {"Xf": TensorSpec(**shared), "Xk": TensorSpec(**shared, storage_offset=1, data_ptr_mod_512=4)}
    values = {"Xf": buffer[:12].reshape(4, 3).copy(), "Xk": buffer[1:13].reshape(4, 3).copy()}
    case = make_case(n=4, specs=specs, values=values)
    layout.check_overlaps(case)
    assert build(case, cut_of(case, [1, 2], first_slot=1)).document.tensors["Xf"].alias_group == "g"  # one piece, where it lay
    made = build(case, cut_of(case, [0, 2]))
    assert {made.document.tensors[name].alias_group for name in ("Xf", "Xk")} == {None}
    assert made.document.tensors["Xk"].data_ptr_mod_512 == 4
    overlapping = TensorSpec(dtype="float32", shape=(4, 3), stride=(1, 1))
    window = np.arange(6, dtype=np.float32)
    itself = make_case(n=4, specs={"Xf": overlapping}, values={"Xf": np.stack([window[i : i + 3] for i in range(4)])})
    with pytest.raises(CannotBuild, match="overlaps itself"):
        build(itself, cut_of(itself, [0, 2]))


def test_a_generated_case_becomes_one_with_values_and_loses_no_true_pose():
    case = make_generated(40, truth_T_CkCf=(0.0,) * 6 + (1.0, 1.0))
    made = build(case, cut_of(case, range(7)))
    assert made.document.generator is None and made.document.truth_T_CkCf is not None
    changed = build(case, cut_of(case, range(7), changes=(Change("ones", "Xk"),)))
    assert changed.document.truth_T_CkCf is None


# --- changes ----------------------------------------------------------------------------------------------------------------------


@given(layouts(), st.data())
def test_every_change_makes_a_valid_case_and_touches_nothing_else(case, data):
    rows = whole(case).rows
    offered = [*first_changes(case), *second_changes(case, ()), *(change for some in last_changes(case, rows) for change in some)]
    change = data.draw(st.sampled_from(offered))
    try:
        made = build(case, cut_of(case, rows, changes=(change,)))
        layout.arrays(made)
    except CannotBuild:
        shares = case.document.tensors[change.tensor].alias_group
        assert shares or change.tensor in case.document.tensors  # what overlaps cannot be changed alone
        return
    for name in case.values:
        if name != change.tensor or not change.of_values:
            assert same_bits(made.values[name], case.values[name])
    if change.to == PLAIN:
        spec = made.document.tensors[change.tensor]
        assert spec == TensorSpec.contiguous(spec.dtype, spec.shape)


def test_the_simplest_values_are_what_they_are_called():
    case = make_case("calib", 4, options={"img_size": (96, 128), "huber": 3.0, "max_iters": 7})
    made = build(case, cut_of(case, range(4), changes=tuple(first_changes(case))))
    assert (made.as_float("Xf") == 1).all() and (made.as_float("Qk") == 1).all() and (made.as_float("meas_k") == 1).all()
    assert made.as_float("T_WCf").tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]] and made.as_float("K").tolist() == np.eye(3).tolist()
    assert made.values["valid_opt"].all() and made.values["valid_meas_k"].all()
    assert made.options.huber == 1.345 and made.options.max_iters == 7 and made.options.img_size == (96, 128)


@pytest.mark.parametrize("dtype", sorted(FLOATING))
def test_ones_zeros_and_two_digits_in_every_type(dtype):
    case = make_case(n=3, float_type=dtype)
    for to, number in (("ones", 1.0), ("zeros", 0.0)):
        made = build(case, cut_of(case, range(3), changes=(Change(to, "Xf"),)))
        assert (made.as_float("Xf") == number).all()
    values = case.values["Xf"].copy()
    values.ravel()[0] = 0  # the bits of zero, NaN stays NaN
    made = build(case, cut_of(case, range(3), changes=(Change(ROUNDED, "Xf"),)))
    before, after = case.as_float("Xf"), made.as_float("Xf")
    assert (np.isnan(before) == np.isnan(after)).all()
    finite = np.isfinite(before) & np.isfinite(after) & (np.abs(before) > 1e-4)  # not where a half is denormal
    assert (np.abs(after - before)[finite] <= 0.06 * np.abs(before)[finite]).all()


def test_an_element_is_the_one_it_was_in_the_whole_case():
    case = make_case(n=5, values={"Xf": np.arange(2, 17, dtype=np.float32).reshape(5, 3)})
    change = Change(ZERO, "Xf", element=(3, 1))
    made = build(case, cut_of(case, [1, 3], changes=(change,)))
    assert made.as_float("Xf").tolist() == [[5, 6, 7], [11, 0, 13]] and str(change) == "Xf[3, 1]: zero"
    assert same_bits(build(case, cut_of(case, [1], changes=(change,))).values["Xf"], case.values["Xf"][1:2])
    pose = Change(ZERO, "T_WCk", element=(0, 6))
    assert build(case, cut_of(case, [2], changes=(pose,))).as_float("T_WCk")[0, 6] == 0
    elements, rounded = last_changes(build(case, cut_of(case, [1, 3])), np.array([1, 3]))
    assert {c.element[0] for c in elements if c.tensor == "Xf"} == {1, 3} and Change(ROUNDED, "Xf") in rounded
    many = make_case(n=50)
    assert last_changes(many, np.arange(50))[0] == [] and MAX_ELEMENTS < 150


def test_what_no_longer_shows_is_not_listed():
    old, other = Change(ZERO, "Xf", element=(3, 1)), Change(ZERO, "T_WCk", element=(0, 1))
    whole_tensor, digits = Change("ones", "Xf"), Change(ROUNDED, "Xf")
    assert pruned((old, other, digits), np.array([3])) == (old, other, digits)
    assert pruned((old, other, digits), np.array([2])) == (other, digits)
    assert pruned((old, digits, whole_tensor, other), np.array([3])) == (whole_tensor, other)
    assert pruned((Change(PLAIN, "Xf"), whole_tensor), np.array([3])) == (Change(PLAIN, "Xf"), whole_tensor)


def test_what_has_a_row_for_each_point():
    assert set(per_row(make_case("calib", 3).document)) == {"Xf", "Xk", "Qk", "meas_k"} | MASKS
    assert set(per_row(make_case("op", 3, op="retr").document)) == {"X", "a"}


def test_a_cut_case_on_disk_is_a_case_like_any_other(tmp_path):
    case = make_case("op", 6, op="act")
    made = write_case(build(case, cut_of(case, [5])), tmp_path / "c")
    assert read_case(tmp_path / "c").values["X"].shape == (1, 8)
    with pytest.raises(CaseError):
        write_case(made, tmp_path / "c")
