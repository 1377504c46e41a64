"""The same values in another layout: bit for bit the same, and lying where the layout's name says."""

from __future__ import annotations

import numpy as np
import pytest
from case_factory import layouts, make_case, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import FLOATING, Case, TensorSpec
from harness.errors import UsageError
from harness.layout import arrays, groups
from harness.relayout import ALIASED, ALIGNED, LAYOUTS, MEANINGS, OFFSET, ROWS, STRIDED, TRANSPOSED, again, once, relayout, variants

NAMES = [*(name for name in MEANINGS if name != "shift-K"), "shift-4", "shift-8", "shift-12", "shift-20", "shift-511"]


@settings(max_examples=200, deadline=None)
@given(case=layouts(), layout=st.sampled_from(NAMES))
def test_every_layout_keeps_every_bit_and_is_what_it_says(case: Case, layout: str) -> None:
    changed = relayout(case, layout)
    rebuilt = arrays(changed)
    for name, spec in changed.document.tensors.items():
        array = rebuilt[name]
        assert same_bits(np.ascontiguousarray(array).reshape(spec.shape), case.values[name])
        assert array.ctypes.data % 512 == spec.data_ptr_mod_512 or not array.size
        if layout.startswith("shift-"):
            shift = int(layout[6:])
            assert (
                shift <= spec.data_ptr_mod_512 < shift + spec.itemsize
            ) or spec.data_ptr_mod_512 == 0 == -shift % 512 // spec.itemsize
        elif layout not in ("recorded", "contiguous"):
            assert spec.data_ptr_mod_512 == 0
        if layout in (ALIGNED, "contiguous") or layout.startswith("shift-"):
            assert array.flags.c_contiguous and spec.storage_offset == 0 and spec.alias_group is None


@settings(max_examples=60, deadline=None)
@given(case=layouts(), layout=st.sampled_from(NAMES))
def test_the_case_itself_is_left_alone(case: Case, layout: str) -> None:
    before = case.document.model_dump_json()
    relayout(case, layout)
    assert case.document.model_dump_json() == before
    assert relayout(case, "recorded").document == case.document


def test_a_layout_run_again_is_the_same() -> None:
    case = make_case(n=5)
    assert relayout(case, again("shift-12,Xf=strided", 2)).document == relayout(case, "shift-12,Xf=strided").document
    assert once("shift-12,Xf=strided#12") == "shift-12,Xf=strided" and once("shift-12") == "shift-12"


def test_strides_are_those_of_the_name() -> None:
    specs = relayout(make_case(n=5), STRIDED).document.tensors
    assert specs["Xf"].stride == (7, 2) and specs["Qk"].stride == (3, 2) and specs["valid_opt"].stride == (3, 2)
    assert relayout(make_case(n=5), ROWS).document.tensors["Xf"].stride == (4, 1)
    assert relayout(make_case(n=5), TRANSPOSED).document.tensors["Xf"].stride == (1, 5)
    assert relayout(make_case(n=5), OFFSET).document.tensors["Xf"].storage_offset * 4 == 512
    assert relayout(make_case(n=5), "shift-12").document.tensors["Xf"].data_ptr_mod_512 == 12


def test_all_floating_tensors_share_one_storage_and_masks_do_not() -> None:
    document = relayout(make_case("calib"), ALIASED).document
    (shared,) = (names for names in groups(document.tensors).values() if len(names) > 1)
    assert shared == [name for name, spec in document.tensors.items() if spec.dtype in FLOATING]
    assert len({document.tensors[name].storage_offset for name in shared}) == len(shared)


def test_one_tensor_is_moved_and_the_others_stay() -> None:
    case = make_case(specs={"Xf": TensorSpec(dtype="float32", shape=(5, 3), stride=(6, 1), alias_group="aliased")})
    specs = relayout(case, "T_WCk=shift-4").document.tensors
    assert specs["T_WCk"].data_ptr_mod_512 == 4
    assert all(specs[name] == spec for name, spec in case.document.tensors.items() if name != "T_WCk")
    specs = relayout(case, f"{ALIGNED},Xk={ALIASED},Qk={ALIASED},T_WCf=strided").document.tensors
    assert specs["Xk"].alias_group == specs["Qk"].alias_group != "aliased"  # a recorded group keeps its name to itself
    assert specs["T_WCf"].stride == (17, 2) and specs["Xf"].stride == (3, 1)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("sideways", "'sideways' is no layout"), ("shift-0", "no layout"), ("shift-512", "no layout"), ("shift-4 ", "no layout"),
        ("", "no layout"), ("aligned-512,", "no layout"), ("Xf=", "no layout"), ("shift-K", "no layout"),
        ("shift-\u0664", "no layout"), ("Xf=strided=rows", "no layout"), ("Xq=strided", "no tensor 'Xq'"),
        ("=strided", "no tensor ''"), ("#2", "no layout"), ("shift-4#", "no layout"), ("shift-4#0", "no layout"),
        ("shift-4#2#3", "no layout"), ("shift-4#2,strided", "no layout"),
    ],
)  # fmt: skip
def test_names_that_mean_nothing_are_refused(layout: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        variants(make_case().document.tensors, layout)


def test_a_sweep_tries_what_it_promises() -> None:
    assert LAYOUTS == ("recorded", "contiguous", "shift-4", "shift-8", "shift-12", ALIGNED, STRIDED, ALIASED, TRANSPOSED)
