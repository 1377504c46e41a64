"""What torch there is, what it was built for, and whether it gets at the GPUs."""

from __future__ import annotations

from typing import Any

from harness.environment_child import torch_and_gpus


def torch_build() -> dict[str, Any]:
    """``harness.environment_child.torch_and_gpus``, and where torch lies."""
    import torch

    return torch_and_gpus() | {"file": str(torch.__file__)}
