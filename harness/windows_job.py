"""A Windows Job Object: a process and all it starts, ended together, at the latest when the last handle to the job closes."""

from __future__ import annotations

import ctypes
import subprocess
from typing import IO, Any

_CREATE_SUSPENDED = 0x4
_CREATE_NO_WINDOW = 0x08000000
_LIMIT_KILL_ON_CLOSE = 0x2000
_LIMIT_JOB_MEMORY = 0x200
_LIMIT_DIE_ON_UNHANDLED_EXCEPTION = 0x400  # no error dialogue may keep a dead process waiting; no dump then
_EXTENDED_LIMIT_INFORMATION = 9


class _BasicLimits(ctypes.Structure):
    _fields_ = [
        ("PerProcessUserTimeLimit", ctypes.c_int64), ("PerJobUserTimeLimit", ctypes.c_int64), ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t), ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32), ("Affinity", ctypes.c_size_t), ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    ]  # fmt: skip


class _ExtendedLimits(ctypes.Structure):
    _fields_ = [
        ("Basic", _BasicLimits), ("IoInfo", ctypes.c_uint64 * 6), ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t), ("PeakProcessMemoryUsed", ctypes.c_size_t), ("PeakJobMemoryUsed", ctypes.c_size_t),
    ]  # fmt: skip


class JobObject:
    """One job. ``start`` puts a process in it before its first instruction runs. Raises OSError when Windows refuses."""

    EXIT_CODE = 0x4A4F4245
    """What ``terminate`` gives every process of the job, so that the harness's own kill is never taken for another's."""

    def __init__(self, memory_limit_bytes: int | None, *, dumps: bool = False) -> None:
        """``dumps``: a process that dies is first given to Windows Error Reporting, which must be set to show no dialogue."""
        # Through getattr: type checkers on other systems know no WinDLL, and this file is checked there too.
        win_dll: Any = getattr(ctypes, "WinDLL", None)
        if win_dll is None:
            raise OSError("Job Objects exist on Windows only")
        self._kernel32: Any = win_dll("kernel32", use_last_error=True)
        self._ntdll: Any = win_dll("ntdll")
        self._kernel32.CreateJobObjectW.restype = ctypes.c_void_p
        self._handle: Any = ctypes.c_void_p(self._check(self._kernel32.CreateJobObjectW(None, None)))
        limits = _ExtendedLimits()
        limits.Basic.LimitFlags = _LIMIT_KILL_ON_CLOSE | (0 if dumps else _LIMIT_DIE_ON_UNHANDLED_EXCEPTION)
        if memory_limit_bytes is not None:
            limits.Basic.LimitFlags |= _LIMIT_JOB_MEMORY
            limits.JobMemoryLimit = memory_limit_bytes
        size = ctypes.sizeof(limits)
        self._check(self._kernel32.SetInformationJobObject(self._handle, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size))

    def start(self, argv: list[str], stdout: IO[bytes], stderr: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        flags = _CREATE_SUSPENDED | _CREATE_NO_WINDOW
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment, creationflags=flags
        )
        handle = ctypes.c_void_p(int(process._handle))  # type: ignore[attr-defined]
        try:
            self._check(self._kernel32.AssignProcessToJobObject(self._handle, handle))
            if self._ntdll.NtResumeProcess(handle) != 0:
                raise OSError("NtResumeProcess failed")
        except OSError:
            process.kill()
            raise
        return process

    def terminate(self) -> None:
        if self._handle is not None:
            self._kernel32.TerminateJobObject(self._handle, self.EXIT_CODE)

    def close(self) -> None:
        if self._handle is not None:
            self._kernel32.CloseHandle(self._handle)
            self._handle = None

    def _check(self, result: Any) -> Any:
        if not result:
            windows: Any = ctypes
            raise windows.WinError(windows.get_last_error())
        return result
