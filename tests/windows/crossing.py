"""Cases and failures of one system, for the other to replay: ``python tests/windows/crossing.py FOLDER``.

Below FOLDER: ``cases/``, written here in layouts of every kind; ``made.json`` with what the native solver makes of each, where its
tensors lay in memory, and the signatures of planted faults.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE.parent)]

from harness import layout, registry, solvers  # noqa: E402
from harness.case import Case  # noqa: E402
from harness.casefile import find_cases, read_case, read_document, write_case  # noqa: E402
from harness.diagnosis import signature  # noqa: E402
from harness.isolation import Limits, Task, run_isolated  # noqa: E402
from harness.process import open_launcher  # noqa: E402
from harness.relayout import LAYOUTS, relayout  # noqa: E402
from sim3solve.problem import PROBLEMS  # noqa: E402

FAULTS = HERE / "faults_of_both.py"
SAME_ON_BOTH = ("access_violation", "exception", "hang", "nan_pose", "wrong_pose", "broken_factory")
LAID_OUT = "degenerate-n-33"


def solved(case: Case) -> dict[str, Any]:
    """What the native solver of this system makes of a case, and where it found each tensor."""
    arrays = layout.arrays(case)
    solution = solvers.native().solve(PROBLEMS[case.document.kind](**arrays), case.options, lambda k, iteration: None)
    return {
        "status": solution.status.value, "iterations": solution.iterations,
        "T_CkCf": [float(x) for x in solution.T_CkCf.ravel()], "T_WCf": [float(x) for x in solution.T_WCf.ravel()],
        "sha256": case.document.tensors_sha256, "places": {name: place(array) for name, array in arrays.items()},
    }  # fmt: skip


def place(array: Any) -> list[Any]:
    """Type, shape, strides in bytes, and address modulo 512."""
    return [str(array.dtype), list(array.shape), list(array.strides), array.__array_interface__["data"][0] % 512]


def signature_of(fault: str, folder: Path, launcher: Any) -> str:
    case = ROOT / "cases" / LAID_OUT
    task = Task(case, read_document(case), registry.resolve(f"{FAULTS}:{fault}"))
    return signature(run_isolated(task, Limits(timeout_s=6 if fault == "hang" else 60), folder, launcher))


def make(folder: Path) -> None:
    """A part of the shipped cases as they are, and one in all layouts, written on this system."""
    made = {}
    for source in find_cases([ROOT / "cases"]):
        document = read_document(source)
        if document.kind != "op" and document.n_points <= 200_000:
            made[document.id] = solved(read_case(source))
    written = {}
    for kind in LAYOUTS:
        case = relayout(read_case(ROOT / "cases" / LAID_OUT), kind)
        written[kind] = solved(write_case(case, folder / "cases" / kind, replace=True))
    launcher = open_launcher(folder / "supervisor.log", threads=1, preload=())
    try:
        signatures = {fault: signature_of(fault, folder / "jobs" / fault, launcher) for fault in SAME_ON_BOTH}
    finally:
        launcher.close()
    document = {"system": sys.platform, "shipped": made, "written": written, "signatures": signatures}
    (folder / "made.json").write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    make(Path(sys.argv[1]))
