"""Where the doctor looks: the system, its files and its variables. Tests plant others."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What can be read without asking anybody."""

    system: str = sys.platform
    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    reports: Path = Path("reports")

    def read(self, path: str) -> str | None:
        """A small file of the system; None where it is not or cannot be read."""
        try:
            with open(self.root / path.lstrip("/"), "rb") as file:
                return file.read(1 << 20).decode("utf-8", "replace")
        except OSError:
            return None

    def program(self, name: str) -> str | None:
        return shutil.which(name, path=self.environ.get("PATH", ""))

    @property
    def wsl(self) -> int:
        """0, or the version of the Windows Subsystem for Linux this runs in."""
        if self.system != "linux":
            return 0
        kernel = ((self.read("/proc/sys/kernel/osrelease") or "") + (self.read("/proc/version") or "")).lower()
        if "microsoft" not in kernel:
            return 0
        return 2 if "wsl2" in kernel or "microsoft-standard" in kernel or (self.root / "dev/dxg").exists() else 1

    @property
    def shows_nvidia_hardware(self) -> bool:
        """Whether the PCI bus has a display controller of NVIDIA's. False where the system does not tell."""
        for device in (self.root / "sys/bus/pci/devices").glob("*"):
            vendor, kind = (self.read(f"{device.relative_to(self.root)}/{name}") or "" for name in ("vendor", "class"))
            if vendor.strip() == "0x10de" and kind.strip().startswith("0x03"):
                return True
        return False
