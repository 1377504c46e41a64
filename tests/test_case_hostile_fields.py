"""Each wrong field of a stranger's case.json is named, and costs no memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from case_factory import edit_document, make_case
from hostile_case import BIG, assert_as_written, both, put, refused, tensor, top

from harness import casefile, layout
from harness.case import Case
from harness.casefile import read_case

pytestmark = pytest.mark.usefixtures("quick_disk")  # what survives a power cut is not at issue here

WRONG: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("schema", top(schema="sim3solve-case/2")),
    ("schema", lambda fields: fields.pop("schema")),
    ("id", top(id="../x")),
    ("id", top(id="a/b")),
    ("id", top(id="a\n")),
    ("id", top(id="nul")),
    ("kind", top(kind="pickle")),
    ("title", top(title="x" * 301)),
    ("title", top(title=3)),
    ("surprise", top(surprise=1)),
    ("tags", top(tags=["x"] * 33)),
    ("tags.0", top(tags=["x" * 61])),
    ("requires.0", top(requires=["root"])),
    ("truth_T_CkCf.7", top(truth_T_CkCf=[1.0] * 7)),
    ("expect.statuses.0", top(expect={"statuses": [[]]})),
    ("expect.statuses.0", top(expect={"statuses": [{}]})),
    ("expect.statuses.1", top(expect={"statuses": ["CONVERGED", "WELL"]})),
    ("expect.parity", top(expect={"parity": 1})),
    ("options.huber", top(options={"img_size": [1, 1], "huber": 0.0})),
    ("options.huber", top(options={"img_size": [1, 1], "huber": "1"})),
    ("options.huber", top(options={"img_size": [1, 1], "huber": True})),
    ("options.max_iters", top(options={"img_size": [1, 1], "max_iters": 10_001})),
    ("options.max_iters", top(options={"img_size": [1, 1], "max_iters": 10**90})),
    ("options.img_size", top(options={})),
    ("options.img_size", top(options={"img_size": [0, 5]})),
    ("options.img_size.1", top(options={"img_size": [5, 1 << 21]})),
    ("recorded.event", top(recorded={"event": "lost"})),
    ("recorded.T_WCf.3", top(recorded={"T_WCf": [0, 0, 0, "nan", 0, 0, 1, 1]})),
    ("tensors_sha256", top(tensors_sha256="0" * 63)),
    ("tensors_sha256", top(tensors_sha256="G" * 64)),
    ("op", top(op={"name": "inv"})),
    ("op.name", top(op={"name": "system"})),
    ("op", top(kind="op")),
    ("generator", top(generator={"scene": "room", "n_points": 2, "seed": 1})),
    ("generator.scene", top(generator={"scene": "/etc/passwd", "n_points": 2, "seed": 1})),
    ("generator.n_points", top(generator={"scene": "room", "n_points": BIG + 1, "seed": 1})),
    ("generator.seed", top(generator={"scene": "room", "n_points": 2, "seed": 1 << 63})),
    ("tensors", top(tensors=[])),
    ("tensors", top(tensors={str(i): {"dtype": "float32", "shape": [1], "stride": [1]} for i in range(33)})),
    ("tensors.Xf", lambda fields: fields["tensors"].pop("Xf")),
    ("tensors.Zf", lambda fields: fields["tensors"].update(Zf=fields["tensors"]["Xf"])),
    ("tensors.Xf.dtype", tensor("Xf", dtype="complex64")),
    ("tensors.Xf.dtype", tensor("Xf", dtype="int64")),
    ("tensors.Xf.dtype", tensor("Xf", dtype="bool")),
    ("tensors.valid_opt.dtype", tensor("valid_opt", dtype="uint8")),
    ("tensors.Xk.shape", tensor("Xk", shape=[3, 3])),
    ("tensors.Xk.shape.0", tensor("Xk", shape=[-2, 3])),
    ("tensors.Xk.shape.0", tensor("Xk", shape=[BIG + 1, 3])),
    ("tensors.Xk.shape.0", tensor("Xk", shape=[10**90, 3])),
    ("tensors.Xk.shape", tensor("Xk", shape=[1] * 5, stride=[1] * 5)),
    ("tensors.Xk.stride", tensor("Xk", stride=[3])),
    ("tensors.Xk.stride.0", tensor("Xk", stride=[-3, 1])),
    ("tensors.Xk.stride.0", tensor("Xk", stride=[(1 << 31) + 1, 1])),
    ("tensors.Xk.stride", tensor("Xk", stride=[1 << 31, 1])),
    ("tensors.Xk.stride", tensor("Xk", stride=[1 << 29, 1])),
    ("tensors.Xk.stride", tensor("Xk", storage_offset=1 << 30)),
    ("tensors.Xk.stride", tensor("Xk", shape=[BIG, BIG, BIG, BIG], stride=[0, 0, 0, 0])),
    ("tensors", both(tensor("Xk", stride=[1 << 28, 1]), tensor("Xf", stride=[1 << 28, 1]))),
    ("tensors", both(tensor("Xk", storage_offset=1 << 28), tensor("Xf", storage_offset=1 << 28))),
    ("tensors.Xk.storage_offset", tensor("Xk", storage_offset=-1)),
    ("tensors.Xk.storage_offset", tensor("Xk", storage_offset=1.0)),
    ("tensors.Xk.original_storage_offset", tensor("Xk", original_storage_offset=1 << 63)),
    ("tensors.Xk.data_ptr_mod_512", tensor("Xk", data_ptr_mod_512=512)),
    ("tensors.Xk.data_ptr_mod_512", tensor("Xk", data_ptr_mod_512=2)),
    ("tensors.Xk.device", tensor("Xk", device="cuda:\u0663")),
    ("tensors.Xk.device", tensor("Xk", device="cpu\n")),
    ("tensors.Xk.alias_group", tensor("Xk", alias_group="=Xf")),
    ("tensors.Xk.alias_group", tensor("Xk", alias_group="")),
    ("tensors.Xk.data_ptr_mod_512", both(tensor("Xf", alias_group="g"), tensor("Xk", alias_group="g", data_ptr_mod_512=4))),
    ("tensors.Xk.data_ptr_mod_512", both(tensor("Xf", alias_group="g"), tensor("Xk", alias_group="g", storage_offset=1))),
    ("tensors.Xk.device", both(tensor("Xf", alias_group="g"), tensor("Xk", alias_group="g", device="cuda"))),
    ("tensors.Xf", both(tensor("Xf", alias_group="g"), tensor("Xk", alias_group="g"))),
    ("tensors.Xk", tensor("Xk", stride=[0, 1])),
    ("Xk.dtype", tensor("Xk", dtype="float16")),
    ("tensors_sha256", top(tensors_sha256=None)),
    ("provenance", lambda fields: fields.pop("provenance")),
    ("provenance.versions.a", top(provenance={"source": "", "licence": "", "versions": {"a": 1}})),
]


@pytest.mark.parametrize(("field", "change"), WRONG, ids=[f"{field}-{i}" for i, (field, _) in enumerate(WRONG)])
def test_a_wrong_field_is_named(original: Case, place: Path, field: str, change: Callable[[dict[str, Any]], Any]) -> None:
    edit_document(put(place, original), change)
    tracemalloc.start()
    try:
        error = refused(place)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.field == field
    assert peak < 4 << 20


def test_an_alias_group_cannot_take_another_tensors_own_window() -> None:
    assert layout.groups(make_case().document.tensors).keys() == {"=Xf", "=Xk", "=T_WCf", "=T_WCk", "=Qk", "=valid_opt"}


def test_a_wide_window_costs_nothing_to_check(original: Case, place: Path) -> None:
    edit_document(put(place, original), tensor("Xk", stride=[1 << 28, 1]))
    tracemalloc.start()
    try:
        case = read_case(place)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert_as_written(case, original)


def test_running_out_of_memory_is_a_case_error(original: Case, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(casefile, "_read_tensors", exhausted)
    assert refused(put(place, original)).field == "tensors"
