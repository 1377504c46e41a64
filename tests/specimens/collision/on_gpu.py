"""The collision on a GPU: builds cpu.cpp and gpu.cu both ways, audits them, runs them, and checks that all is as it must be.

``PYTHONPATH=. python tests/specimens/collision/on_gpu.py`` on a machine with a GPU, nvcc 12.8 or newer and g++. One line per check;
exit code 0 when every one holds. ``--build-only`` leaves out what needs the GPU; ``--objects FOLDER`` only leaves there the two
objects that collide, for ``harness audit``.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.audit.isolated import audit_files
from harness.exitcode import decode

HERE = Path(__file__).resolve().parent
KERNEL = "_Z14inverse_kernelIfEvPKT_PS0_i"
_LIMIT_S = 300
_ANY_GPU = 80  # that nvcc knows: for what is built and not run


@dataclass(frozen=True)
class Built:
    cpu: Path
    gpu: Path
    library: Path


def build(folder: Path, *, static_stub: bool, arch: str) -> Built:
    """Plain g++ and nvcc, no inlining on either side. Exits with what they said when they fail."""
    built = Built(folder / "cpu.o", folder / "gpu.o", folder / "collision.so")
    flag = f"-static-global-template-stub={'true' if static_stub else 'false'}"
    nvcc = ["nvcc", "-std=c++17", "-O2", f"-arch={arch}", flag, "-Xcompiler", "-fno-inline,-fPIC"]
    _run(["g++", "-std=c++17", "-O2", "-fno-inline", "-fPIC", "-c", str(HERE / "cpu.cpp"), "-o", str(built.cpu)])
    _run([*nvcc, "-c", str(HERE / "gpu.cu"), "-o", str(built.gpu)])
    _run([*nvcc, "-shared", str(built.cpu), str(built.gpu), "-o", str(built.library)])
    return built


class Report:
    """Prints each check as it is made and remembers whether one did not hold."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, what: str, holds: bool, detail: str = "") -> None:
        self.failed += not holds
        print(f"{'ok  ' if holds else 'FAIL'} {what}{': ' + detail if detail else ''}", flush=True)


def audit(report: Report, built: Built, *, collides: bool, gpu: int) -> None:
    name = "weak stub" if collides else "static stub"
    objects = audit_files([built.cpu, built.gpu], gpu=gpu)
    symbols = [each["symbol"] for each in objects["collisions"]]
    report.check(f"{name}: audit of the objects", symbols == ([KERNEL] if collides else []), f"collisions {symbols}")
    states = {v["check"]: v["state"] for v in objects["verdicts"]}
    report.check(f"{name}: its verdict", states["collisions"] == ("fail" if collides else "ok"), str(states))
    linked = {v["check"]: v for v in audit_files([built.library], gpu=gpu)["verdicts"]}
    hint = linked["linked"]
    report.check(f"{name}: hint from the .so", hint["state"] == ("fail" if collides else "ok"), hint["what"].partition(": ")[2])
    code = linked["architectures"]
    report.check(f"{name}: code for sm_{gpu}", code["state"] == "ok", code["what"].partition(": ")[2])
    report.check(
        f"{name}: none for sm_50", _verdict(built.library, 50)["state"] == "fail", _verdict(built.library, 50)["what"][-60:]
    )


def run(report: Report, built: Built, *, collides: bool) -> None:
    name = "weak stub" if collides else "static stub"
    argv = [sys.executable, "-X", "faulthandler", str(Path(__file__).resolve()), "--child", str(built.library)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT_S)
    end = decode(done.returncode)
    said = done.stdout.split()
    report.check(f"{name}: CPU path", "cpu-right" in said, " ".join(said))
    if collides:
        report.check(f"{name}: the GPU path dies", end.name == "SIGSEGV" and "gpu-right" not in said, end.name)
        frame = re.search(r"line \d+ in inv_on_gpu", done.stderr)
        report.check(f"{name}: a frame names the operation", frame is not None, frame[0] if frame else done.stderr[-200:])
        _memcheck(report, argv)
    else:
        report.check(f"{name}: the GPU path works", done.returncode == 0 and "gpu-right" in said, done.stderr[-200:])


def _memcheck(report: Report, argv: list[str]) -> None:
    """A device tool sees nothing of a host fault; that it reports no error is part of the evidence."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        print("skip memcheck: no compute-sanitizer on PATH")
        return
    done = subprocess.run([tool, "--tool", "memcheck", *argv], capture_output=True, text=True, timeout=_LIMIT_S)
    output = done.stdout + done.stderr
    summary = re.search(r"ERROR SUMMARY: .*", output)
    ended = "didn't terminate successfully" in output
    detail = f"{summary[0] if summary else 'no summary'}; process ended badly: {ended}; exit {done.returncode}"
    report.check("weak stub: memcheck names no error of the device", summary is not None and " 0 errors" in summary[0], detail)


def child(library: str) -> int:
    """Inverts three poses on the CPU and on the GPU, and says which came out right."""
    lib = ctypes.CDLL(library)
    half = np.sqrt(0.5)
    X = np.array([[0, 0, 0, 0, 0, 0, 1, 1], [1, 2, 3, 0, 0, 0, 1, 2], [1, 2, 3, 0, 0, half, half, 0.5]], dtype=np.float32)
    # By hand: -R^T t / s. The last turns by 90 degrees about z, so R^T (1 2 3) = (2 -1 3).
    right = np.array([[0, 0, 0, 0, 0, 0, 1, 1], [-0.5, -1, -1.5, 0, 0, 0, 1, 0.5], [-4, 2, -6, 0, 0, -half, half, 2]])

    def inverse(function: ctypes._NamedFuncPointer) -> np.ndarray:
        Y = np.zeros_like(X)
        pointer = ctypes.POINTER(ctypes.c_float)
        status = function(X.ctypes.data_as(pointer), Y.ctypes.data_as(pointer), len(X))
        if status:
            raise RuntimeError(f"CUDA error {status}")
        return Y

    def inv_on_cpu() -> np.ndarray:
        return inverse(lib.specimen_cpu_inverse)

    def inv_on_gpu() -> np.ndarray:
        return inverse(lib.specimen_gpu_inverse)

    for name, call in (("cpu", inv_on_cpu), ("gpu", inv_on_gpu)):
        print(f"{name}-{'right' if np.allclose(call(), right, atol=1e-5) else 'wrong'}", flush=True)
    return 0


def main(words: list[str]) -> int:
    if words[:1] == ["--child"]:
        return child(words[1])
    if words[:1] == ["--objects"]:
        build(Path(words[1]), static_stub=False, arch=f"sm_{_ANY_GPU}")
        return 0
    build_only = words == ["--build-only"]
    gpu = _ANY_GPU if build_only else _capability()
    report = Report()
    for static_stub in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            built = build(Path(folder), static_stub=static_stub, arch=f"sm_{gpu}")
            audit(report, built, collides=not static_stub, gpu=gpu)
            if not build_only:
                run(report, built, collides=not static_stub)
    print("all as it must be" if not report.failed else f"{report.failed} checks failed")
    return 1 if report.failed else 0


def _capability() -> int:
    done = _run(["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"])
    first = done.stdout.splitlines()[0]
    print(first, _run(["nvcc", "--version"]).stdout.split("release ")[1].split(",")[0], sep="; nvcc ")
    return int(first.split(",")[-1].replace(".", ""))


def _verdict(library: Path, gpu: int) -> dict[str, str]:
    return next(v for v in audit_files([library], gpu=gpu)["verdicts"] if v["check"] == "architectures")


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT_S)
    except OSError as error:
        sys.exit(f"{argv[0]} cannot be started: {error.strerror}")
    if done.returncode:
        sys.exit(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
