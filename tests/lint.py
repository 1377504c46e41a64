"""Every check of the sources in one command: ``python tests/lint.py``. Each tool's settings are in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ["sim3solve", "harness", "tests", "benchmarks", "docs", "conftest.py"]
KERNELS = ("*.cu", "*.cuh", "*.cpp", "*.hpp", "*.h")


def commands() -> list[list[str]]:
    """The checks, as commands of the packages installed beside this one."""
    tools = Path(sys.executable).parent
    kernels = sorted(str(file.relative_to(ROOT)) for pattern in KERNELS for file in ROOT.glob(f"[!.]*/**/{pattern}"))
    checks = [
        [str(tools / "ruff"), "check", *PYTHON],
        [str(tools / "ruff"), "format", "--check", *PYTHON],
        [str(tools / "mypy")],
        [str(tools / "lint-imports"), "--no-cache"],
        [str(tools / "pre-commit"), "validate-config"],
    ]
    return checks + ([[str(tools / "clang-format"), "--dry-run", "--Werror", *kernels]] if kernels else [])


def main() -> int:
    """Run all of them, whatever one says. Returns 1 when any found something."""
    failed = [command for command in commands() if subprocess.run(command, cwd=ROOT, check=False).returncode]
    for command in failed:
        print(f"lint: failed: {Path(command[0]).name} {' '.join(command[1:3])}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
