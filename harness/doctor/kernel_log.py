"""What the system's log says of GPU faults: NVIDIA's Xid numbers on Linux, resets of the display driver on Windows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.doctor.ask import Asker
from harness.doctor.check import Check, ok, one_line, skip, warn
from harness.doctor.machine import Machine

NAME = "GPU faults in the system log"
_LIMIT_S = 10.0
_XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]{1,32})\): (\d{1,4})")
_EVENT = re.compile(r"<EventID[^>]{0,100}>(\d{1,6})</EventID>")
_QUERY = "*[System[(Provider[@Name='nvlddmkm'] or Provider[@Name='Display']) and TimeCreated[timediff(@SystemTime) <= 604800000]]]"

# What NVIDIA's list of Xid errors says of those that matter here, and whether a program or the hardware is the likely cause.
XIDS: dict[int, tuple[str, bool]] = {
    13: ("a kernel accessed memory wrongly or was illegal", False), 31: ("a kernel touched memory that is not mapped", False),
    32: ("the command buffer was corrupted", False), 38: ("the firmware of the driver failed", True),
    43: ("a program's work was stopped after a fault", False), 45: ("a program ended with work on the GPU", False),
    48: ("a memory error that ECC cannot mend", True), 61: ("the GPU's microcontroller halted", True),
    62: ("the GPU's microcontroller halted", True), 63: ("a memory row is to be replaced", True),
    64: ("a memory row could not be replaced", True), 69: ("a kernel accessed memory wrongly or was illegal", False),
    74: ("NVLink failed", True), 79: ("the GPU fell off the bus", True), 92: ("many memory errors that ECC mended", True),
    94: ("a memory error, contained", True), 95: ("a memory error, not contained", True),
    119: ("the GPU's firmware does not answer", True), 120: ("the GPU's firmware failed", True),
}  # fmt: skip


@dataclass(frozen=True)
class Log:
    """``text`` is None when the log cannot be read; ``why`` says why."""

    text: str | None
    why: str = ""


def ask(machine: Machine, asker: Asker) -> Log:
    if machine.system == "win32":
        command: tuple[str, ...] = ("wevtutil", "qe", "System", f"/q:{_QUERY}", "/c:50", "/rd:true", "/f:xml")
    elif machine.system == "linux":
        command = ("dmesg",)
    else:
        return Log(None, "there is no NVIDIA driver for this system")
    program = machine.program(command[0])
    if program is None:
        return Log(None, f"{command[0]} is not on PATH")
    answer = asker.program([program, *command[1:]], limit_s=min(_LIMIT_S, asker.limit_s), max_bytes=16 << 20)
    if answer.problem is not None or answer.code != 0:
        return Log(None, f"{command[0]}: {answer.ended} {one_line(answer.stderr, 200)}".strip())
    return Log(answer.stdout)


def judge(log: Log, system: str) -> Check:
    if log.text is None:
        return skip(NAME, f"cannot be read: {log.why}", "run 'sudo dmesg | grep Xid'" if system == "linux" else "")
    return _windows(log.text) if system == "win32" else _linux(log.text)


def _linux(text: str) -> Check:
    found = [int(number) for _, number in _XID.findall(text)]
    if not found:
        return ok(NAME, "none since the start of the machine")
    kinds = {number: XIDS.get(number, ("see NVIDIA's list of Xid errors", False)) for number in dict.fromkeys(found)}
    detail = "; ".join(f"Xid {number} ({found.count(number)} times): {what}" for number, (what, _) in kinds.items())
    hardware = any(is_hardware for _, is_hardware in kinds.values())
    fix = "the GPU, its power or its slot: look at nvidia-smi -q, reset it, have it checked" if hardware else ""
    return warn(NAME, detail, fix or "a program did that, not the hardware: replay the case under --tool memcheck")


def _windows(text: str) -> Check:
    events = _EVENT.findall(text)
    if not events:
        return ok(NAME, "none in the last 7 days")
    resets, others = events.count("4101"), [event for event in dict.fromkeys(events) if event != "4101"]
    detail = f"in the last 7 days, {resets} resets of a display driver that stopped responding (event 4101)" if resets else ""
    detail += (", " if detail else "in the last 7 days, ") + f"events {', '.join(others)} of the driver" if others else ""
    return warn(NAME, detail, "a kernel ran longer than TDR allows, or faulted: see the line TDR; replay the case under memcheck")
