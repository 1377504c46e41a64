"""The driver and the GPUs: what CUDA says, what nvidia-smi says, and where the two disagree."""

from __future__ import annotations

from typing import Any

from harness.cudaerror import CODES
from harness.doctor.ask import Problem, Told
from harness.doctor.check import Check, fail, ok, skip, warn, worst
from harness.doctor.machine import Machine
from harness.doctor.smi import Smi
from harness.versions import MINIMUM_DRIVER, numbers, of_driver_api

_GET = "install NVIDIA's driver (nvidia.com/drivers, or the distribution's package), and restart"
_INIT_FIX = {
    3: "the driver is shutting down: restart the machine",
    34: "a stub of libcuda is loaded instead of the driver: take the toolkit's stubs folder out of LD_LIBRARY_PATH",
    100: "check CUDA_VISIBLE_DEVICES, and that the container was started with its GPUs (docker run --gpus all)",
    101: "check CUDA_VISIBLE_DEVICES",
    802: "start nvidia-fabricmanager, which GPUs joined by NVSwitch need",
    803: "the driver was updated while it was loaded: restart the machine",
    804: "remove the cuda-compat package, which works on data centre GPUs only",
    999: "restart the machine; on Linux 'sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm' may be enough",
}  # fmt: skip
_NVML_MISMATCH = 18
_GIB = 1 << 30


def driver(told: Told, smi: Smi, machine: Machine) -> Check:
    """Whether there is a driver and whether it starts."""
    name = "driver"
    if isinstance(told, Problem):
        return fail(name, f"asking the CUDA driver: {told.message}", "restart the machine; if that does not help: " + _GET)
    nvml = told["nvml"] or {}
    if nvml.get("init") == _NVML_MISMATCH:
        return fail(name, "its library and its kernel module are of different versions", _INIT_FIX[803])
    if told["library"] is None:
        return _no_driver(name, told, smi, machine)
    code = told["init"]
    if code:
        meaning = CODES.get(code, ("", False, "an error without a name here"))
        detail = f"{told['library']} is there, and cuInit fails with {code}{f' ({meaning[0]})' if meaning[0] else ''}: {meaning[2]}"
        hidden = code == 100 and (machine.environ.get("CUDA_VISIBLE_DEVICES") is not None or not smi.gpus)
        return (warn if hidden else fail)(name, detail, _INIT_FIX.get(code, "restart the machine; " + _GET))
    cuda = of_driver_api(told["cuda"])
    version = nvml.get("version") or smi.driver_version or "of unknown version"
    return ok(name, f"{version}, CUDA up to {'.'.join(map(str, cuda)) if cuda else '?'}, from {told['library']}")


def _no_driver(name: str, told: dict[str, Any], smi: Smi, machine: Machine) -> Check:
    missing = f"no CUDA driver can be loaded ({told.get('missing')})"
    if machine.wsl == 2:
        return fail(
            name, missing + ", in WSL", "install the driver in Windows, not in Linux, then 'wsl --update' and 'wsl --shutdown'"
        )
    if smi.gpus or machine.shows_nvidia_hardware:
        return fail(name, missing + ", though there is an NVIDIA GPU", _GET)
    return skip(name, missing + " and no NVIDIA GPU is seen: only the solvers for the CPU can run", _GET)


def driver_version(told: Told, smi: Smi) -> tuple[int, ...]:
    nvml = {} if isinstance(told, Problem) else told["nvml"] or {}
    return numbers(nvml.get("version") or smi.driver_version)


def driver_for(who: str, cuda: str | None, version: tuple[int, ...]) -> Check:
    """Whether the driver is new enough for the CUDA version that ``who`` brings along."""
    name, built = f"driver for {who}", numbers(cuda)
    if not built:
        return skip(name, f"{who} brings no CUDA")
    least = MINIMUM_DRIVER.get(built[0])
    if not version or least is None:
        return skip(name, f"{who} is for CUDA {built[0]}, which needs driver {least or '?'} or newer; none is known here")
    said = f"{who} is for CUDA {built[0]}, which needs driver {least} or newer; this is {'.'.join(map(str, version))}"
    if version[0] >= least:
        return ok(name, said)
    older = max((major for major, first in MINIMUM_DRIVER.items() if version[0] >= first), default=None)
    other = "" if older is None else {
        "torch": f", or install the torch built for CUDA {older} (pytorch.org/get-started)",
        "cuda-core": f", or pip install 'sim3solve[cu{older}]'",
    }.get(who, "")  # fmt: skip
    return fail(name, said, f"update the driver{other}")


def gpus(told: Told, smi: Smi, environ_hides: bool) -> list[Check]:
    """One line for each GPU that either of the two shows."""
    seen = [] if isinstance(told, Problem) else told["gpus"]
    by_bus = {_bus(gpu.get("pci.bus_id", "")): gpu for gpu in smi.gpus}
    lines = [_gpu(gpu, by_bus.pop(_bus(gpu.get("bus", "")), {})) for gpu in seen]
    works = not isinstance(told, Problem) and told["init"] == 0
    for bus, gpu in by_bus.items():
        what = f"{gpu.get('name', 'a GPU')} at {bus}: nvidia-smi shows it, CUDA does not"
        if not works:
            lines.append(skip(f"GPU {gpu['index']}", f"{what}: see the line driver"))
        else:
            why = (
                "CUDA_VISIBLE_DEVICES hides it" if environ_hides else "it may be in use by a virtual machine, lost, or split by MIG"
            )
            lines.append(warn(f"GPU {gpu['index']}", f"{what}: {why}", "unset CUDA_VISIBLE_DEVICES to use it, or leave it so"))
    return lines or [skip("GPU", "none is seen")]


def _gpu(gpu: dict[str, Any], more: dict[str, str]) -> Check:
    name = f"GPU {gpu['index']}"
    if "failed" in gpu:
        return fail(name, f"the driver gives no access to it: error {gpu['failed']}", "look at nvidia-smi; reset or restart")
    facts = [gpu["name"], f"compute capability {gpu['major']}.{gpu['minor']}", f"{gpu['memory_bytes'] / _GIB:.1f} GiB"]
    free = more.get("memory.free", "")
    facts += [f"{int(free) / 1024:.1f} GiB free"] if free.isdigit() else []
    model = more.get("driver_model.current")
    facts += [model] if model else []
    facts += [f"ECC {more['ecc.mode.current'].lower()}"] if "ecc.mode.current" in more else []
    facts += ["kernels have a time limit, because of a display"] if gpu["kernel_time_limit"] else []
    return worst(name, _gpu_faults(name, gpu, more, free), ", ".join(facts))


def _gpu_faults(name: str, gpu: dict[str, Any], more: dict[str, str], free: str) -> list[Check]:
    found = []
    said = f"{gpu['name']} (compute capability {gpu['major']}.{gpu['minor']})"
    errors = more.get("ecc.errors.uncorrected.volatile.total", "0")
    if errors.isdigit() and int(errors):
        found.append(
            fail(name, f"{said}: {errors} memory errors that ECC could not mend", "reset the GPU; if they return, replace it")
        )
    if any("lost" in value.lower() or "requires reset" in value.lower() for value in more.values()):
        found.append(fail(name, f"{said}: nvidia-smi says that it is lost or needs a reset", "restart the machine"))
    if gpu["compute_mode"] == 2:
        found.append(fail(name, f"{said}: its compute mode is 'prohibited'", f"nvidia-smi -i {gpu['index']} -c DEFAULT, as root"))
    if gpu["compute_mode"] == 3:
        fix = f"nvidia-smi -i {gpu['index']} -c DEFAULT, as root, or replay with --jobs 1"
        found.append(warn(name, f"{said}: its compute mode lets one process at a time use it, replay starts several", fix))
    if free.isdigit() and int(free) < 1024:
        found.append(warn(name, f"{said}: only {free} MiB are free", "end what else uses the GPU (nvidia-smi lists it)"))
    if (gpu["major"], gpu["minor"]) < (5, 0):
        found.append(fail(name, f"{said}: too old for every CUDA from 12 on", "use the solvers for the CPU"))
    return found


def _bus(address: str) -> str:
    """A PCI address without the domain, which the two write with different widths."""
    return ":".join(address.lower().split(":")[-2:])
