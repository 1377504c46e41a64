"""The command line of compute-sanitizer with every default set: what a version defaults to must not change what is found."""

from __future__ import annotations

import zlib
from pathlib import Path

from harness.sanitizer.locate import ComputeSanitizer
from harness.sanitizer.tools import LOG, RECORDS

PREFIX = "========="
ERROR_EXIT = 97
RECORD_LIMIT = 10_000
"""Records written of one process, launches among them; the summary line still counts them all.

Not unlimited (0): one read of uninitialised memory by every thread of one launch would fill gigabytes. Where launches alone come to
it, the run is made again without their list (``harness.isolation``).
"""
PADDING_BYTES = 512
"""Red zone behind every cudaMalloc, so that a read just past one allocation does not land in the next."""

_GENERAL = {
    "check-bulk-copy": "yes", "check-tensor-ops": "no", "check-device-heap": "yes", "check-exit-code": "yes",
    "check-warpgroup-mma": "yes", "coredump-behavior": "exit", "demangle": "full", "destroy-on-device-error": "context",
    "error-exitcode": str(ERROR_EXIT), "force-synchronization-limit": "0", "language": "c", "launch-count": "0",
    "launch-skip": "0", "launch-timeout": "60", "max-connections": "10", "mode": "launch-and-attach", "num-callers-device": "0",
    "num-callers-host": "0", "num-cuda-barriers": "0", "nvtx": "yes", "prefix": PREFIX, "print-limit": str(RECORD_LIMIT),
    "require-cuda-init": "yes", "show-backtrace": "yes", "backtrace-short": "yes", "strip-paths": "no", "target-processes": "all",
}  # fmt: skip
_OF_TOOL = {
    "memcheck": {
        "leak-check": "no", "padding": str(PADDING_BYTES), "report-api-errors": "explicit",
        "report-device-side-allocation-failure": "yes", "track-stream-ordered-races": "all", "check-api-memory-access": "yes",
    },
    "racecheck": {
        "racecheck-detect-level": "warn", "racecheck-memcpy-async": "yes", "racecheck-fence-proxy-async": "yes",
        "racecheck-trace-sync": "no", "racecheck-deadlock-timeout": "0", "racecheck-continue-on-deadlock": "yes",
        "racecheck-num-workers": "0", "racecheck-report": "all",
    },
    "initcheck": {
        "check-api-memory-access": "yes", "initcheck-track-filtered-global-memory": "yes", "unused-memory-threshold": "0",
        "initcheck-address-space": "global",
    },
    "synccheck": {"missing-barrier-init-is-fatal": "yes"},
}  # fmt: skip
_FLAGS = ("ignore-getprocaddress-notfound", "save-session-details")
_LIST = "dump-kernel-launches"
_OFF = "a flag, off unless it is given: "
UNSET = {
    "help": "asks", "version": "asks", "read": "reads records instead of watching",
    "check-cache-control": f"{_OFF}what it checks is no fault in memory", "check-optix": f"{_OFF}no solver uses OptiX",
    "check-optix-leaks": f"{_OFF}no solver uses OptiX", "detect-missing-module-unload": f"{_OFF}of no use with CUDA's runtime",
    "track-unused-memory": f"{_OFF}memory that is not used is no fault",
    "unused-shared-memory-report-limit": "belongs to track-unused-memory",
    "force-blocking-launches": f"{_OFF}it would hide what a missing wait does",
    "generate-coredump": f"{_OFF}it stops at the first fault",
    "coredump-name": "belongs to generate-coredump", "kill": f"{_OFF}the harness ends what it started",
    "print-session-details": f"{_OFF}they stand in the records", "quiet": f"{_OFF}the footer is needed",
    "support-32bit": f"{_OFF}there are no 32-bit children", "suppressions": "nothing is suppressed",
    "injection-path": "the tool's own", "injection-path32": "the tool's own", "preload-library": "none is needed",
    "kernel-name-exclude": "kernels are chosen by kernel-name", "nvtx-include": "kernels are chosen by kernel-name",
    "nvtx-exclude": "kernels are chosen by kernel-name", "racecheck-filter-cluster-id": "all clusters are watched",
    "target-processes-filter": "all processes are watched",
}  # fmt: skip
"""What is left at its default on purpose, of the options of every version that was seen, and why. All others are set."""


def argv(
    found: ComputeSanitizer, tool: str, folder: Path, *, kernels: str | None = None, list_launches: bool = True,
    more: tuple[str, ...] = (),
) -> list[str]:  # fmt: skip
    """The words before those of the program to be watched. Records and text go to ``folder``.

    ``kernels`` is a regular expression; only kernels whose mangled name contains it are instrumented. ``list_launches``: a record
    for each launch, in the versions that write any. Options that this version
    does not know are left out; that a version knows one of the others is the parser's concern.
    """
    lists = _LIST in found.options and list_launches
    words = [str(found.path), "--tool", tool, "--xml", "--save", _escaped(folder / RECORDS), "--log-file", _escaped(folder / LOG)]
    values = _GENERAL | _OF_TOOL[tool]
    values["print-level"] = "info" if lists else "warn"
    values["port"] = str(49152 + 16 * (zlib.crc32(str(folder).encode()) % 1000))  # many at once, each its own ports
    for option, value in values.items():
        if option in found.options:
            words += [f"--{option}", value]
    words += [f"--{flag}" for flag in (*_FLAGS, *([_LIST] if lists else [])) if flag in found.options]
    if kernels is not None:
        words += ["--kernel-name", f"regex={kernels}"]
    return [*words, *more]


def _escaped(file: Path) -> str:
    """A file name as the tool takes it: ``%`` starts an escape sequence there."""
    return str(file).replace("%", "%%")
