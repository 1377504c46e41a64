"""What CUDA's error numbers mean for whoever has one: whose fault, how sure, what would refute it, what to do. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from harness.diagnosis.rule import DEVICE, ENVIRONMENT, HOST, LIKELY, NOT_KNOWN, POSSIBLE, PROVEN, UNKNOWN


@dataclass(frozen=True)
class Code:
    """What one error number means. ``test`` is an option of replay, or another command."""

    code: int
    cause: str
    side: str
    confidence: str
    claim: str
    refute: str
    test: str
    fix: str


MEMCHECK = "--tool memcheck --memory exact"
_BLOCKING = "the error stays at the same call when every launch is waited for (CUDA_LAUNCH_BLOCKING=1)"
_NOTHING = "another error number when it is run again"

# fmt: off
CODES = (
    Code(1, "invalid-argument", HOST, PROVEN, "a CUDA call was given an argument that is out of range", _NOTHING, MEMCHECK,
         "look at the pointers, sizes and stream of the first call that fails; an earlier unchecked launch may have left the "
         "error"),
    Code(2, "gpu-out-of-memory", DEVICE, PROVEN, "the GPU has too little free memory",
         "it happens with the GPU empty and a small case", "harness doctor",
         "end what else uses the GPU, or use fewer points; the fused solver needs under 0.1 MiB"),
    Code(9, "invalid-configuration", HOST, POSSIBLE, "a launch had no blocks (an empty batch) or too many threads",
         "the same error with a batch of one", "harness probe",
         "return early for an empty batch, and check every launch where it is made"),
    Code(35, "driver-too-old", ENVIRONMENT, PROVEN, "the driver is older than the CUDA runtime needs",
         "a newer driver says the same", "harness doctor", "update the driver, or install the build for an older CUDA"),
    Code(46, "gpu-busy", ENVIRONMENT, PROVEN, "the GPU is in exclusive or prohibited use",
         "no other process uses it, and its mode is default", "harness doctor", "end the other process, or nvidia-smi -c DEFAULT"),
    Code(98, "no-device-function", ENVIRONMENT, LIKELY, "the kernel was not built for this GPU, or not into this library",
         "the audit lists this GPU's architecture", "harness audit FILE (the extension)",
         "rebuild the extension for this GPU's architecture"),
    Code(100, "no-gpu", ENVIRONMENT, PROVEN, "no GPU is visible",
         "nvidia-smi lists one to this user and CUDA_VISIBLE_DEVICES is unset", "harness doctor",
         "install the driver, give the container the GPU, or unset CUDA_VISIBLE_DEVICES"),
    Code(101, "no-such-gpu", HOST, PROVEN, "there is no GPU of the number that was asked for", "nvidia-smi lists that number",
         "harness doctor", "ask for cuda:0, or replay with --device cuda:0: the recording came from a machine with more GPUs"),
    Code(200, "damaged-kernel-image", ENVIRONMENT, PROVEN, "the kernel image is damaged", "a fresh build says the same",
         "harness audit FILE (the extension)", "build the extension again, and empty the cache of compiled kernels"),
    Code(218, "invalid-ptx", ENVIRONMENT, LIKELY, "the driver could not compile the PTX",
         "the audit lists machine code for this GPU", "harness audit FILE (the extension)",
         "ship machine code (sm_NN) for this GPU, or update the driver"),
    Code(700, "illegal-address", DEVICE, PROVEN, "a kernel read or wrote memory that is not allocated",
         "memcheck names no access in exact memory", MEMCHECK,
         "run memcheck: it names the kernel, the line and the nearest allocation"),
    Code(701, "launch-out-of-resources", HOST, PROVEN, "a launch asks for more registers or shared memory than the GPU has",
         _NOTHING, MEMCHECK, "fewer threads per block, __launch_bounds__, or less shared memory"),
    Code(702, "launch-timeout", DEVICE, PROVEN, "a kernel ran longer than the display driver allows (Windows: TDR, 2 s)",
         "it ends by itself on a GPU without a display", "harness doctor",
         "make the kernel shorter; if it is right and slow, raise TdrDelay or use a GPU in TCC mode; if it never ends, bound its "
         "loops"),
    Code(710, "device-assert", DEVICE, PROVEN, "an assertion in a kernel failed", "stderr names no assertion", MEMCHECK,
         "read the assertion in stderr: most often an index out of range"),
    Code(714, "hardware-stack-error", DEVICE, PROVEN, "the call stack of a kernel is corrupt", _NOTHING, MEMCHECK,
         "end the recursion, take large arrays off the stack, and look for a write outside a local array"),
    Code(715, "device-illegal-instruction", DEVICE, PROVEN, "a kernel met an instruction that this GPU does not have", _NOTHING,
         MEMCHECK, "rebuild for this GPU's architecture; a corrupt function pointer does the same"),
    Code(716, "misaligned", DEVICE, PROVEN,
         "a load or store wider than its address is aligned, in a kernel that CUDA does not name",
         "memcheck names no misaligned access", MEMCHECK,
         "run memcheck for the line, or --layouts for the tensor; then load by its element type"),
    Code(717, "wrong-address-space", DEVICE, PROVEN, "a kernel used an address of another memory space", _NOTHING, MEMCHECK,
         "look for a shared or local pointer that is passed as a global one"),
    Code(718, "corrupt-program-counter", DEVICE, PROVEN, "a kernel jumped to no instruction", _NOTHING, MEMCHECK,
         "look for a write outside a local array, or a host function pointer that is called in a kernel"),
    Code(719, "launch-failure", DEVICE, NOT_KNOWN, "a kernel failed in a way that CUDA has no number for; a full stack is one",
         _BLOCKING, MEMCHECK, "run memcheck and synccheck: they name the kernel and the line"),
    Code(720, "cooperative-launch-too-large", HOST, PROVEN, "a cooperative launch has more blocks than fit on the GPU at once",
         _NOTHING, "harness doctor", "ask the driver how many blocks fit, and launch no more"),
    Code(801, "not-supported", ENVIRONMENT, PROVEN, "this GPU or driver cannot do what was asked",
         "the same call works on this GPU elsewhere", "harness doctor",
         "look which call it was (CUDA_LAUNCH_BLOCKING=1); virtual GPUs and WSL lack some"),
    Code(803, "driver-mismatch", ENVIRONMENT, PROVEN, "the driver's parts are of different versions", "it goes on after a restart",
         "harness doctor", "restart the machine after a driver update; in a container use the host's libcuda"),
    Code(804, "no-forward-compatibility", ENVIRONMENT, PROVEN, "CUDA's forward compatibility does not work on this GPU",
         "the compat libraries are not on the path", "harness doctor",
         "take cuda-compat off LD_LIBRARY_PATH, or update the driver"),
    Code(912, "graph-update-failure", HOST, PROVEN, "a CUDA graph cannot be updated that way", _NOTHING, MEMCHECK,
         "capture the graph again when its topology changes"),
    Code(999, "unknown-cuda-error", UNKNOWN, NOT_KNOWN, "CUDA has no name for what happened", _NOTHING, MEMCHECK,
         "read the driver's log (dmesg: Xid; Windows: event viewer), run it again after a restart of the driver"),
)
# fmt: on
