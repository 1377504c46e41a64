"""torch: whether it can be imported at all, what it was built for, and whether that runs on the GPUs here."""

from __future__ import annotations

import re
from typing import Any

from harness.doctor.ask import Problem, Told
from harness.doctor.check import Check, fail, ok, skip, warn
from harness.versions import numbers, serves

_REINSTALL = "install torch anew: pytorch.org/get-started names the command for this system and CUDA"
_CAUSES = (
    (re.compile(r"No module named '?torch'?(?!\.)"), "pip install torch (pytorch.org/get-started names the command)"),
    (re.compile(r"DLL load failed|WinError 126|WinError 127|WinError 1114|c10\.dll"),
     "install Microsoft's Visual C++ redistributable (aka.ms/vs/17/release/vc_redist.x64.exe); then " + _REINSTALL),
    (re.compile(r"undefined symbol|version `\w+' not found|symbol not found"),
     "libraries of different versions are mixed: unset LD_LIBRARY_PATH and LD_PRELOAD; then " + _REINSTALL),
    (re.compile(r"cannot open shared object file|image not found"), "a library is missing, the message names it; " + _REINSTALL),
    (re.compile(r"numpy", re.IGNORECASE), "numpy and torch do not fit each other: install both anew"),
)  # fmt: skip


def build(told: Told) -> Check:
    """Whether torch can be imported, and what it is."""
    name = "torch"
    if isinstance(told, Problem):
        fix = {
            "hung": "see where it waits with 'python -X importtime -c \"import torch\"' (virus scanner, slow disk); --timeout 120",
            "died": "torch, or a library it loads, is broken or built for another processor: " + _REINSTALL,
        }.get(told.kind, _fix_for(told.message))
        return fail(name, f"cannot be imported: {told.message}", fix)
    if not imports(told):
        return fail(name, told["torch"], _fix_for(told["torch"]))
    cuda = f"for CUDA {told['cuda_build']}" if told["cuda_build"] else "for the CPU only"
    abi = {True: ", C++11 ABI", False: ", the old C++ ABI", None: ""}[told["cxx11_abi"]]
    said = f"{told['torch']}, {cuda}{abi}, at {told['file']}"
    least = numbers(told["torch"])[:2]
    if least and least < (2, 6):
        return warn(name, f"{said}: sim3solve is tested with 2.6 and newer", "update torch, if nothing else needs the old one")
    return ok(name, said)


def imports(told: Told) -> bool:
    return not isinstance(told, Problem) and not str(told["torch"]).startswith("cannot be imported")


def cuda(told: Told) -> str | None:
    """The CUDA version that torch was built for, as in "13.0"."""
    built = None if isinstance(told, Problem) else told.get("cuda_build")
    return None if built is None else str(built)


def why_no_cuda(told: Told) -> str:
    return "torch is built for the CPU only" if imports(told) else "torch cannot be imported: see the line torch"


def _fix_for(message: str) -> str:
    return next((fix for pattern, fix in _CAUSES if pattern.search(message)), _REINSTALL)


def on_gpus(told: Told, gpus: list[dict[str, Any]]) -> list[Check]:
    """Whether torch gets at the GPUs, and whether it has kernels for each."""
    name = "torch on the GPU"
    if isinstance(told, Problem) or not imports(told) or not gpus:
        return [skip(name, "no GPU is seen" if imports(told) else "torch cannot be imported: see the line torch")]
    if not told.get("cuda_build"):
        fix = "install the torch built for CUDA: pytorch.org/get-started names the command"
        return [warn(name, "torch is built for the CPU only, though there is a GPU", fix)]
    if not told["cuda_available"]:
        said = told.get("cuda_error") or "torch.cuda.is_available() is False"
        return [fail(name, f"torch does not get at the GPU: {said}", "see the lines driver and driver for torch")]
    return [_architectures(told["architectures"], gpu) for gpu in gpus]


def _architectures(built: list[str], gpu: dict[str, Any]) -> Check:
    name, capability = f"torch on GPU {gpu['index']}", (gpu["major"], gpu["minor"])
    needed = f"sm_{gpu['major']}{gpu['minor']}"
    if not built:
        return skip(name, "torch does not say what it was built for")
    how = serves(built, capability)
    if how == "cubin":
        return ok(name, f"has kernels for {needed}: {' '.join(built)}")
    if how == "ptx":
        said = f"has no kernels for {needed}, only PTX that the driver compiles at the first use: {' '.join(built)}"
        return warn(name, said, "slow first start; install a torch built for this GPU")
    fix = f"install a torch built with {needed}" + (" (2.7 or newer, for CUDA 12.8 or newer)" if gpu["major"] >= 10 else "")
    return fail(name, f"no kernel image for {needed} (error 209): torch is built for {' '.join(built)}", fix)
