"""What only Windows and its Subsystem for Linux have: the display driver's time limit, the debugger interface, WSL's driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.doctor.ask import Problem, Told
from harness.doctor.check import Check, fail, ok, skip, warn
from harness.doctor.machine import Machine
from harness.doctor.registry import DEBUGGER, FILES, GRAPHICS, Value
from harness.minidump import LOCAL_DUMPS, WER, LocalDumps

DEFAULT_DELAY_S, DEFAULT_LEVEL = 2, 3
_LONG_ENOUGH_S = 8
_SET = 'as administrator: reg add "HKLM\\{key}" /v {name} /t REG_DWORD /d {value} /f'
_WSL_LIBRARY = "/usr/lib/wsl/"

Read = Callable[[str, str], Value]


def tdr(read: Read, gpus: list[dict[str, Any]]) -> Check:
    """Timeout detection and recovery: Windows resets a display GPU whose kernel takes longer, and the process gets error 702."""
    name = "TDR"
    if gpus and all(gpu.get("tcc") for gpu in gpus):
        return ok(name, "every GPU is in TCC mode, which has no time limit")
    delay, level = read(GRAPHICS, "TdrDelay"), read(GRAPHICS, "TdrLevel")
    problem = delay.problem or level.problem
    if problem is not None:
        return warn(name, problem, f'look by hand: reg query "HKLM\\{GRAPHICS}"; nothing set means {DEFAULT_DELAY_S} s')
    if level.number == 0:
        fix = _SET.format(key=GRAPHICS, name="TdrLevel", value=DEFAULT_LEVEL) + ", then restart"
        return warn(name, "switched off (TdrLevel 0): a kernel that hangs freezes the display for ever", fix)
    seconds = DEFAULT_DELAY_S if delay.number is None else delay.number
    default = " is not set, the default" if delay.number is None else ""
    said = f"a kernel may take {seconds} s (TdrDelay{default}), level {_level(level)}"
    if seconds >= _LONG_ENOUGH_S:
        return ok(name, said)
    fix = _SET.format(key=GRAPHICS, name="TdrDelay", value=10) + ", then restart; undo it after the sanitizer runs"
    return warn(name, f"{said}: enough for a solve, not for kernels under a sanitizer, which then end in error 702", fix)


def _level(level: Value) -> int:
    return DEFAULT_LEVEL if level.number is None else level.number


def debugger(read: Read, *, in_wsl: bool) -> Check:
    """The interface without which compute-sanitizer sees nothing: "Failed to initialize WDDM debugger interface"."""
    name, value = "GPU debugger interface", read(DEBUGGER, "EnableInterface")
    fix = _SET.format(key=DEBUGGER, name="EnableInterface", value=1) + ("; then 'wsl --shutdown'" if in_wsl else "")
    if value.problem is not None:
        return warn(name, value.problem, f"if compute-sanitizer fails to initialize, {fix}")
    if value.number == 1:
        return ok(name, "enabled: compute-sanitizer can attach")
    state = "not set" if value.number is None else value.number
    return warn(name, f"not enabled (EnableInterface is {state}): compute-sanitizer cannot attach", fix)


def long_paths(read: Read) -> Check:
    """Whether a path may have more than 260 characters: a run's folder in a user's own soon has 200."""
    name, value = "long paths", read(FILES, "LongPathsEnabled")
    fix = _SET.format(key=FILES, name="LongPathsEnabled", value=1) + "; or keep runs in a short folder, as in --out C:\\runs"
    if value.problem is not None:
        return skip(name, value.problem, fix)
    if value.number == 1:
        return ok(name, "on: a path may have more than 260 characters")
    return warn(name, "off (LongPathsEnabled): Windows says of a path of 260 characters or more that it is not there", fix)


def crash_dumps(found: LocalDumps | None) -> Check:
    """Whether Windows Error Reporting leaves a minidump of a process that dies."""
    name = "crash dumps"
    quiet = _SET.format(key=WER, name="DontShowUI", value=1)
    if found is None:
        fix = _SET.format(key=LOCAL_DUMPS, name="DumpType", value=1) + f"; {quiet}"
        return skip(name, "off (LocalDumps), Windows' default: a process that dies leaves no minidump", fix)
    if not found.quiet:
        said = (
            f"on, in {found.folder}, but not for the harness's children: Windows may show a dialogue, which would keep them waiting"
        )
        return warn(name, said, quiet)
    return ok(name, f"on: Windows leaves them in {found.folder}, and the harness moves its children's to their job's folder")


def wsl(machine: Machine, driver: Told) -> Check:
    """Which WSL this is, and whether Windows' driver is the one that is loaded."""
    name = "WSL"
    if machine.wsl == 0:
        return skip(name, "not in the Windows Subsystem for Linux")
    if machine.wsl == 1:
        return fail(name, "WSL 1: it has no GPU", "wsl --set-version DISTRIBUTION 2, in Windows")
    library = None if isinstance(driver, Problem) else driver["library"]
    said = "WSL 2: a GPU fault leaves no core dump, and TDR and the debugger interface are set in Windows"
    if library and not library.startswith(_WSL_LIBRARY) and library.startswith("/"):
        fix = "remove the NVIDIA driver packages inside WSL: Windows' own driver is the only one that works there"
        return fail(name, f"{said}; the driver comes from {library} instead of {_WSL_LIBRARY}lib", fix)
    if not (machine.root / "usr/lib/wsl/lib/libcuda.so.1").exists():
        fix = "install NVIDIA's driver in Windows, then 'wsl --update' and 'wsl --shutdown'"
        return warn(name, f"{said}; Windows shares no NVIDIA driver ({_WSL_LIBRARY}lib/libcuda.so.1)", fix)
    return ok(name, f"{said}; driver in {_WSL_LIBRARY}lib")
