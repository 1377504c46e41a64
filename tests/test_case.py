"""Cases survive the disk bit for bit, and the document with them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import safetensors
from case_factory import (
    NO_HASH,
    PROVENANCE,
    assert_same,
    edit_document,
    layouts,
    make_case,
    make_generated,
    names_in,
    same_bits,
    set_tensors,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import OPS, Case, CaseDocument, Expectation, OptionsDocument, Recorded, TensorSpec, as_float, is_valid_id
from harness.casefile import DOCUMENT, pack_tensors, read_case, write_case
from sim3solve.problem import Options, Status

POSE = (0.1, -0.2, 0.3, 0.0, 0.0, 0.6, 0.8, 1.5)


# Round trips


@pytest.mark.parametrize("float_type", ["float16", "bfloat16"])
def test_every_16_bit_pattern_survives(tmp_path: Path, float_type: str) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    values = np.resize(every, 21846 * 3).reshape(21846, 3)
    case = make_case(n=21846, float_type=float_type, values={"Xf": values if float_type == "bfloat16" else values.view(np.float16)})
    write_case(case, tmp_path / "c")
    assert_same(read_case(tmp_path / "c"), case)


@pytest.mark.parametrize(
    "bits", [0x7FF0000000000001, 0x7FF8000000000000, 0xFFF4DEADBEEF0001, 0x7FF0000000000000, 0x8000000000000000, 1]
)
def test_float64_payloads_survive(tmp_path: Path, bits: int) -> None:
    values = np.full((5, 3), bits, np.uint64).view(np.float64)
    got = written(tmp_path / "c", float_type="float64", values={"Xf": values})
    assert (got.values["Xf"].view(np.uint64) == bits).all()


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00000, 0xFFA0BEEF, 0xFF800000, 0x80000000, 1])
def test_float32_payloads_survive(tmp_path: Path, bits: int) -> None:
    values = np.full((5, 3), bits, np.uint32).view(np.float32)
    got = written(tmp_path / "c", values={"Xk": values})
    assert (got.values["Xk"].view(np.uint32) == bits).all()


@pytest.mark.parametrize("n", [0, 1, 31])
@pytest.mark.parametrize("kind", ["ray_dist", "calib"])
def test_kinds_survive(tmp_path: Path, kind: str, n: int) -> None:
    case = make_case(kind, n)
    assert_same(write_case(case, tmp_path / "c"), case)
    assert_same(read_case(tmp_path / "c"), case)
    assert read_case(tmp_path / "c").document.n_points == n


@pytest.mark.parametrize("op", sorted(OPS))
def test_op_cases_survive(tmp_path: Path, op: str) -> None:
    case = make_case("op", 2, op=op)
    assert_same(write_case(case, tmp_path / "c"), case)


@pytest.mark.parametrize("scene", ["room", "plane"])
def test_generated_cases_store_no_values(tmp_path: Path, scene: str) -> None:
    case = make_generated(33, scene)
    write_case(case, tmp_path / "c")
    assert names_in(tmp_path / "c") == {DOCUMENT}
    assert_same(read_case(tmp_path / "c"), case)


@settings(max_examples=40, deadline=None)
@given(case=layouts())
def test_any_layout_survives(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    folder = tmp_path_factory.mktemp("layouts") / "c"
    write_case(case, folder)
    assert_same(read_case(folder), case)


def test_values_may_lie_anyhow_in_memory(tmp_path: Path) -> None:
    case = make_case()
    fortran = {name: np.asfortranarray(values) for name, values in case.values.items()}
    assert_same(write_case(Case(case.document, fortran), tmp_path / "c"), case)


def test_what_is_read_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    got = written(tmp_path / "c")
    for values in got.values.values():
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0


def test_bfloat16_is_read_as_the_numbers_it_means() -> None:
    assert as_float(np.array([0x3FC0, 0xC000, 0x7F80], np.uint16), "bfloat16").tolist() == [1.5, -2.0, float("inf")]


# The document


def full_document() -> dict[str, Any]:
    return {
        "id": "full.1_a+b", "title": "Grüße \u2028 \U0001f4a5 \x7f \x00",
        "options": OptionsDocument(max_iters=7, pixel_border=0.0, img_size=(3, 4)),
        "truth_T_CkCf": POSE, "tags": ("a", "b"), "requires": ("cuda",),
        "expect": Expectation(outcomes=("OK", "RAISED"), statuses=(Status.CONVERGED, Status.NON_FINITE), parity=False, because="x"),
        "recorded": Recorded(event="raised", exception="RuntimeError: é\n", T_WCf=POSE),
        "provenance": PROVENANCE.model_copy(update={"versions": {"torch": "2.13", "": "x"}, "attribution": "A. Uthor"}),
    }  # fmt: skip


def test_every_field_survives(tmp_path: Path) -> None:
    case = make_case(**full_document())
    assert_same(written(tmp_path / "c", **full_document()), case)
    assert_same(read_case(tmp_path / "c"), case)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_options_survive_whether_default_or_not(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    positive = st.floats(1e-300, 1e300)
    choices = {
        "sigma_ray": positive, "huber": positive, "rel_error": st.floats(0, 1e9), "depth_eps": st.sampled_from([0.0, -0.0, 5e-324]),
        "pixel_border": st.floats(-1e308, 1e308), "max_iters": st.integers(1, 10_000),
        "img_size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    }  # fmt: skip
    chosen = {name: data.draw(choice) for name, choice in choices.items() if data.draw(st.booleans())}
    case = make_case("op", 1, options=OptionsDocument(**chosen))
    got = write_case(case, tmp_path_factory.mktemp("options") / "c")
    assert got.options == Options(**chosen)
    assert repr(got.options) == repr(Options(**chosen))  # -0.0 equals 0.0; its sign must survive all the same


def test_defaults_are_left_out_and_schema_is_not(tmp_path: Path) -> None:
    written(tmp_path / "c")
    fields = json.loads((tmp_path / "c" / DOCUMENT).read_text())
    assert fields["schema"] == "sim3solve-case/1"
    assert not {"expect", "recorded", "generator", "truth_T_CkCf"} & set(fields)
    assert fields["options"]["huber"] == 1.345  # options are written in full: a later default must not change an old case


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=50))
def test_any_text_survives_or_is_refused_at_once(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    assert written(tmp_path_factory.mktemp("text") / "c", kind="op", n=1, title=text).document.title == text


@pytest.mark.parametrize("field", ["title", "id"])
def test_lone_surrogates_never_get_in(field: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        make_case(**{field: "a\ud800"})


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a.", ".a", "a b", "é", "a\n", "CON", "nul.txt", "Com1", "a" * 101])
def test_ids_no_system_would_take_are_refused(text: str) -> None:
    assert not is_valid_id(text)
    with pytest.raises(pydantic.ValidationError):
        make_case(id=text)


@pytest.mark.parametrize("text", ["a", "0", "real-fr1_xyz.12+34", "console", "a" * 100])
def test_ids_every_system_takes(text: str) -> None:
    assert is_valid_id(text)
    assert make_case(id=text).id == text


# The tensor file


@pytest.mark.parametrize("float_type", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_the_safetensors_library_reads_what_is_written(float_type: str, n: int) -> None:
    case = make_case("calib", n, float_type=float_type)
    read = dict(safetensors.deserialize(pack_tensors(case.values, case.document)))
    assert set(read) == set(case.values)
    for name, values in case.values.items():
        assert bytes(read[name]["data"]) == values.tobytes()
        assert tuple(read[name]["shape"]) == values.shape


def test_what_the_safetensors_library_writes_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import save

    case = written(tmp_path / "c")
    set_tensors(tmp_path / "c", save(dict(case.values), metadata={"made": "elsewhere"}))
    assert_same(read_case(tmp_path / "c"), case)


def test_the_tensor_file_is_the_same_everywhere() -> None:
    """A generated case is known by this hash: were it to change, every such case would be refused."""
    spec = TensorSpec.contiguous("float32", (1, 8))
    document = CaseDocument(
        id="x", kind="op", op={"name": "inv"}, tensors={"X": spec}, provenance=PROVENANCE, tensors_sha256=NO_HASH
    )
    data = pack_tensors({"X": np.arange(8, dtype=np.float32).reshape(1, 8)}, document)
    header = b'{"X":{"dtype":"F32","shape":[1,8],"data_offsets":[0,32]}}       '
    assert data == len(header).to_bytes(8, "little") + header + np.arange(8, dtype="<f4").tobytes()


def test_tensors_are_aligned_in_the_file() -> None:
    case = make_case(
        "calib", 3, specs={"Qk": TensorSpec.contiguous("float16", (3, 1)), "K": TensorSpec.contiguous("float64", (3, 3))}
    )
    data = pack_tensors(case.values, case.document)
    start = 8 + int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8:start]).items():
        assert (start + entry["data_offsets"][0]) % case.document.tensors[name].itemsize == 0


# Speed


def test_reading_a_case_of_ordinary_size_is_fast(tmp_path: Path) -> None:
    """12288 points take 1 to 2 ms; the bound leaves room for a loaded machine."""
    written(tmp_path / "c", n=12288)
    best = min(timed(lambda: read_case(tmp_path / "c")) for _ in range(10))
    assert best < 0.02


def timed(act: Callable[[], Any]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def test_an_edited_document_is_what_is_read(tmp_path: Path) -> None:
    case = written(tmp_path / "c")
    edit_document(tmp_path / "c", lambda fields: fields.update(title="edited"))
    got = read_case(tmp_path / "c")
    assert got.document.title == "edited"
    assert all(same_bits(got.values[name], case.values[name]) for name in case.values)
