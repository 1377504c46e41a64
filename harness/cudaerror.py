"""CUDA errors by number and name, found in what a process said."""

from __future__ import annotations

import re

from harness.outcome import CudaError

# number: (name, sticky, meaning). After a sticky error every further call of the process fails.
CODES: dict[int, tuple[str, bool, str]] = {
    1: ("cudaErrorInvalidValue", False, "an argument is out of range"),
    2: ("cudaErrorMemoryAllocation", False, "the GPU has too little free memory"),
    9: ("cudaErrorInvalidConfiguration", False, "a launch of no blocks (an empty batch) or of too many threads"),
    35: ("cudaErrorInsufficientDriver", False, "the driver is older than the CUDA runtime needs"),
    46: ("cudaErrorDevicesUnavailable", False, "the GPU is in exclusive or prohibited use"),
    98: ("cudaErrorInvalidDeviceFunction", False, "the kernel was not built for this GPU"),
    100: ("cudaErrorNoDevice", False, "no GPU is visible"),
    101: ("cudaErrorInvalidDevice", False, "there is no GPU of that number"),
    200: ("cudaErrorInvalidKernelImage", False, "the kernel image is damaged"),
    209: ("cudaErrorNoKernelImageForDevice", False, "the extension holds no code for this GPU's architecture, and no PTX"),
    218: ("cudaErrorInvalidPtx", False, "the driver could not compile the PTX"),
    222: ("cudaErrorUnsupportedPtxVersion", False, "the PTX is of a newer toolkit than the driver"),
    700: ("cudaErrorIllegalAddress", True, "a kernel read or wrote memory that is not allocated"),
    701: ("cudaErrorLaunchOutOfResources", False, "the launch needs more registers or shared memory than there are"),
    702: ("cudaErrorLaunchTimeout", True, "a kernel ran longer than the display driver allows (TDR)"),
    710: ("cudaErrorAssert", True, "a device-side assert failed"),
    714: ("cudaErrorHardwareStackError", True, "the device's call stack is corrupt"),
    715: ("cudaErrorIllegalInstruction", True, "an instruction this GPU does not have"),
    716: ("cudaErrorMisalignedAddress", True, "a load or store wider than its address is aligned"),
    717: ("cudaErrorInvalidAddressSpace", True, "an address of the wrong memory space"),
    718: ("cudaErrorInvalidPc", True, "the program counter is corrupt"),
    719: ("cudaErrorLaunchFailure", True, "a kernel failed in a way without a code of its own, a stack overflow for one"),
    720: ("cudaErrorCooperativeLaunchTooLarge", False, "the cooperative launch has more blocks than fit at once"),
    801: ("cudaErrorNotSupported", False, "this GPU or driver cannot do that"),
    803: ("cudaErrorSystemDriverMismatch", False, "the driver's parts are of different versions"),
    804: ("cudaErrorCompatNotSupportedOnDevice", False, "forward compatibility does not work on this GPU"),
    912: ("cudaErrorGraphExecUpdateFailure", False, "the CUDA graph cannot be updated that way"),
    999: ("cudaErrorUnknown", False, "an error without a name; the driver's log may know more"),
}

# The runtime's own sentence for a code (cudaGetErrorString), for messages that carry no number.
_SENTENCES = {
    "an illegal memory access was encountered": 700, "misaligned address": 716, "unspecified launch failure": 719,
    "no kernel image is available for execution on the device": 209, "invalid configuration argument": 9, "out of memory": 2,
    "device-side assert triggered": 710, "an illegal instruction was encountered": 715, "invalid device ordinal": 101,
    "the launch timed out and was terminated": 702, "the provided PTX was compiled with an unsupported toolchain": 222,
    "no CUDA-capable device is detected": 100, "CUDA driver version is insufficient for CUDA runtime version": 35,
    "invalid device function": 98, "too many resources requested for launch": 701, "invalid argument": 1,
    "hardware stack error": 714,
    "operation not supported on global/shared address space": 717, "invalid program counter": 718, "unknown error": 999,
    "system has unsupported display driver / cuda driver combination": 803, "a PTX JIT compilation failed": 218,
    "device kernel image is invalid": 200, "all CUDA-capable devices are busy or unavailable": 46, "operation not supported": 801,
    "too many blocks in cooperative launch": 720,
    "forward compatibility was attempted on non supported HW": 804,
}  # fmt: skip
_DRIVER_NAMES = {
    "CUDA_ERROR_ILLEGAL_ADDRESS": 700, "CUDA_ERROR_MISALIGNED_ADDRESS": 716, "CUDA_ERROR_LAUNCH_FAILED": 719,
    "CUDA_ERROR_OUT_OF_MEMORY": 2, "CUDA_ERROR_INVALID_VALUE": 1, "CUDA_ERROR_NO_BINARY_FOR_GPU": 209,
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": 222, "CUDA_ERROR_NO_DEVICE": 100, "CUDA_ERROR_INVALID_DEVICE": 101,
    "CUDA_ERROR_LAUNCH_TIMEOUT": 702, "CUDA_ERROR_ASSERT": 710, "CUDA_ERROR_ILLEGAL_INSTRUCTION": 715,
    "CUDA_ERROR_HARDWARE_STACK_ERROR": 714, "CUDA_ERROR_INVALID_ADDRESS_SPACE": 717, "CUDA_ERROR_INVALID_PC": 718,
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES": 701, "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE": 720, "CUDA_ERROR_INVALID_PTX": 218,
    "CUDA_ERROR_INVALID_IMAGE": 200, "CUDA_ERROR_UNKNOWN": 999,
}  # fmt: skip
_NAMES = {name: code for code, (name, _, _) in CODES.items()} | _DRIVER_NAMES
_SPOKEN = re.compile(r"CUDA(?: driver| runtime)? error|cudaError|CUDA_ERROR|CUDAError|CUDA out of memory|CUDA kernel errors", re.I)


def find(text: str) -> CudaError | None:
    """The CUDA error a message speaks of, or None when it speaks of none. One that is not known comes back with code 0."""
    if not _SPOKEN.search(text):
        return None
    if text.startswith("CUDA out of memory"):
        return by_code(2)
    for word in re.findall(r"\b(?:cudaError\w+|CUDA_ERROR_\w+)", text):
        if word in _NAMES:
            return by_code(_NAMES[word])
    for sentence in sorted(_SENTENCES, key=len, reverse=True):
        if sentence.lower() in text.lower():
            return by_code(_SENTENCES[sentence])
    number = re.search(r"CUDA(?: driver| runtime)? error:?\s*(?:code\s*)?\(?(\d{1,3})\b", text, re.I)
    return by_code(int(number.group(1))) if number else CudaError(0, "unnamed CUDA error", False, "")


def by_code(code: int) -> CudaError:
    name, sticky, meaning = CODES.get(code, (f"CUDA error {code}", False, ""))
    return CudaError(code, name, sticky, meaning)
