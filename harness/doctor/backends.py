"""sim3solve's own backends: each solved a tiny problem in a child, and the reference says whether the pose is right."""

from __future__ import annotations

from harness.doctor.ask import Problem, Told
from harness.doctor.check import Check, fail, ok, skip, warn

_ISSUE = "this is a fault of sim3solve, or of this machine's compiler or GPU: replay the cases, and report what harness replay says"


def compiler(told: Told) -> Check:
    """Whether there is a C++ compiler that builds the native backend."""
    name = "compiler"
    if isinstance(told, Problem):
        if told.message.startswith("CompilerMissing"):
            fix = "install g++ or clang++ (Windows: Visual Studio's C++ build tools), or set CXX; until then torch solves on a CPU"
            return warn(name, told.message.partition(": ")[2], fix)
        if told.message.startswith("NativeUnavailable"):
            fix = "the message says what failed; set CXX to another C++17 compiler, or SIM3SOLVE_CACHE to a folder with room"
            return warn(name, f"does not build the native backend: {told.message.partition(': ')[2]}", fix)
        return skip(name, "not known: see the line solver native")
    how = "built" if told["build_seconds"] > 0.2 else "has built"
    return ok(name, f"{told['version']} ({told['compiler']}) {how} the native backend, kept in {told['cache']}")


def solver(name: str, told: Told | None, why_not: str = "") -> Check:
    """``told`` is None when it was not tried, for the reason ``why_not``."""
    line = f"solver {name}"
    if told is None:
        return skip(line, why_not)
    if isinstance(told, Problem):
        missing = told.message.partition(":")[0] in ("CompilerMissing", "NativeUnavailable", "CudaUnavailable")
        if missing:
            return warn(line, f"cannot run here: {told.message.partition(': ')[2]}", "the message says what would help")
        word = {"died": "crashed", "hung": "hung"}.get(told.kind, "failed")
        return fail(line, f"{word} on a tiny problem: {told.message}", _fix(told))
    if told["oracle_exceeded"] or told["oracle_status"] != "CONVERGED":
        fix = "numpy computes wrongly here: install it anew"
        return fail(line, f"the reference itself is wrong ({told['oracle_status']}; {', '.join(told['oracle_exceeded'])})", fix)
    distance = ", ".join(f"{key} {value:.1e}" if value is not None else f"{key} NaN" for key, value in told["distance"].items())
    if told["exceeded"] or told["status"] != told["oracle_status"]:
        return fail(line, f"{told['status']}, and differs from the reference: {distance}", _ISSUE)
    return ok(line, f"agrees with the reference: {distance}")


def _fix(problem: Problem) -> str:
    if "No module named 'torch'" in problem.message or "torch" in problem.message.partition("(")[2]:
        return "see the line torch"
    if "no kernel image" in problem.message:
        return "see the line torch on GPU"
    return "the message says where" if problem.kind == "failed" else _ISSUE


def gpu_reason(driver: Told, packages: dict[str, str]) -> str:
    """Why nothing was tried on a GPU."""
    if isinstance(driver, Problem) or not driver["gpus"]:
        return "no GPU is seen" + ("" if "cuda-core" in packages else ", and cuda-core is not installed")
    return "no GPU can be used"
