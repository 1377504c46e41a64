"""What nvidia-smi says: a second view of the GPUs, with what CUDA itself does not tell (ECC errors, WDDM or TCC)."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from harness.doctor.ask import Asker
from harness.doctor.check import Check, fail, ok, one_line, skip, warn
from harness.doctor.machine import Machine

FIELDS = (
    "index", "pci.bus_id", "name", "driver_version", "memory.total", "memory.free", "driver_model.current", "compute_mode",
    "ecc.mode.current", "ecc.errors.uncorrected.volatile.total",
)  # fmt: skip
NAME = "nvidia-smi"
_ELSEWHERE = ("/usr/lib/wsl/lib/nvidia-smi",)
_NO_VALUE = ("n/a", "not supported", "not available", "")
_REBOOT = "restart the machine; if that does not help, install the driver anew"


@dataclass(frozen=True)
class Smi:
    """``state``: answered, absent, hung, failed or garbled. Each of ``gpus`` maps FIELDS to text; what is not known is left out."""

    state: str
    said: str = ""
    gpus: tuple[dict[str, str], ...] = field(default=())

    @property
    def driver_version(self) -> str | None:
        return next((gpu["driver_version"] for gpu in self.gpus if "driver_version" in gpu), None)


def ask(machine: Machine, asker: Asker) -> Smi:
    program = machine.program(NAME) or next(
        (path for path in _ELSEWHERE if machine.system == "linux" and Path(path).is_file()), None
    )
    if program is None:
        return Smi("absent")
    answer = asker.program([program, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"])
    if answer.problem is not None:
        return Smi("hung" if answer.problem.startswith("took over") else "failed", answer.problem)
    if answer.code != 0:
        return Smi("failed", f"{answer.ended}: {one_line(answer.said, 300)}")
    return parse(answer.stdout)


def parse(text: str) -> Smi:
    """The rows of ``--query-gpu``. One that does not have a field for each asked makes the whole answer garbled."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    except csv.Error:
        rows = [[]]
    if not rows or any(len(row) != len(FIELDS) or not row[0].isdigit() or len(rows) > 1024 for row in rows):
        return Smi("garbled", one_line(text, 300))
    return Smi("answered", "", tuple({name: cell for name, cell in zip(FIELDS, row, strict=True) if _known(cell)} for row in rows))


def _known(cell: str) -> bool:
    return cell.strip("[]").lower() not in _NO_VALUE


def judge(smi: Smi, has_driver: bool) -> Check:
    match smi.state:
        case "answered":
            return ok(NAME, f"answers and shows {len(smi.gpus)} GPU{'s' if len(smi.gpus) != 1 else ''}")
        case "absent":
            return skip(NAME, "not on PATH" + ("; ECC errors and the driver model are not known" if has_driver else ""))
        case "hung":
            return fail(NAME, f"{smi.said}: the driver or a GPU hangs", _REBOOT)
        case "garbled":
            return warn(NAME, f"its answer cannot be read: {smi.said!r}", f"run {NAME} by hand; is it NVIDIA's?")
    said = smi.said.lower()
    if "mismatch" in said:
        return fail(NAME, smi.said, "the driver was updated while it was loaded: restart the machine")
    if not has_driver and "couldn't communicate" not in said:
        return warn(NAME, smi.said, f"run {NAME} by hand")
    return fail(NAME, smi.said, _REBOOT)
