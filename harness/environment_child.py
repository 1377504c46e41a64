"""The child that looks at the machine: ``python -m harness.environment_child`` prints what it found as JSON.

Nothing here fails: what cannot be read is reported as its error.
"""

from __future__ import annotations

import json
from typing import Any

from harness.environment import basics


def torch_and_gpus() -> dict[str, Any]:
    """torch's version and the CUDA it was built for, the architectures its kernels were built for, and the GPUs it sees.

    ``cuda_error`` is there when torch has CUDA and could not use it. Raises what a damaged torch raises that imports all the same.
    """
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return {"torch": f"cannot be imported: {error}", "cuda_available": False, "gpus": []}
    about = {"torch": str(torch.__version__), "cuda_build": torch.version.cuda, **_built_for(torch)}
    gpus: list[str] = []
    try:
        available = torch.cuda.is_available()
        for index in range(torch.cuda.device_count() if available else 0):
            device = torch.cuda.get_device_properties(index)
            gpus.append(f"{device.name}, sm_{device.major}{device.minor}, {device.total_memory >> 30} GiB")
    except RuntimeError as error:
        return about | {"cuda_available": False, "cuda_error": str(error), "gpus": gpus}
    return about | {"cuda_available": bool(available), "gpus": gpus}


def _built_for(torch: Any) -> dict[str, Any]:
    """Architectures as in sm_90 and compute_90 (PTX), also where no GPU is; and which C++ ABI extensions must have."""
    flags = getattr(torch._C, "_cuda_getArchFlags", None)
    abi = getattr(torch._C, "_GLIBCXX_USE_CXX11_ABI", None)
    return {"architectures": str(flags() or "").split() if flags else [], "cxx11_abi": None if abi is None else bool(abi)}


if __name__ == "__main__":
    print(json.dumps(basics() | torch_and_gpus()))  # noqa: T201
