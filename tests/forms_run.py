"""Runs for the tests of the forms: findings at source lines, and every string that may be hostile made hostile."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

from report_run import SEGFAULT, case_summary, faults, outcome, write_run

from harness.outcome import ExceptionInfo, Kind, Outcome
from harness.sanitizer.finding import finding

HOSTILE = (
    "]]></failure><script>alert(1)</script>&\"' \x00\x01\x08\x1b[31m\ud800\ufffe\u202e @someone #123 https://evil.example GH-7 "
    "``` ````` </details> ![x](https://evil.example/y.png) [a](b) | \\| <!-- ~~~ www.evil.example {0} $x$\r\n# heading\n    - item"
)


def misaligned(line: int = 88, path: str = "sim3solve/kernels/residual.cuh", **more: Any) -> dict[str, Any]:
    """As compute-sanitizer reports it, read by the harness."""
    snippet = [[line - 1, "  const float* p = X + 3 * i;"], [line, "  float4 v = *(const float4*)p;"], [line + 1, "  return v;"]]
    known = {
        "space": "global", "direction": "read", "size": 16, "address": 0x7F0000000204,
        "kernel": "gauss_newton<RayDist>(float const*)",
        "where": {"path": path, "line": line, "snippet": snippet}, "thread": [3, 0, 0], "block": [1, 0, 0],
        "host_stack": [
            {"function": "solve", "path": "/home/user/sim3solve/cuda.py", "line": 77, "module": None},
            {"function": "cuLaunchKernel", "path": None, "line": None, "module": "libcuda.so.1"},
        ],
    }  # fmt: skip
    return finding("memcheck", "misaligned", "Invalid __global__ read of size 16 bytes", **known | more)


def with_findings() -> list[Outcome]:
    """Two distinct findings; the first in two cases and twice in one of them."""
    race = finding("racecheck", "race", "Race between write and read", space="shared", kernel="reduce(float*)",
                   where={"path": "C:\\code\\my kernels\\reduce.cu", "line": 12, "snippet": []})  # fmt: skip
    found = (misaligned(), misaligned() | {"address": 0x7F0000000304})
    return [
        outcome("one", "cuda", Kind.FINDINGS, tool="memcheck", tool_state="findings", expected=False, findings=found),
        outcome("two", "cuda", Kind.FINDINGS, tool="memcheck", tool_state="findings", expected=False, findings=(misaligned(),)),
        outcome("two", "cuda", Kind.FINDINGS, tool="racecheck", tool_state="findings", expected=False, findings=(race,)),
        outcome("one", "torch"),
        outcome("two", "torch", Kind.CRASHED, stage="solving", expected=False, exit=SEGFAULT),
    ]


def hostile_outcomes() -> list[Outcome]:
    found = []
    for it in faults() + with_findings():
        texts: dict[str, Any] = dict.fromkeys(("stdout", "stderr", "faulthandler", "verdict", "repeat"), HOSTILE)
        if it.exception:
            texts["exception"] = ExceptionInfo(HOSTILE, HOSTILE, HOSTILE)
        if it.reason:
            texts["reason"] = HOSTILE
        findings = copy.deepcopy(it.findings)
        for each in findings:
            each |= {
                "message": HOSTILE,
                "kernel": HOSTILE,
                "where": {"path": HOSTILE, "line": 2**70, "snippet": [[1, HOSTILE], "x"]},
            }
        found.append(dataclasses.replace(it, case=it.case + HOSTILE, solver=it.solver + HOSTILE, findings=findings, **texts))
    return found


def hostile_run(folder: Path) -> Path:
    outcomes = hostile_outcomes()
    cases = {it.case: case_summary(it.case) | {"path": HOSTILE} for it in outcomes}
    return write_run(folder, outcomes, cases=cases, ascii_json=True, extra_tasks=[[HOSTILE, HOSTILE, HOSTILE]])
