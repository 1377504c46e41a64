"""Run folders made of constructed outcomes, as replay would leave them: every kind, expected and not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.jsonfile import write_json
from harness.outcome import STAGES, CudaError, ExceptionInfo, Exit, IterationRecord, Kind, Outcome
from harness.run import OUTCOMES, RUN_FILE

TOLERANCES = {
    "rotation_deg": {"limit": 1e-3, "reason": "A tenth of the angle one pixel spans at 128 columns is 0.05; float32 reaches 2e-5."},
    "translation_rel": {"limit": 1e-4, "reason": "Float32 sums over 12288 points keep about 5 digits."},
    "log_scale": {"limit": 1e-4, "reason": "As translation, which it is coupled to."},
    "d_sigma": {"limit": 0.05, "reason": "A twentieth of what the data themselves leave open."},
}
SOLVERS = ("reference", "torch", "skip")
POSE = (0.01, -0.02, 0.3, 0.0, 0.0, 0.0998334, 0.9950042, 1.02)
PYTHON_CRASH = """Fatal Python error: Segmentation fault

Current thread 0x00007f3a5c5d2740 (most recent call first):
  File "lietorch/group_ops.py", line 12 in forward
  File "lietorch/groups.py", line 161 in apply_op
  File "lietorch/groups.py", line 187 in inv
  File "harness/worker.py", line 141 in solve
"""
TRACEBACK = """Traceback (most recent call last):
  File "harness/worker.py", line 141, in solve
    solution = solver(problem, options)
  File "mine.py", line 12, in solve
    return torch.linalg.cholesky(H)
RuntimeError: expected H to be <class 'Tensor'> & "finite"
"""


def stages(last: str = "written", iterations: int = 0) -> tuple[tuple[str, float], ...]:
    journal: list[tuple[str, float]] = []
    for i, name in enumerate(STAGES):
        if name == "solved":
            journal += [(f"iteration {k}", 0.85 + 0.004 * k) for k in range(1, iterations + 1)]
        journal.append((name, 0.002 + 0.2 * i))
    names = [name for name, _ in journal]
    return tuple(journal[: names.index(last) + 1]) if last else ()


def outcome(
    case: str, solver: str, kind: Kind = Kind.OK, *, stage: str = "written", expected: bool | None = True, **fields: Any
) -> Outcome:
    given = {"status": "CONVERGED"} if kind is Kind.OK else {}
    given |= {
        "stages": stages(stage, fields.pop("folded", 0)),
        "tool": "none",
        "seconds": 1.31,
        "exit": Exit(0, "success", "ended normally", False),
    }
    given |= {"repeat": f"python -m harness replay 'cases/{case}' --solver {solver}", "judged": solver != "skip"}
    return Outcome(**{"case": case, "solver": solver, "kind": kind, "stage": stage, "expected": expected, **given, **fields})


def errors(size: float) -> dict[str, float]:
    return {"rotation_deg": 2e-4 * size, "translation_rel": 3e-6 * size, "log_scale": 1e-6 * size, "d_sigma": 4e-3 * size}


def parity(size: float, *, within: bool = True, divergence: int | None = None, truth: bool = False) -> dict[str, Any]:
    worse = "the rotation differs from the oracle's by more than 0.001 degrees" if not within else ""
    return {
        "oracle": errors(size), "optimum": errors(size + 9), "truth": errors(40 * size) if truth else None,
        "cost": 812.25 * (1 + 1e-7 * size), "cost_oracle": 812.25, "cost_optimum": 812.2431, "iterations_oracle": 6,
        "status_oracle": "CONVERGED", "first_divergence": divergence, "within": within, "why": worse or "within every limit",
    }  # fmt: skip


def trace(n: int, start: float = 5e4, noise: float = 0.0) -> tuple[IterationRecord, ...]:
    return tuple(IterationRecord(812.25 + start * 0.03**k * (1 + noise), 0.4 * 0.09**k * (1 + noise), 9000, POSE) for k in range(n))


def solved(case: str, solver: str, seed: int, **fields: Any) -> Outcome:
    """A pose as each solver would leave it: the oracle exact, torch near, skip where it began."""
    if solver == "skip":
        kept = parity(3000.0 + 400 * seed, within=False) | {"cost": 51234.0 + 900 * seed}
        return outcome(case, solver, parity=kept, iterations=0, T_CkCf=POSE, T_WCf=POSE,
                       cost=51234.0, solve_seconds=2e-5, device="cpu", **fields)  # fmt: skip
    noise, size, seconds = (0.0, 0.0, 0.21) if solver == "reference" else (1e-3 * seed, 0.3 + 0.2 * seed, 0.035)
    return outcome(
        case, solver, folded=6, parity=parity(size), trace=trace(6, noise=noise), iterations=6, cost=812.25,
        T_CkCf=POSE, T_WCf=POSE, solve_seconds=seconds * (1 + 0.11 * seed), device="cpu", **fields,
    )  # fmt: skip


def no_pose(case: str, solver: str, status: str) -> Outcome:
    return outcome(case, solver, Kind.SOLVER_STATUS, status=status, iterations=0, T_CkCf=(math.nan,) * 8, T_WCf=(math.nan,) * 8)


SEGFAULT = Exit(-11, "SIGSEGV", "invalid memory reference", True, "SIGSEGV")
ACCESS_VIOLATION = Exit(3221225477, "STATUS_ACCESS_VIOLATION", "read or write of memory the process does not own", True)
KILLED = Exit(-9, "SIGKILL", "killed", False, "SIGKILL")
MISALIGNED = CudaError(716, "cudaErrorMisalignedAddress", True, "a load or store at an address that is no multiple of its size")
FINDING = {"kind": "Precise", "level": "Error", "what": {"error": "misaligned", "size": 16, "address": "0x7f0000000204"},
           "where": {"path": "kernels/residual.cuh", "line": 88}}  # fmt: skip


def faults() -> list[Outcome]:
    """One case per way to fail, and what each solver made of it."""
    off = solved("tum-desk-drift", "torch", 4, expected=False)
    why = "The pose differs from the oracle's by 0.0142 degrees; the tolerance is 0.001."
    return [
        solved("tum-desk-drift", "reference", 4),
        replace(off, parity=parity(71.0, within=False, divergence=3), trace=trace(9, noise=0.4), iterations=9, verdict=why),
        solved("tum-desk-drift", "skip", 4),
        outcome("seed-crash-sim3-inv", "reference", values={"op_value": list(POSE)},
                parity={"within": True, "why": "largest relative difference 0, limit 1e-05", "op_error": 0.0}),
        outcome("seed-crash-sim3-inv", "torch", Kind.CRASHED, stage="solving", expected=False, exit=SEGFAULT,
                faulthandler=PYTHON_CRASH, stderr="warning: lietorch: building group ops\n",
                verdict="The process died of SIGSEGV in lietorch's inv on a CUDA tensor."),
        outcome("seed-crash-sim3-inv", "skip", Kind.UNAVAILABLE, stage="", expected=None, exit=None,
                reason="an op has no pose to keep"),
        no_pose("three-points", "reference", "NOT_POSITIVE_DEFINITE"),
        outcome("three-points", "torch", Kind.RAISED, stage="iteration 2", expected=False, folded=6,
                exception=ExceptionInfo("RuntimeError", "expected H to be <class 'Tensor'> & \"finite\"", TRACEBACK),
                exit=Exit(1, "error", "ended with code 1", False)),
        solved("three-points", "skip", 2),
        outcome("hang", "reference", Kind.TIMEOUT, stage="solving", expected=False, limit_s=20.0, seconds=20.04, exit=KILLED,
                notes=("ended by the harness with SIGKILL after SIGTERM was ignored for 2 s",), stdout="iteration\n" * 40000),
        outcome("hang", "torch", Kind.INCONCLUSIVE, stage="written", expected=None,
                reason="the child ended with 0 but left no result file"),
        outcome("hang", "skip", Kind.CRASHED, stage="loaded", expected=False, exit=ACCESS_VIOLATION),
        outcome("misaligned", "reference", Kind.FINDINGS, tool="memcheck", stage="solving", expected=False,
                findings=(FINDING, FINDING)),
        outcome("misaligned", "torch", Kind.CUDA_ERROR, stage="iteration 1", expected=False, folded=3, cuda=MISALIGNED,
                exit=Exit(1, "error", "ended with code 1", False), device="cuda:0"),
        outcome("misaligned", "skip", parity=parity(math.nan, within=False), iterations=0, solve_seconds=1e-5),
    ]  # fmt: skip


REAL = ("tum-desk-013-017", "tum-desk-040-044", "tum-room-100-108", "tum-room-221-230", "tum-xyz-005-025", "tum-xyz-300-340",
        "tum-rpy-010-018", "tum-plant-077-083", "synthetic-depth-steps", "synthetic-outliers", "synthetic-planar")  # fmt: skip
DEGENERATE = (("no-valid-point", "TOO_FEW_MATCHES"), ("collinear", "NOT_POSITIVE_DEFINITE"), ("nan-at-a-valid-point", "NON_FINITE"))


def realistic() -> list[Outcome]:
    found = [solved(case, solver, i) for i, case in enumerate(REAL) for solver in SOLVERS]
    for case, status in DEGENERATE:
        found += [no_pose(case, "reference", status), no_pose(case, "torch", status), solved(case, "skip", 1)]
    return found + faults()


def case_summary(case: str) -> dict[str, Any]:
    real = case.startswith("tum")
    return {
        "path": f"cases/{case}", "title": case.replace("-", " ").capitalize(), "kind": "ray_dist", "n_points": 12288,
        "tags": ["real"] if real else ["made"], "sha256": "3f" * 32, "device": "cpu",
        "because": "fewer than 3 points cannot fix 7 degrees of freedom" if "point" in case else "",
        "expect": "a status that says so, never a pose" if "point" in case else "a pose within tolerance of the oracle's",
        "attribution": "J. Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012." if real else "",
        "source": "TUM RGB-D, https://cvg.cit.tum.de/data/datasets/rgbd-dataset" if real else "made by this project",
        "licence": "CC BY 4.0" if real else "Apache-2.0",
    }  # fmt: skip


ENVIRONMENT = {
    "os": "Linux 6.1 x86_64", "python": "3.11.9", "cpu": "a processor", "cores": 2, "memory_bytes": 16 << 30, "torch": "2.13.0+cpu",
    "cuda_available": False, "gpus": [], "packages": {"numpy": "2.1.0", "scipy": "1.14.0"}, "harness": "0.1.0", "git": None,
}  # fmt: skip


def write_run(folder: Path, outcomes: list[Outcome], *, finished: bool = True, extra_tasks: list[list[str]] | None = None,
              cases: dict[str, dict[str, Any]] | None = None, ascii_json: bool = False) -> Path:  # fmt: skip
    """``ascii_json`` writes escapes instead of characters, the only way a lone surrogate gets into a JSON file."""
    (folder / OUTCOMES).mkdir(parents=True)
    names = dict.fromkeys(it.case for it in outcomes)
    run = {
        "run": "20250301-101500-ab12", "started": "2025-03-01T10:15:00+00:00",
        "finished": "2025-03-01T10:15:42+00:00" if finished else None,
        "command": "python -m harness replay cases/* --solver reference --solver torch --solver skip",
        "environment": ENVIRONMENT, "cases": cases if cases is not None else {case: case_summary(case) for case in names},
        "plan": {"tasks": [list(it.key) for it in outcomes] + (extra_tasks or []), "timeout_s": 20.0, "tolerances": TOLERANCES,
                 "unavailable": {"cuda": "no NVIDIA GPU on this machine", "lietorch": "the package lietorch is not installed"}},
    }  # fmt: skip
    documents = {folder / RUN_FILE: run} | {folder / OUTCOMES / f"{i:05}.json": it.to_json() for i, it in enumerate(outcomes)}
    for file, document in documents.items():
        if ascii_json:
            file.write_text(json.dumps(document), encoding="utf-8")
        else:
            write_json(file, document)
    return folder
