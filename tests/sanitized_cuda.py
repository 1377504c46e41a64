"""Solves every shipped case on the GPU, one launch and many, alone and in batches, and says how many.

Run under compute-sanitizer by benchmarks/gpu.py.

``PYTORCH_NO_CUDA_MEMORY_CACHING=1`` must be set: each tensor then is an allocation of its own exact size, so that a read past it is
seen, where torch's pool would hide it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from harness.casefile import find_cases, read_case
from sim3solve import cuda
from sim3solve.problem import PROBLEMS

CASES = Path(__file__).parent.parent / "cases"


def exact_tensors(case):
    """Every tensor as an allocation of exactly its values; strides and offsets are the layout tests' matter."""
    return {name: torch.from_numpy(values.copy()).cuda() for name, values in case.values.items()}


def batches() -> int:
    """Batches of small cases, in which several groups of blocks, and several problems for each, share one launch."""
    solved = 0
    for kind in ("ray_dist", "calib"):
        cases = [read_case(folder) for folder in find_cases([CASES])]
        chosen = [case for case in cases if case.document.kind == kind and case.document.n_points <= 4000][:12]
        problems = [PROBLEMS[kind](**exact_tensors(case)) for case in chosen] * 3
        for cooperative in (True, False):
            solved += len(cuda.solve_batch(problems, chosen[0].options, cooperative=cooperative))
    return solved


def main() -> int:
    assert os.environ.get("PYTORCH_NO_CUDA_MEMORY_CACHING") == "1"
    solved = 0
    for folder in find_cases([CASES]):
        case = read_case(folder)
        if case.document.kind == "op" or case.document.n_points > 100_000:
            continue
        problem = PROBLEMS[case.document.kind](**exact_tensors(case))
        for cooperative in (True, False):
            cuda.solve(problem, case.options, cooperative=cooperative)
            solved += 1
    solved += batches()
    torch.cuda.synchronize()
    print(f"SOLVED {solved}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
