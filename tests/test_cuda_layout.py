"""The recorded memory rebuilt on a GPU without torch: here in host memory that stands for the GPU's, on a GPU as it is."""

from __future__ import annotations

import ctypes
import math
import sys

import numpy as np
import pytest
import torch
from case_factory import layouts
from hypothesis import given, settings
from problem_factory import LARGE, SHIPPED, shipped

from harness import cuda_layout
from harness.case import Case
from harness.layout import POISON, groups
from harness.memory import device as memory
from harness.memory.arena import seal, touched
from harness.relayout import relayout

LAYOUTS = [name for name in SHIPPED if name.startswith("layout-")]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class HostMemory:
    """A ``DeviceMemory`` in host memory, as the driver would place it: at a multiple of 512."""

    def __init__(self, device: int, n_bytes: int) -> None:
        room = np.empty(max(n_bytes, 1) + 512, dtype=np.uint8)
        self._bytes = room[-room.ctypes.data % 512 :][: max(n_bytes, 1)]
        self.address = self._bytes.ctypes.data

    def __len__(self) -> int:
        return len(self._bytes)

    def __setitem__(self, part: slice, value) -> None:
        self._bytes[part] = value

    def on_host(self) -> np.ndarray:
        return self._bytes.copy()


@pytest.fixture
def in_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "DeviceMemory", HostMemory)
    monkeypatch.setattr(cuda_layout, "DeviceMemory", HostMemory)


def read(array: cuda_layout.CudaArray) -> bytes:
    """The elements' bytes in order, found by the interface alone."""
    shown = array.__cuda_array_interface__
    address, shape, strides = shown["data"][0], shown["shape"], shown["strides"]
    itemsize = np.dtype(shown["typestr"]).itemsize
    if not math.prod(shape):
        return b""
    reach = sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + itemsize
    window = np.ctypeslib.as_array((ctypes.c_uint8 * reach).from_address(address))
    return np.ndarray(shape, f"V{itemsize}", buffer=window.data, strides=strides).tobytes()


def assert_rebuilt(case: Case, arena: memory.DeviceArena | None = None) -> None:
    made = cuda_layout.arrays(case, 0, arena)
    assert list(made) == list(case.document.tensors)
    for name, spec in case.document.tensors.items():
        assert made[name].address % 512 == spec.data_ptr_mod_512
        assert (made[name].shape, made[name].stride) == (spec.shape, spec.stride)
        assert read(made[name]) == case.values[name].tobytes()
    for names in groups(case.document.tensors).values():
        bases = {made[n].address - case.document.tensors[n].storage_offset * case.document.tensors[n].itemsize for n in names}
        assert len(bases) == 1


@pytest.mark.usefixtures("in_host_memory")
@pytest.mark.parametrize("exact", [None, True, False])
@pytest.mark.parametrize("name", LAYOUTS)
def test_shipped_layouts_are_rebuilt(name: str, exact: bool | None) -> None:
    arena = None if exact is None else memory.DeviceArena("test", 0, exact=exact)
    assert_rebuilt(shipped(name), arena)
    for room in () if arena is None else arena.rooms.values():
        assert (room.bytes()[: room.start] == POISON).all()
        assert (len(room.memory) == room.start + room.n_bytes) is exact or room.n_bytes == 0


@settings(derandomize=True, deadline=None, max_examples=60)
@given(case=layouts())
def test_any_layout_is_rebuilt(case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_layout, "DeviceMemory", HostMemory)
        assert_rebuilt(case)


@pytest.mark.usefixtures("in_host_memory")
def test_a_write_beside_a_tensor_is_seen() -> None:
    case, arena = shipped("layout-column-slice"), memory.DeviceArena("test", 0)
    made = cuda_layout.arrays(case, 0, arena)
    seal(arena)
    assert touched(arena, case.document.tensors, "poison") == ({}, [])
    ctypes.c_float.from_address(made["Xf"].address + 4 * 3).value = 1.5  # the gap after the first row
    found, notes = touched(arena, case.document.tensors, "poison")
    assert list(found) == [("=Xf", "gap")] and found["=Xf", "gap"]["space"] == "global" and not notes


def test_what_the_solver_would_have_to_convert_is_left_to_torch() -> None:
    case = shipped("real-fr1-desk-0-8-calib")
    assert cuda_layout.can_hold(case.document.tensors)
    assert cuda_layout.can_hold(relayout(case, "shift-4").document.tensors)
    specs = dict(case.document.tensors)
    assert not cuda_layout.can_hold(specs | {"Qk": specs["Qk"].model_copy(update={"dtype": "float16"})})
    assert not cuda_layout.can_hold(specs | {"K": specs["K"].model_copy(update={"stride": (4, 1)})})
    assert not cuda_layout.can_hold(specs | {"T_WCk": specs["T_WCk"].model_copy(update={"stride": (16, 2)})})


def test_the_child_of_the_fused_solver_imports_no_torch() -> None:
    from harness import registry, solvers

    assert not registry.resolve("cuda").uses_torch
    code = "import sys; from harness import worker, cuda_layout, solvers, registry; solvers.load(registry.resolve('cuda')); " \
        "sys.exit('torch' in sys.modules)"  # fmt: skip
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert solvers.load(registry.resolve("cuda")).arrays == "cuda"


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("exact", [None, True, False])
@pytest.mark.parametrize("name", [*LAYOUTS, "degenerate-n-0", "degenerate-n-33", LARGE])
def test_on_a_gpu_the_bits_are_those_of_torchs_tensors(name: str, exact: bool | None) -> None:
    case = shipped(name)
    made = cuda_layout.arrays(case, 0, None if exact is None else memory.DeviceArena("test", 0, exact=exact))
    for key, spec in case.document.tensors.items():
        assert made[key].address % 512 == spec.data_ptr_mod_512
        if math.prod(spec.shape):
            on_gpu = torch.as_tensor(made[key], device="cuda:0").cpu().contiguous()
            assert on_gpu.numpy().tobytes() == case.values[key].tobytes()
