"""Which sanitizers there are: NVIDIA's program, and what the C++ compiler builds in."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

from sim3solve import compiler

_BROKEN_PACKAGE = "nvidia-cuda-sanitizer-api-cu12"
_FAULTS = {
    "address": "#include <cstdlib>\nint main(int n, char**) { char* p = new char[8]; int i = 7 + n; p[i] = 1; int r = p[i]; "
    "delete[] p; return r - 1; }\n",
    "undefined": "#include <climits>\nint main(int n, char**) { int big = INT_MAX; big += n; return big == 0; }\n",
}
_REPORTS = {"address": "heap-buffer-overflow", "undefined": "signed integer overflow"}


def compute_sanitizer() -> dict[str, Any]:
    """Where compute-sanitizer is and what it says when it runs a Python that does nothing; which pip package cannot work."""
    from harness.sanitizer import locate

    broken = _version(_BROKEN_PACKAGE) if sys.platform != "win32" else None
    try:
        found = locate.find()
    except locate.SanitizerMissing as error:
        return {"missing": str(error), "broken_package": broken}
    argv = [str(found.path), "--require-cuda-init", "no", sys.executable, "-I", "-S", "-c", "print('ran', 6 * 7)"]
    tried = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    return {
        "path": str(found.path), "version": found.version, "source": found.source, "broken_package": broken,
        "ran": "ran 42" in tried.stdout, "said": (tried.stdout + tried.stderr)[:4000],
    }  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def host_sanitizer(kind: str, folder: str) -> dict[str, Any]:
    """Build a program with one fault under ``-fsanitize=KIND`` in a folder, run it, and see whether the fault is named."""
    found = compiler.find()
    source, program = Path(folder, f"{kind}.cpp"), Path(folder, f"{kind}.exe")
    source.write_text(_FAULTS[kind], encoding="utf-8")
    if found.style == "msvc":
        if kind == "undefined":
            return {"compiler": found.command[-1], "unsupported": "MSVC has no UBSan; clang has"}
        flags = ["/nologo", "/EHsc", "/Zi", f"/fsanitize={kind}", f"/Fe:{program}", f"/Fo:{program.with_suffix('.obj')}"]
    else:
        flags = [f"-fsanitize={kind}", "-O0", "-g", "-o", str(program)]
    built = _run([*found.command, str(source), *flags], folder)
    if built.returncode != 0:
        return {"compiler": found.command[-1], "unbuilt": (built.stderr + built.stdout)[-1000:]}
    ran = _run([str(program)], folder)
    said = ran.stderr + ran.stdout
    return {"compiler": found.command[-1], "found": _REPORTS[kind] in said, "said": said[:1500]}


def _run(argv: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
