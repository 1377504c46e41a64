"""What an exit code means: a POSIX signal, a Windows NTSTATUS, or just a number."""

from __future__ import annotations

import os

from harness.outcome import Exit

NTSTATUS: dict[int, tuple[str, str]] = {
    0x80000002: ("STATUS_DATATYPE_MISALIGNMENT", "a misaligned access"),
    0x80000003: ("STATUS_BREAKPOINT", "a breakpoint was hit and no debugger was attached"),
    0x80000004: ("STATUS_SINGLE_STEP", "the processor's trap flag was set and no debugger was attached"),
    0xC0000005: ("STATUS_ACCESS_VIOLATION", "the process read or wrote memory it must not touch"),
    0xC0000006: ("STATUS_IN_PAGE_ERROR", "a page could not be read from disk"),
    0xC0000017: ("STATUS_NO_MEMORY", "out of memory"),
    0xC000001D: ("STATUS_ILLEGAL_INSTRUCTION", "an instruction this processor does not have"),
    0xC0000094: ("STATUS_INTEGER_DIVIDE_BY_ZERO", "an integer was divided by zero"),
    0xC00000FD: ("STATUS_STACK_OVERFLOW", "the stack is full, usually from endless recursion"),
    0xC0000135: ("STATUS_DLL_NOT_FOUND", "a DLL is missing"),
    0xC0000139: ("STATUS_ENTRYPOINT_NOT_FOUND", "a DLL lacks a function: it is of another version"),
    0xC000013A: ("STATUS_CONTROL_C_EXIT", "ended by Ctrl-C"),
    0xC0000142: ("STATUS_DLL_INIT_FAILED", "a DLL failed to start"),
    0xC000007B: ("STATUS_INVALID_IMAGE_FORMAT", "a DLL is not of this architecture"),
    0xC0000374: ("STATUS_HEAP_CORRUPTION", "the heap was overwritten"),
    0xC0000409: ("STATUS_STACK_BUFFER_OVERRUN", "fast fail: abort(), a failed security check or an uncaught C++ exception"),
    0xC0000420: ("STATUS_ASSERTION_FAILURE", "an assertion failed"),
    # Microsoft's linker puts these names under no header: the code of a DLL that is loaded when it is first called (/DELAYLOAD).
    0xC06D007E: ("DELAYLOAD_MOD_NOT_FOUND", "a DLL that is loaded at its first call is missing, or one that it needs"),
    0xC06D007F: (
        "DELAYLOAD_ENTRYPOINT_NOT_FOUND",
        "a DLL that is loaded at its first call is of another version: it lacks a function",
    ),
    0xE0434352: ("CLR_EXCEPTION", "an uncaught exception of .NET"),
    0xE06D7363: ("CPP_EH_EXCEPTION", "an uncaught C++ exception"),
}

SIGNALS: dict[str, str] = {
    "SIGSEGV": "the process read or wrote memory it must not touch",
    "SIGBUS": "a misaligned access, or a page of a mapped file that is not there",
    "SIGILL": "an instruction this processor does not have",
    "SIGFPE": "an integer division by zero or overflow",
    "SIGABRT": "the process aborted itself: abort(), an assertion, an uncaught C++ exception or a corrupted heap",
    "SIGTRAP": "a breakpoint was hit and no debugger was attached",
    "SIGKILL": "killed from outside, not by the harness: most often the kernel, out of memory",
    "SIGTERM": "asked to end from outside",
    "SIGINT": "interrupted",
    "SIGXCPU": "over the processor-time limit",
    "SIGXFSZ": "over the file-size limit",
    "SIGSYS": "a system call that is forbidden here",
    "SIGPIPE": "wrote to a pipe that nobody reads",
}


ABORT_OR_3 = "exit 3"
_NUMBERS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
    10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ",
    31: "SIGSYS",
}  # fmt: skip
"""Linux's. Not of the module ``signal``, which knows those of the system it runs on: a run of Linux is read on Windows as well."""


def decode(code: int, *, windows: bool = os.name == "nt") -> Exit:
    """Decode a process's exit code.

    POSIX: ``-N`` for a signal, as ``subprocess`` gives it; 128 + N, as a shell gives it, is a signal too. Windows: the unsigned
    32-bit code, also when it came as a negative number.
    """
    return _windows(code & 0xFFFFFFFF) if windows else _posix(code)


def is_abort(exit: Exit, faulthandler: str) -> bool:
    """Whether code 3 is abort() in Windows' C runtime and no program's own 3: faulthandler saw the signal."""
    return exit.name == ABORT_OR_3 and "Fatal Python error: Aborted" in faulthandler


def _windows(code: int) -> Exit:
    if code in NTSTATUS:
        name, meaning = NTSTATUS[code]
        return Exit(code, name, meaning, crashed=True)
    if code >> 28 == 0xC:  # an error of the system; 0xD and above are free for programs, and 0xFFFFFFFF is a plain -1
        return Exit(code, f"NTSTATUS 0x{code:08X}", "an error status without a name here", crashed=True)
    if code == 3:
        return Exit(code, ABORT_OR_3, "ended itself with code 3, which is abort() in the C runtime", crashed=False)
    if code >= 1 << 31:
        return Exit(code, f"exit {code - (1 << 32)}", f"ended itself with code {code - (1 << 32)} (0x{code:08X})", crashed=False)
    return _plain(code)


def _posix(code: int) -> Exit:
    number = -code if code < 0 else code - 128 if 128 < code < 128 + 65 else 0
    if number:
        name = _NUMBERS.get(number, f"signal {number}")
        return Exit(code, name, SIGNALS.get(name, "ended by a signal"), crashed=True, signal=name)
    return _plain(code)


def _plain(code: int) -> Exit:
    if code == 0:
        return Exit(0, "exit 0", "ended normally", crashed=False)
    return Exit(code, f"exit {code}", f"ended itself with code {code}", crashed=False)
