"""Cases and failures of one system, for the other to replay: ``python tests/windows/crossing.py FOLDER [--torch]``.

Below FOLDER: ``cases/``, written here in layouts of every kind; ``made.json`` with what the native solver makes of each, where its
tensors lay in memory, and the signatures of planted faults.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
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
TORCH_POINTS = 50_000  # the larger ones take minutes on a CPU
HANG_LIMIT_S = 5.0  # from when the solver is loaded


def solved(case: Case) -> dict[str, Any]:
    """What the native solver of this system makes of a case, and where it found each tensor."""
    arrays = layout.arrays(case)
    solution = solvers.native().solve(PROBLEMS[case.document.kind](**arrays), case.options, _unobserved)
    return {
        "status": solution.status.value, "iterations": solution.iterations,
        "T_CkCf": [float(x) for x in solution.T_CkCf.ravel()], "T_WCf": [float(x) for x in solution.T_WCf.ravel()],
        "sha256": case.document.tensors_sha256, "places": {name: place(array) for name, array in arrays.items()},
    }  # fmt: skip


def solved_by_torch(case: Case) -> dict[str, Any]:
    """The same of PyTorch's."""
    from harness.torch_layout import tensors
    from sim3solve import pytorch

    arrays = tensors(case, torch_cpu())
    solution = pytorch.solve(PROBLEMS[case.document.kind](**arrays), case.options, _unobserved)
    poses = {name: [float(x) for x in getattr(solution, name).ravel()] for name in ("T_CkCf", "T_WCf")}
    return {"status": solution.status.value, "iterations": solution.iterations} | poses


def torch_cpu() -> Any:
    import torch

    torch.set_num_threads(1)  # a sum that is split over threads is rounded otherwise
    return torch.device("cpu")


def _unobserved(k: int, iteration: Any) -> None:
    pass


def place(array: Any) -> list[Any]:
    """Type, shape, strides in bytes, and address modulo 512."""
    return [str(array.dtype), list(array.shape), list(array.strides), array.__array_interface__["data"][0] % 512]


def signatures(folder: Path) -> dict[str, str]:
    """Of every fault that both systems have. All at once: most of the time is the hang's, and interpreters starting."""
    case = ROOT / "cases" / LAID_OUT
    launcher = open_launcher(folder / "supervisor.log", threads=1, preload=())

    def of(fault: str) -> str:
        task = Task(case, read_document(case), registry.resolve(f"{FAULTS}:{fault}"))
        limit_s = HANG_LIMIT_S if fault == "hang" else 300.0
        return signature(run_isolated(task, Limits(timeout_s=limit_s), folder / fault, launcher))

    try:
        with ThreadPoolExecutor(len(SAME_ON_BOTH)) as pool:
            return dict(zip(SAME_ON_BOTH, pool.map(of, SAME_ON_BOTH), strict=True))
    finally:
        launcher.close()


def make(folder: Path, *, torch: bool = False) -> None:
    """A part of the shipped cases as they are, and one in all layouts, written on this system. With ``torch``, by it as well."""
    made, by_torch = {}, {}
    for source in find_cases([ROOT / "cases"]):
        document = read_document(source)
        if document.kind != "op" and document.n_points <= 200_000:
            made[document.id] = solved(read_case(source))
            if torch and document.n_points <= TORCH_POINTS:
                by_torch[document.id] = solved_by_torch(read_case(source))
    written = {}
    for kind in LAYOUTS:
        case = relayout(read_case(ROOT / "cases" / LAID_OUT), kind)
        written[kind] = solved(write_case(case, folder / "cases" / kind, replace=True))
    (folder / "jobs").mkdir(exist_ok=True)
    document = {"system": sys.platform, "shipped": made, "torch": by_torch, "written": written}
    document["signatures"] = signatures(folder / "jobs")
    (folder / "made.json").write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    make(Path(sys.argv[1]), torch="--torch" in sys.argv)
