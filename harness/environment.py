"""What this machine is. torch and the driver are asked by a child, so that a broken one cannot take the harness with it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.process import child_environment, cores

PACKAGES = (
    "sim3solve", "torch", "numpy", "scipy", "pydantic", "pandas", "matplotlib", "cuda-core", "cuda-bindings", "lietorch", "pypose",
)  # fmt: skip

VARIABLES = ("CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES")
"""Those that change what a solver does on a GPU, or on which; of no other is anything written down."""


class Inquiry:
    """A child that is asked at once and answers while other work goes on."""

    def __init__(self) -> None:
        argv = [sys.executable, "-P", "-m", "harness.environment_child"]
        self._child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment(None))

    def answer(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """The environment document. Never raises for what the child does."""
        try:
            stdout, stderr = self._child.communicate(timeout=timeout_s)
            document = json.loads(stdout)
            if isinstance(document, dict):
                return document
            problem = "not known: the child's answer is no object"
        except subprocess.TimeoutExpired:
            self.close()
            problem = f"not known: asking took over {timeout_s:g} s"
        except ValueError:
            problem = f"not known: the child ended with code {self._child.returncode}: {stderr.decode(errors='replace')[-500:]}"
        return basics() | {"torch": problem, "cuda_available": None}

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.communicate()


def basics() -> dict[str, Any]:
    """What is known without touching torch."""
    import psutil

    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "os": platform.platform(), "python": platform.python_version(), "machine": platform.machine(), "cpu": _cpu(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total, "packages": packages, "git": _git(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }  # fmt: skip


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git() -> str | None:
    """The revision of the source tree this runs from, with a + when it was changed; None when it is no checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        ask = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"]
        done = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
