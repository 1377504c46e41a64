"""CUDA errors found in what torch, the driver and cuda.core really say, and not found where nobody speaks of CUDA."""

from __future__ import annotations

import pytest

from harness.cudaerror import CODES, by_code, find


@pytest.mark.parametrize(
    ("text", "code", "sticky"),
    [
        ("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported", 700, True),
        ("AcceleratorError: CUDA error: misaligned address", 716, True),
        ("CUDA error: unspecified launch failure", 719, True),
        ("CUDA error: device-side assert triggered", 710, True),
        ("CUDA error: no kernel image is available for execution on the device", 209, False),
        ("CUDA error: invalid configuration argument", 9, False),
        ("CUDA error: invalid device ordinal\nGPU device may be out of range, do you have enough GPUs?", 101, False),
        ("CUDA out of memory. Tried to allocate 16.00 GiB. GPU 0 has a total capacity of 139.72 GiB", 2, False),
        ("CUDA_ERROR_ILLEGAL_ADDRESS: While executing a kernel, the device encountered a load or store instruction", 700, True),
        ("CUDAError: CUDA_ERROR_MISALIGNED_ADDRESS", 716, True),
        ("cudaErrorNoKernelImageForDevice: no kernel image", 209, False),
        ("CUDA driver error: unknown error", 999, False),
        ("CUDA error: the provided PTX was compiled with an unsupported toolchain.", 222, False),
        ("CUDA error 702", 702, True),
        ("CUDA error: the launch timed out and was terminated", 702, True),
    ],
)
def test_found(text, code, sticky):
    error = find(text)
    assert (error.code, error.name, error.sticky) == (code, CODES[code][0], sticky)


@pytest.mark.parametrize("text", ["", "ValueError: out of memory of what happened", "misaligned address", "exit code 700"])
def test_not_found_where_cuda_is_not_spoken_of(text):
    assert find(text) is None


def test_an_unknown_sentence_is_still_a_cuda_error():
    assert find("CUDA error: the moon is in the wrong house").code == 0


def test_sticky_are_exactly_those_after_which_the_context_is_lost():
    assert {code for code, (_, sticky, _) in CODES.items() if sticky} == {700, 702, 710, 714, 715, 716, 717, 718, 719}
    assert by_code(12345).name == "CUDA error 12345"
