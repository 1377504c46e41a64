"""The child that looks at the machine: ``python -m harness.environment_child`` prints what it found as JSON.

Nothing here fails: what cannot be read is reported as its error.
"""

from __future__ import annotations

import json
from typing import Any

from harness.environment import basics


def torch_and_gpus() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return {"torch": f"cannot be imported: {error}", "cuda_available": False, "gpus": []}
    gpus = []
    try:
        available = torch.cuda.is_available()
        for index in range(torch.cuda.device_count() if available else 0):
            device = torch.cuda.get_device_properties(index)
            gpus.append(f"{device.name}, sm_{device.major}{device.minor}, {device.total_memory >> 30} GiB")
    except RuntimeError as error:
        return {"torch": torch.__version__, "cuda_available": False, "cuda_error": str(error), "gpus": gpus}
    return {"torch": torch.__version__, "cuda_build": torch.version.cuda, "cuda_available": available, "gpus": gpus}


if __name__ == "__main__":
    print(json.dumps(basics() | torch_and_gpus()))  # noqa: T201
