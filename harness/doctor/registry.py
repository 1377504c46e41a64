"""Numbers in Windows' registry: by winreg on Windows, by reg.exe from the Windows Subsystem for Linux."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.doctor.ask import Asker
from harness.doctor.check import one_line
from harness.doctor.machine import Machine

GRAPHICS = r"SYSTEM\CurrentControlSet\Control\GraphicsDrivers"
FILES = r"SYSTEM\CurrentControlSet\Control\FileSystem"
DEBUGGER = r"SOFTWARE\NVIDIA Corporation\GPUDebugger"


@dataclass(frozen=True)
class Value:
    """``number`` is None when the value is not set, or cannot be read; then ``problem`` says why."""

    number: int | None
    problem: str | None = None


def read(machine: Machine, asker: Asker, key: str, name: str) -> Value:
    """A DWORD under HKEY_LOCAL_MACHINE."""
    return _by_winreg(key, name) if machine.system == "win32" else _by_reg_exe(machine, asker, key, name)


def _by_winreg(key: str, name: str) -> Value:
    try:
        winreg: Any = importlib.import_module("winreg")  # by name: type checkers on other systems know none of it
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            number, _ = winreg.QueryValueEx(opened, name)
    except FileNotFoundError:
        return Value(None)
    except (OSError, ImportError) as error:
        return Value(None, f"HKLM\\{key}\\{name} cannot be read: {getattr(error, 'strerror', None) or error}")
    return Value(number) if isinstance(number, int) else Value(None, f"HKLM\\{key}\\{name} is no number: {number!r}")


def _by_reg_exe(machine: Machine, asker: Asker, key: str, name: str) -> Value:
    usual = "/mnt/c/Windows/System32/reg.exe"
    program = machine.program("reg.exe") or (usual if Path(usual).is_file() else None)
    if program is None:
        return Value(None, "Windows' reg.exe cannot be run from here")
    answer = asker.program([program, "query", f"HKLM\\{key}", "/v", name])
    if answer.problem is not None:
        return Value(None, f"reg.exe {answer.problem}")
    found = re.search(rf"\b{re.escape(name)}\s+REG_DWORD\s+0x([0-9a-fA-F]{{1,8}})\b", answer.stdout)
    if found is not None:
        return Value(int(found[1], 16))
    return Value(None) if answer.code == 1 else Value(None, f"reg.exe said: {one_line(answer.said, 200)!r}")
