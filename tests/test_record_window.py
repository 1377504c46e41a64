"""The recorded layout: what a tracker's tensors lie like in memory is what replay builds again, without the buffers behind them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.casefile import find_cases, read_case
from harness.record import record
from harness.record.window import place_of, specs
from harness.torch_layout import tensors as rebuilt
from sim3solve.problem import field_shapes


class Tracker:
    cfg: ClassVar[dict] = {}

    def opt_pose_ray_dist_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid):
        return torch.zeros(1, 8), torch.zeros(1, 8)


def recorded(arguments, out: Path):
    with record(Tracker(), out) as recording:
        recording.tracker.opt_pose_ray_dist_sim3(*arguments)
    return read_case(next(find_cases([out])))


def frame(n: int = 5) -> dict[str, torch.Tensor]:
    shapes = field_shapes("ray_dist", n)
    return {name: torch.rand(shape) if name != "valid_opt" else torch.rand(shape) > 0.5 for name, shape in shapes.items()}


def bits(tensor: torch.Tensor) -> bytes:
    return np.ascontiguousarray(tensor.contiguous().view(torch.uint8 if tensor.dtype == torch.bool else torch.int32)).tobytes()


def assert_rebuilt(case, given_tensors, *, one_storage_each: bool = True) -> None:
    """Replay's tensors have the strides, the address modulo 512, the bits and the distances of those recorded."""
    again = rebuilt(case, torch.device("cpu"))
    for name, tensor in given_tensors.items():
        assert again[name].stride() == tensor.stride(), name
        assert again[name].dtype == tensor.dtype and again[name].shape == tensor.shape
        assert bits(again[name]) == bits(tensor), name
        if tensor.numel():
            assert again[name].data_ptr() % 512 == tensor.data_ptr() % 512, name
            assert not one_storage_each or (again[name].storage_offset() == 0) == (tensor.storage_offset() == 0), name
    for group in {spec.alias_group for spec in case.document.tensors.values()} - {None}:
        names = [name for name, spec in case.document.tensors.items() if spec.alias_group == group]
        first = names[0]
        for name in names:
            apart = given_tensors[name].data_ptr() - given_tensors[first].data_ptr()
            assert again[name].data_ptr() - again[first].data_ptr() == apart, (first, name)


@st.composite
def layouts(draw) -> dict[str, torch.Tensor]:
    """Tensors at random places: own memory, views at an offset, strided, transposed, expanded, and several in one buffer."""
    n = draw(st.integers(0, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    buffer = torch.rand(4000, generator=generator)
    made = {}
    for name, shape in field_shapes("ray_dist", n).items():
        if name == "valid_opt":
            made[name] = (torch.rand(300, generator=generator) > 0.5)[draw(st.integers(0, 200)) :][:n].view(n, 1)
            continue
        source = buffer if draw(st.booleans()) else torch.rand(4000, generator=generator)
        columns = draw(st.integers(0, 5))
        stride = (shape[1] + columns, 1) if draw(st.booleans()) else (1, shape[0] + columns)
        if draw(st.integers(0, 9)) == 0:
            stride = (0, 1)
        made[name] = torch.as_strided(source, shape, stride, draw(st.integers(0, 3000)))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensors=layouts())
def test_any_layout_is_rebuilt_to_the_bit(tensors, tmp_path_factory, quick_disk):
    case = recorded(list(tensors.values()), tmp_path_factory.mktemp("out"))
    assert_rebuilt(case, tensors)


def test_a_view_into_a_large_buffer_is_a_window_and_not_the_buffer(tmp_path):
    buffer = torch.zeros(1 << 26)  # 256 MiB, of which nothing but the view is touched
    tensors = frame() | {"Xk": buffer[12_345_678:][:15].view(5, 3)}
    tensors["Xk"].copy_(torch.rand(5, 3))
    case = recorded(list(tensors.values()), tmp_path)
    spec = case.document.tensors["Xk"]
    assert spec.original_storage_offset == 12_345_678 and 0 < spec.storage_offset * 4 < 1024
    assert spec.end_byte < 2048
    assert sum(file.stat().st_size for file in (tmp_path / case.id).iterdir()) < 20_000
    assert_rebuilt(case, tensors)


def test_tensors_that_share_memory_share_it_again(tmp_path):
    points = torch.rand(8, 3)
    poses = torch.rand(100, 8)
    tensors = frame() | {"Xf": points[:5], "Xk": points[2:7], "T_WCf": poses[7:8], "T_WCk": poses[90:91]}
    case = recorded(list(tensors.values()), tmp_path)
    groups = {name: spec.alias_group for name, spec in case.document.tensors.items()}
    assert groups["Xf"] == groups["Xk"] is not None and groups["T_WCf"] == groups["T_WCk"] is not None
    assert groups["Qk"] is None and groups["Xf"] != groups["T_WCf"]
    assert_rebuilt(case, tensors)
    again = rebuilt(case, torch.device("cpu"))
    again["Xf"][2] = 7.0
    assert torch.equal(again["Xk"][0], torch.full((3,), 7.0))


def test_far_apart_in_one_buffer_they_have_windows_of_their_own(tmp_path):
    buffer = torch.zeros(1 << 22)
    tensors = frame() | {"Xf": buffer[:15].view(5, 3), "Xk": buffer[-15:].view(5, 3)}
    case = recorded(list(tensors.values()), tmp_path)
    assert case.document.tensors["Xf"].alias_group is None
    assert_rebuilt(case, tensors)


def test_the_very_same_tensor_twice(tmp_path):
    tensors = frame()
    tensors["Xk"] = tensors["Xf"]
    assert_rebuilt(recorded(list(tensors.values()), tmp_path), tensors)


def test_two_storages_over_the_same_bytes_are_one_window(tmp_path):
    memory = np.arange(64, dtype=np.float32)
    tensors = frame() | {"Xf": torch.from_numpy(memory[:15].reshape(5, 3)), "Xk": torch.from_numpy(memory[6:21].reshape(5, 3))}
    case = recorded(list(tensors.values()), tmp_path)
    assert case.document.tensors["Xf"].alias_group == case.document.tensors["Xk"].alias_group is not None
    assert_rebuilt(case, tensors, one_storage_each=False)


def test_an_address_that_is_no_multiple_of_the_element_is_recorded_next_to_it_and_said_to_be(tmp_path):
    memory = bytearray(100)
    tensors = frame() | {"Xf": torch.frombuffer(memory, dtype=torch.float32, offset=2, count=15).view(5, 3)}
    if tensors["Xf"].data_ptr() % 4 == 0:
        pytest.skip("this buffer happens to lie two bytes off")
    case = recorded(list(tensors.values()), tmp_path)
    assert "address-rounded:Xf" in case.document.tags
    assert bits(torch.from_numpy(case.values["Xf"].copy())) == bits(tensors["Xf"].clone())


def test_a_mask_with_bytes_above_one_is_a_mask(tmp_path):
    mask = torch.tensor([[0], [1], [2], [255], [0]], dtype=torch.uint8).view(torch.bool)
    case = recorded([*list(frame().values())[:5], mask], tmp_path)
    assert case.values["valid_opt"].ravel().tolist() == [False, True, True, True, False]
    assert "mask-bytes-above-1:valid_opt" in case.document.tags


def test_signalling_nans_and_every_float_type_keep_their_bits(tmp_path):
    signalling = torch.tensor([0x7F800001, 0x7FA00000, -0x5FFFFF] * 5, dtype=torch.int32).view(torch.float32).view(5, 3)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        tensors = frame() | {"Xf": signalling, "Qk": torch.rand(5, 1).to(dtype)}
        case = recorded(list(tensors.values()), tmp_path / str(dtype))
        assert case.values["Xf"].tobytes() == bits(signalling)
        again = rebuilt(case, torch.device("cpu"))["Qk"]
        assert again.dtype == dtype and torch.equal(again, tensors["Qk"])


def test_places_without_torch_of_mixed_types_in_one_buffer():
    raw = torch.zeros(4096, dtype=torch.uint8)
    wide = raw[1024:1104].view(torch.float64).view(10, 1)
    narrow = raw[1100:1160].view(torch.float32).view(5, 3)
    found, tags = specs({"Qk": place_of(wide), "Xf": place_of(narrow)})
    assert tags == () and found["Qk"].alias_group == found["Xf"].alias_group
    apart = found["Xf"].storage_offset * 4 - found["Qk"].storage_offset * 8
    assert apart == narrow.data_ptr() - wide.data_ptr()
    assert found["Qk"].base_mod_512 == found["Xf"].base_mod_512
