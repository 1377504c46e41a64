"""Which tools that find bad memory accesses work here: compute-sanitizer, ASan and UBSan, valgrind."""

from __future__ import annotations

from harness.doctor.ask import Answer, Problem, Told
from harness.doctor.check import Check, ok, one_line, skip, warn

_GET = "install the CUDA toolkit, or: pip install nvidia-cuda-sanitizer-api"
_PACKAGE = "nvidia-cuda-sanitizer-api"
_ON_LINUX = "the harness runs it on Linux only: its runtime cannot be loaded into Python on Windows"


def compute_sanitizer(told: Told, *, has_gpu: bool) -> Check:
    name = "compute-sanitizer"
    if isinstance(told, Problem):
        return warn(name, f"asking it: {told.message}", "run 'compute-sanitizer --version' by hand")
    broken = told["broken_package"]
    wheel = (
        f"; the package {_PACKAGE}-cu12 {broken} cannot work: its Linux wheels lack a part and look for libraries in a wrong folder"
        if broken
        else ""
    )
    instead = f"pip uninstall {_PACKAGE}-cu12; pip install {_PACKAGE}"
    if "missing" in told:
        if broken:
            return warn(name, told["missing"] + wheel, instead)
        return (warn if has_gpu else skip)(name, told["missing"] if has_gpu else "not found; it is for GPUs only", _GET)
    said = f"{told['version']} from {told['source']}, at {told['path']}"
    trial = one_line(told["said"], 300)
    if "Unable to find injection library" in told["said"]:
        return warn(name, f"{said}: cannot run anything: {trial}", f"this installation lacks files; {instead if broken else _GET}")
    if "WDDM debugger interface" in told["said"]:
        return warn(name, f"{said}: cannot attach: {trial}", "see the line GPU debugger interface")
    if not has_gpu:
        return ok(name, f"{said}; there is no GPU to use it on{wheel}")
    if not told["ran"]:
        return warn(name, f"{said}: a Python that does nothing did not run under it: {trial}", _GET)
    return warn(name, said + wheel, f"pip uninstall {_PACKAGE}-cu12") if wheel else ok(name, f"{said}; runs programs")


def host_sanitizer(kind: str, told: Told, *, windows: bool) -> Check:
    """A program with one planted fault was built and run: the fault must have been named."""
    name = {"address": "ASan", "undefined": "UBSan"}[kind]
    packages = "install libasan and libubsan of that compiler"
    if windows:
        return skip(name, _ON_LINUX, "here: --memory exact, --layouts; or replay the same case under it on Linux, WSL too")
    if isinstance(told, Problem):
        if told.message.startswith("CompilerMissing"):
            return skip(name, "there is no C++ compiler", "see the line compiler")
        return warn(name, f"trying it: {told.message}", packages)
    if "unsupported" in told:
        return skip(name, told["unsupported"])
    if "unbuilt" in told:
        return warn(name, f"{told['compiler']} does not build with it: {one_line(told['unbuilt'], 300)}", packages)
    if not told["found"]:
        fix = "check LD_PRELOAD, ASAN_OPTIONS and UBSAN_OPTIONS" if "LD_PRELOAD" in told["said"] or not told["said"] else packages
        return warn(
            name, f"{told['compiler']} builds with it, and a planted fault was not reported: {one_line(told['said'], 300)!r}", fix
        )
    return ok(name, f"{told['compiler']} builds with it, and a planted fault was found")


def valgrind(answer: Answer | None, *, windows: bool) -> Check:
    name = "valgrind"
    if answer is None:
        return skip(
            name, "there is none for Windows" if windows else "not on PATH", "" if windows else "install the package valgrind"
        )
    if answer.problem is not None or answer.code != 0 or "valgrind-" not in answer.stdout:
        return warn(name, f"does not answer: {answer.ended} {one_line(answer.said, 200)}", "install valgrind anew")
    return ok(name, one_line(answer.stdout, 100))
