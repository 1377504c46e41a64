"""The child that looks at the machine: ``python -m harness.environment_child`` prints what it found as JSON.

Nothing here fails: what cannot be read is reported as its error.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
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


def torch_for_the_cpu() -> dict[str, Any] | None:
    """The same of a torch that was built without CUDA: it can see no GPU, so it need not be imported, which takes seconds.

    None where it has CUDA, or does not say.
    """
    try:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return None
        told = _assigned((Path(spec.origin).parent / "version.py").read_text(encoding="utf-8"))
        if told["cuda"] is not None or told.get("hip") is not None:
            return None
        return {"torch": str(told["__version__"]), "cuda_build": None, "architectures": [], "cuda_available": False, "gpus": []}
    except (ImportError, KeyError, OSError, SyntaxError, ValueError):
        return None


def _assigned(source: str) -> dict[str, Any]:
    """The names of a module that are set to plain values."""
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and isinstance(node.value, ast.Constant):
                found[target.id] = node.value.value
    return found


if __name__ == "__main__":
    print(json.dumps(basics() | (torch_for_the_cpu() or torch_and_gpus())))  # noqa: T201
