"""Windows' registry and the Subsystem for Linux, planted: a made winreg, reg.exe and /proc. No proof for Windows itself."""

from __future__ import annotations

import os
import sys
import types

import pytest
from test_doctor_ask import script

from harness.doctor import registry, windows
from harness.doctor.ask import Asker, Problem
from harness.doctor.machine import Machine
from harness.doctor.registry import DEBUGGER, FILES, GRAPHICS, Value

posix = pytest.mark.skipif(os.name == "nt", reason="plants shell scripts")
WINDOWS = Machine(system="win32", environ={})
GPU = {"index": 0, "tcc": 0}


@pytest.fixture
def plant(monkeypatch):
    """A winreg with these values; one that is an exception is raised when its key is opened or its value read."""

    def made(values):
        class Key:
            def __init__(self, path):
                self.path = path

            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

        def open_key(root, path, reserved, access):
            assert (root, reserved, access) == ("HKLM", 0, 0x20119)
            if isinstance(values.get(path), Exception):
                raise values[path]
            return Key(path)

        def query(key, name):
            value = values.get((key.path, name), FileNotFoundError(2, "not set"))
            if isinstance(value, Exception):
                raise value
            return value, 4

        winreg = types.SimpleNamespace(
            HKEY_LOCAL_MACHINE="HKLM", KEY_READ=0x20019, KEY_WOW64_64KEY=0x100, OpenKey=open_key, QueryValueEx=query
        )
        monkeypatch.setitem(sys.modules, "winreg", winreg)
        return lambda key, name: registry.read(WINDOWS, Asker(5), key, name)

    return made


@pytest.mark.parametrize(
    ("values", "state", "said", "fix"),
    [
        ({}, "warn", "2 s (TdrDelay is not set, the default), level 3", "TdrDelay /t REG_DWORD /d 10"),
        ({(GRAPHICS, "TdrDelay"): 10}, "ok", "10 s (TdrDelay), level 3", ""),
        ({(GRAPHICS, "TdrDelay"): 4}, "warn", "4 s", "restart"),
        ({(GRAPHICS, "TdrLevel"): 0}, "warn", "switched off", "TdrLevel /t REG_DWORD /d 3"),
        ({GRAPHICS: PermissionError(13, "Access is denied")}, "warn", "Access is denied", "reg query"),
        ({(GRAPHICS, "TdrDelay"): OSError(22, "the registry is corrupt")}, "warn", "corrupt", "reg query"),
        ({(GRAPHICS, "TdrDelay"): b"\x1b[2J"}, "warn", "is no number", "reg query"),
        ({GRAPHICS: FileNotFoundError(2, "no key")}, "warn", "the default", "TdrDelay"),
    ],
)
def test_tdr(plant, values, state, said, fix):
    check = windows.tdr(plant(values), [GPU])
    assert check.state == state and said in check.detail and fix in check.fix


def test_gpus_in_tcc_mode_have_no_time_limit(plant):
    assert windows.tdr(plant({}), [GPU | {"tcc": 1}]).state == "ok"
    assert windows.tdr(plant({}), [GPU | {"tcc": 1}, GPU]).state == "warn"


@pytest.mark.parametrize(
    ("values", "state", "said"),
    [
        ({(DEBUGGER, "EnableInterface"): 1}, "ok", "can attach"),
        ({(DEBUGGER, "EnableInterface"): 0}, "warn", "EnableInterface is 0"),
        ({}, "warn", "EnableInterface is not set"),
        ({DEBUGGER: PermissionError(13, "Access is denied")}, "warn", "Access is denied"),
    ],
)
def test_the_debugger_interface(plant, values, state, said):
    check = windows.debugger(plant(values), in_wsl=False)
    assert check.state == state and said in check.detail
    assert state == "ok" or "GPUDebugger" in check.fix


def test_a_python_without_winreg(monkeypatch):
    monkeypatch.setitem(sys.modules, "winreg", None)
    value = registry.read(WINDOWS, Asker(5), GRAPHICS, "TdrDelay")
    assert value.number is None and value.problem


# --- the Windows Subsystem for Linux ---


def linux(root, *, release="", version="", environ=None):
    for path, text in (("proc/sys/kernel/osrelease", release), ("proc/version", version)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Machine(system="linux", root=root, environ=environ or {})


@pytest.mark.parametrize(
    ("release", "version", "wsl"),
    [
        ("5.15.167.4-microsoft-standard-WSL2", "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f)", 2),
        ("4.4.0-19041-Microsoft", "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)", 1),
        ("6.6.36-custom", "Linux version 6.6.36 (me@microsoft-standard)", 2),
        ("6.18.44", "Linux version 6.18.44 (builder@host)", 0),
        ("", "", 0),
    ],
)
def test_which_wsl(tmp_path, release, version, wsl):
    assert linux(tmp_path, release=release, version=version).wsl == wsl


def test_no_proc_at_all_is_no_wsl(tmp_path):
    assert Machine(system="linux", root=tmp_path / "none", environ={}).wsl == 0


def driver_from(library):
    return {"library": library, "init": 0, "cuda": 13000, "nvml": None, "gpus": []}


@pytest.mark.parametrize(
    ("library", "shared", "state", "said"),
    [
        ("/usr/lib/wsl/drivers/nv_disp/libcuda.so.1.1", True, "ok", "leaves no core dump"),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.580", True, "fail", "instead of /usr/lib/wsl/lib"),
        (None, False, "warn", "shares no NVIDIA driver"),
    ],
)
def test_the_driver_in_wsl(tmp_path, library, shared, state, said):
    machine = linux(tmp_path, release="5.15-microsoft-standard-WSL2")
    if shared:
        (tmp_path / "usr/lib/wsl/lib").mkdir(parents=True)
        (tmp_path / "usr/lib/wsl/lib/libcuda.so.1").write_bytes(b"")
    check = windows.wsl(machine, driver_from(library))
    assert check.state == state and said in check.detail


def test_wsl_1_and_a_driver_that_crashed(tmp_path):
    assert windows.wsl(linux(tmp_path / "a", release="4.4.0-Microsoft"), Problem("died", "x")).state == "fail"
    assert windows.wsl(linux(tmp_path / "b", release="5.15-microsoft-standard-WSL2"), Problem("died", "x")).state == "warn"
    assert windows.wsl(linux(tmp_path / "c", release="6.1"), Problem("died", "x")).state == "skip"


REG = r"printf '\r\nHKEY_LOCAL_MACHINE\\SOFTWARE\\X\r\n    EnableInterface    REG_DWORD    0x1\r\n\r\n'"


@posix
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (REG, Value(1)),
        ("echo 'ERROR: The system was unable to find the specified registry key or value.' >&2; exit 1", Value(None)),
        ("sleep 60", Value(None, "reg.exe took over 1 s and was ended")),
        ("echo junk", Value(None, "reg.exe said: 'junk'")),
    ],
)
def test_the_registry_from_wsl(tmp_path, text, value):
    script(tmp_path / "bin", "reg.exe", text)
    machine = linux(tmp_path, release="5.15-microsoft-standard-WSL2", environ={"PATH": str(tmp_path / "bin")})
    assert registry.read(machine, Asker(1), DEBUGGER, "EnableInterface") == value


def test_wsl_whose_windows_programs_cannot_be_run(tmp_path):
    machine = linux(tmp_path, release="5.15-microsoft-standard-WSL2", environ={"PATH": ""})
    value = registry.read(machine, Asker(1), DEBUGGER, "EnableInterface")
    check = windows.debugger(lambda key, name: value, in_wsl=True)
    assert check.state == "warn" and "reg.exe" in check.detail and "wsl --shutdown" in check.fix


@pytest.mark.parametrize(
    ("values", "state", "said"),
    [
        ({}, "warn", "260"),
        ({(FILES, "LongPathsEnabled"): 0}, "warn", "off"),
        ({(FILES, "LongPathsEnabled"): 1}, "ok", "on"),
        ({FILES: PermissionError(13, "Access is denied")}, "skip", "Access is denied"),
    ],
)
def test_long_paths(plant, values, state, said):
    check = windows.long_paths(plant(values))
    assert check.state == state and said in check.detail
    assert state == "ok" or "LongPathsEnabled /t REG_DWORD /d 1" in check.fix
