"""Exit codes of both worlds, decoded on either."""

from __future__ import annotations

import pytest

from harness.exitcode import decode


@pytest.mark.parametrize(
    ("code", "name", "crashed"),
    [
        (0xC0000005, "STATUS_ACCESS_VIOLATION", True),
        (-1073741819, "STATUS_ACCESS_VIOLATION", True),  # the same number, signed
        (0xC0000409, "STATUS_STACK_BUFFER_OVERRUN", True),
        (0xC00000FD, "STATUS_STACK_OVERFLOW", True),
        (0xC000001D, "STATUS_ILLEGAL_INSTRUCTION", True),
        (0xC0000374, "STATUS_HEAP_CORRUPTION", True),
        (0xC0000135, "STATUS_DLL_NOT_FOUND", True),
        (0x80000003, "STATUS_BREAKPOINT", True),
        (0xC0DEDEAD, "NTSTATUS 0xC0DEDEAD", True),
        (0xCFFFFFFF, "NTSTATUS 0xCFFFFFFF", True),
        (0xC06D007E, "DELAYLOAD_MOD_NOT_FOUND", True),
        (0xC06D007F, "DELAYLOAD_ENTRYPOINT_NOT_FOUND", True),
        (0x80000002, "STATUS_DATATYPE_MISALIGNMENT", True),
        (0x80000004, "STATUS_SINGLE_STEP", True),
        (0xE06D7363, "CPP_EH_EXCEPTION", True),
        (0xE0434352, "CLR_EXCEPTION", True),
        (-1, "exit -1", False),  # os._exit(-1): a program's own, however large it looks
        (0xFFFFFFFF, "exit -1", False),
        (-42, "exit -42", False),
        (0xD0000000, "exit -805306368", False),
        (0x80070005, "exit -2147024891", False),
        (0x7FFFFFFF, "exit 2147483647", False),
        (3, "exit 3", False),
        (139, "exit 139", False),  # no signal number on Windows
        (1, "exit 1", False),
        (0, "exit 0", False),
    ],
)
def test_windows(code, name, crashed):
    end = decode(code, windows=True)
    assert (end.name, end.crashed, end.signal) == (name, crashed, None)
    assert end.code == code & 0xFFFFFFFF
    assert end.meaning


@pytest.mark.parametrize(
    ("code", "name", "crashed"),
    [
        (-11, "SIGSEGV", True),
        (139, "SIGSEGV", True),  # as a shell says it
        (-6, "SIGABRT", True),
        (-4, "SIGILL", True),
        (-7, "SIGBUS", True),
        (-9, "SIGKILL", True),
        (-250, "signal 250", True),
        (128, "exit 128", False),
        (255, "exit 255", False),
        (2, "exit 2", False),
        (0, "exit 0", False),
    ],
)
def test_posix(code, name, crashed):
    end = decode(code, windows=False)
    assert (end.name, end.crashed, end.code) == (name, crashed, code)
    assert end.signal == (name if crashed else None)


def test_abort_on_windows_is_explained():
    assert "abort()" in decode(3, windows=True).meaning
