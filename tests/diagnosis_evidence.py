"""Evidence for the tests of the diagnosis: what real runs leave, and what is planted to look like it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness import cudaerror, exitcode
from harness.diagnosis.documents import (
    Audit,
    AuditVerdict,
    Check,
    Collision,
    Doctor,
    Documents,
    FatBinary,
    Probe,
    Rung,
    Sweep,
    SweptLayout,
)
from harness.diagnosis.evidence import Evidence
from harness.outcome import ExceptionInfo, IterationRecord, Kind, Outcome

POSE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
REPEAT = "python -m harness replay cases/seed --solver lietorch"

# As faulthandler wrote it on an H200 for lietorch e7df865 with the collision built in; paths shortened.
LIETORCH_STACK = """Fatal Python error: Segmentation fault

Current thread 0x00007f3a5c5d2740 (most recent call first):
  File "/opt/site-packages/lietorch/group_ops.py", line 12 in forward
  File "/opt/site-packages/torch/autograd/function.py", line 583 in apply
  File "/opt/site-packages/lietorch/groups.py", line 161 in apply_op
  File "/opt/site-packages/lietorch/groups.py", line 187 in inv
  File "/home/me/harness/solvers.py", line 160 in op
  File "/home/me/harness/worker.py", line 141 in _do_op

Thread 0x00007f3a11fff700 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
"""
# The same call as Windows' Python words it.
LIETORCH_STACK_WINDOWS = r"""Windows fatal exception: access violation

Current thread 0x00001a2c (most recent call first):
  File "C:\Users\me\slam\venv\Lib\site-packages\lietorch\group_ops.py", line 14 in forward
  File "C:\Users\me\slam\venv\Lib\site-packages\torch\autograd\function.py", line 575 in apply
  File "C:\Users\me\slam\venv\Lib\site-packages\lietorch\groups.py", line 170 in apply_op
  File "C:\Users\me\slam\venv\Lib\site-packages\lietorch\groups.py", line 199 in inv
  File "C:\Users\me\slam\mast3r_slam\tracker.py", line 213 in opt_pose_ray_dist_sim3
"""
OWN_STACK = """Fatal Python error: Segmentation fault

Current thread 0x00007f0000000740 (most recent call first):
  File "/home/me/solver.py", line 30 in launch
  File "/home/me/solver.py", line 12 in solve
  File "/home/me/harness/worker.py", line 141 in _solve
"""
# compute-sanitizer 2025.3.1 on the seed crash.
MEMCHECK_OF_THE_SEED = """========= COMPUTE-SANITIZER
========= Error: process didn't terminate successfully
========= The application may have hit an error when dereferencing Unified Memory from the host. Please rerun the application \
under cuda-gdb or a host debugger to catch host side errors.
========= Target application returned an error
========= ERROR SUMMARY: 0 errors
"""
INV_SYMBOL = "void inv_forward_kernel<Sim3<float>, float>(float const*, float*, int)"
SEED_INPUT = {"kind": "op", "op": "inv", "batch": 1, "n_points": 0, "devices": ["cuda:0"], "dtypes": ["float32"], "mod16": {"X": 0}}
SOLVE_INPUT = {
    "kind": "ray_dist", "op": None, "n_points": 4096, "n_valid": 4000, "devices": ["cuda:0"], "dtypes": ["float32"],
    "masked_nonfinite": 0, "masked_at_origin": 0, "valid_nonfinite": 0, "all_zero": False, "mod16": {"Xf": 0, "T_WCk": 4},
    "recorded": {"event": "not_run", "exception": ""}, "versions": {},
}  # fmt: skip


def outcome(kind: Kind, **more: Any) -> Outcome:
    given: dict[str, Any] = {
        "case": "seed", "solver": "mine", "tool": "none", "stage": "solving", "seconds": 1.0, "repeat": REPEAT, "device": "cuda:0",
        "expected": False, "input": SOLVE_INPUT,
    }  # fmt: skip
    if kind is Kind.OK:
        given |= {"status": "CONVERGED", "expected": True, "T_CkCf": POSE, "T_WCf": POSE}
    return Outcome(kind=kind, **given | more)


def died(code: int = -11, *, windows: bool = False, **more: Any) -> Outcome:
    return outcome(Kind.CRASHED, exit=exitcode.decode(code, windows=windows), **more)


def seed(code: int = 139, *, windows: bool = False, **more: Any) -> Outcome:
    """The seed crash: ``Sim3.Identity(1, device="cuda").inv()``."""
    stack = LIETORCH_STACK_WINDOWS if windows else LIETORCH_STACK
    return died(code, windows=windows, **{"solver": "lietorch", "faulthandler": stack, "input": SEED_INPUT} | more)


def raised(type: str, message: str, *, traceback: str = "", **more: Any) -> Outcome:
    """As ``classify`` makes it: a message that speaks of a CUDA error is one."""
    info = ExceptionInfo(type, message, traceback)
    cuda = cudaerror.find(f"{type}: {message}")
    return outcome(Kind.RAISED if cuda is None else Kind.CUDA_ERROR, exception=info, cuda=cuda, **more)


def cuda_error(code: int, **more: Any) -> Outcome:
    error = cudaerror.by_code(code)
    return raised("RuntimeError", f"CUDA error: {error.name}: {error.meaning}", **more)


def unavailable(reason: str) -> Outcome:
    return outcome(Kind.UNAVAILABLE, reason=reason, expected=None)


def finding(kind: str, **more: Any) -> dict[str, Any]:
    """One finding in the shape that the sanitizers' parser gives."""
    return {
        "tool": "memcheck", "kind": kind, "space": "global", "direction": "read", "size": 16, "address": 0x7F0000000204,
        "address_mod_size": 4, "nearest_allocation": None, "kernel": "void residual<float>(float const*, int)",
        "where": {"path": "/home/me/kernels/residual.cuh", "line": 88, "snippet": [[87, "{"], [88, "  float4 p = rows[i];"]]},
        "thread": [3, 0, 0], "block": [0, 0, 0], "host_stack": [], "count": 2, "signature": "",
        "message": "Invalid __global__ read of size 16 bytes: address 0x7f0000000204 is misaligned",
    } | more  # fmt: skip


def found(*findings: dict[str, Any], tool: str = "memcheck", **more: Any) -> Outcome:
    return outcome(Kind.FINDINGS, tool=tool, tool_state="findings", findings=findings, **more)


def clean(tool: str = "memcheck", **more: Any) -> Outcome:
    return outcome(Kind.OK, tool=tool, tool_state="clean", **more)


def off(**more: Any) -> Outcome:
    parity = {"within": False, "why": "rotation_deg 0.014 over 0.001", "first_divergence": 2, **more.pop("parity", {})}
    return outcome(Kind.OK, **{"expected": False, "parity": parity, "iterations": 9} | more)


def oracle(**more: Any) -> Outcome:
    return replace(outcome(Kind.OK, solver="reference", iterations=8, device="cpu", judged=True), **more)


def rows(*costs: float) -> tuple[IterationRecord, ...]:
    return tuple(IterationRecord(cost, 0.1, 4000, POSE) for cost in costs)


def audit(
    *symbols: str, check: str = "collisions", state: str | None = None, what: str = "looked",
    fat_binaries: tuple[tuple[str, ...], ...] = (), **more: Any,
) -> Audit:  # fmt: skip
    """``fat_binaries`` of lietorch_gpu.o, the architectures of each."""
    collisions = tuple(
        Collision(f"_Z{i}", name, "lietorch_cpu.o", "lietorch_gpu.o", f"audit.json: collisions[{i}]")
        for i, name in enumerate(symbols)
    )
    verdict = AuditVerdict(check, state or ("fail" if symbols else "ok"), what, "audit.json: verdicts[0]")
    files = ("lietorch_cpu.o", "lietorch_gpu.o")
    return Audit(**{"source": "audit.json", "files": files, "collisions": collisions, "undefined_torch": (),
                    "fat_binaries": tuple(FatBinary("lietorch_gpu.o", names) for names in fat_binaries),
                    "verdicts": (verdict,), **more})  # fmt: skip


def rung(op: str, result: str, **more: Any) -> Rung:
    plain = {
        "op": op, "group": "Sim3", "dtype": "float32", "device": "cuda:0", "batch": "1", "layout": "contiguous",
            "stream": "default",
        "thread": "main", "result": result, "detail": "", "error": None, "exit_name": "SIGSEGV" if result == "crash" else "",
        "where": "probe.json: rungs[0]",
    }  # fmt: skip
    return Rung(**plain | more)


def probe(*rungs: Rung) -> Probe:
    return Probe("probe.json", "lietorch", tuple(replace(it, where=f"probe.json: rungs[{i}]") for i, it in enumerate(rungs)), "")


def doctor(name: str, state: str, detail: str) -> Doctor:
    return Doctor("doctor.json", (Check(name, state, detail, "mend it", "doctor.json: checks[0]"),))


def sweep(rule: str, *layouts: tuple[str, int, bool], kind: str = "CUDA_ERROR") -> Sweep:
    """``layouts`` are (name, T_WCk mod 16, whether it faulted)."""
    swept = tuple(SweptLayout(name, {"Xf": 0, "T_WCk": mod}, {}, kind if bad else "OK", bad) for name, mod, bad in layouts)
    return Sweep("sweeps/seed__mine__none.json", "seed", "mine", "none", swept, rule)


def evidence(own: Outcome, *siblings: Outcome, oracle: Outcome | None = None, **documents: Any) -> Evidence:
    return Evidence(own, siblings, oracle, Documents(**documents))
