"""The project's own tests in Windows' CPython on wine, CPU only: ``python tests/windows/stage.py``. See README.md.

Exit code 0: all passed. 1: a test failed. 2: the stage cannot be run on this machine, and what would help is said.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from relay import Relay, version
from selection import FILES
from setting import HERE, ROOT, Missing, Wine, find_wine, install_compiler, install_python, make_prefix

LABEL = "Windows CPython on wine, CPU only; no claim about WDDM, MSVC or GPU"
_LIMIT_S = 1800.0
PROMISED_S = 360.0
_PYTEST = ("-p", "no:cacheprovider", "-q", "-n", "2", "--dist", "worksteal", "--timeout", "300", "--durations", "5")


class Stage:
    """Windows' side: a prefix and a Python in it. ``run`` starts a program there, with this machine's compiler at hand."""

    def __init__(self, cache: Path, *, torch: bool = False) -> None:
        self.wine: Wine = find_wine(cache / "prefix")
        self.python = install_python(cache, torch=torch)
        make_prefix(self.wine)
        self.relay = Relay(self.wine, self.wine.prefix / "drive_c" / "relay")
        self.compiler = install_compiler(self.python, self.wine.prefix / "drive_c" / "relay", self.wine, version())

    def run(self, *words: str, **environment: str) -> int:
        """Its code's last 8 bits. Output goes through a pipe: wine and plain files do not get on."""
        settings = self.wine.environment(
            PYTHONPATH=f"{self.wine.windows_path(ROOT)};{self.wine.windows_path(HERE)}", PYTHONPYCACHEPREFIX="C:\\pycache",
            CXX=self.wine.windows_path(self.compiler), LC_ALL="C.UTF-8", KMP_AFFINITY="disabled",  # which wine does not have
            **environment,
        )  # fmt: skip
        argv = [self.wine.program, str(self.python / "python.exe"), *words]
        process = subprocess.Popen(
            argv, env=settings, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        until = time.monotonic() + _LIMIT_S
        while process.poll() is None:
            if time.monotonic() > until:
                self.wine.end()
                process.wait(30)
                print(f"ended after {_LIMIT_S:.0f} s", flush=True)
                return 1
            self._show(process.stdout.read())
            time.sleep(0.1)
        self._show(process.stdout.read())
        return process.returncode

    def _show(self, data: bytes | None) -> None:
        sys.stdout.write((data or b"").decode("utf-8", "replace").replace("\r\n", "\n"))
        sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=f"The project's tests under {LABEL}.")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=home / "sim3solve" / "windows-stage", help="what is fetched is kept there")
    parser.add_argument("-k", dest="expression", help="only tests that pytest's -k selects")
    parser.add_argument("--torch", action="store_true", help="besides: PyTorch's solver, and a recording; a download of 120 MB")
    given = parser.parse_args()
    start = time.monotonic()
    try:
        stage = Stage(given.cache.resolve(), torch=given.torch)
    except Missing as missing:
        print(f"the stage cannot be run here: {missing}", file=sys.stderr)
        return 2
    print(f"{LABEL}. Set up in {time.monotonic() - start:.0f} s.", flush=True)
    with stage.relay:
        try:
            failed = both_ways(stage, given.expression, torch=given.torch)
        finally:
            stage.wine.end()
    seconds = time.monotonic() - start
    print(f"{LABEL}: {'FAILED: ' + ', '.join(failed) if failed else 'passed'}, {seconds:.0f} s", flush=True)
    if seconds > PROMISED_S and not given.torch:
        print(f"longer than the {PROMISED_S:.0f} s promised for 2 unloaded cores; load now: {os.getloadavg()[0]:.1f}", flush=True)
    return 1 if failed else 0


def both_ways(stage: Stage, expression: str | None, *, torch: bool) -> list[str]:
    """Each side makes what the other is to replay. Returns the names of what failed."""
    exchange = stage.wine.prefix / "drive_c" / "exchange"
    shutil.rmtree(exchange, ignore_errors=True)
    only = ["-k", expression] if expression else []
    more = ["--torch"] if torch else []
    whole = {} if expression else {"SIM3SOLVE_STAGE_WHOLE": "1"}
    recorded = {"SIM3SOLVE_RECORDED": "C:\\exchange\\windows\\recorded"} if torch else {}
    tests = [f"tests/test_{name}.py" for name in FILES] + ["tests/windows"]
    failed = []
    steps = {
        "cases made on Linux": lambda: on_linux("tests/windows/crossing.py", str(exchange / "linux"), *more),
        "tests on Windows": lambda: stage.run(
            "tests/windows/inside.py", *_PYTEST, "-p", "selection", *only, *tests, SIM3SOLVE_CROSSING="C:\\exchange\\linux",
            **whole, **recorded,
        ),
        "cases made on Windows": lambda: stage.run("tests/windows/crossing.py", "C:\\exchange\\windows", *more),
        "Windows' cases on Linux": lambda: on_linux(
            "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "0", "tests/windows/test_crossing.py", *only,
            SIM3SOLVE_CROSSING=str(exchange / "windows"),
        ),
    }  # fmt: skip
    for name, do in steps.items():
        print(f"--- {name}", flush=True)
        start, code = time.monotonic(), do()
        print(f"--- {name}: exit {code}, {time.monotonic() - start:.0f} s", flush=True)
        if code not in (0, 5 if only else 0):  # 5: -k selected none of these
            failed.append(name)
    for said in sorted(exchange.glob("*/said.txt")):
        print(f"{said.parent.name}'s cases on the other system: {said.read_text(encoding='utf-8').strip()}", flush=True)
    return failed


def on_linux(*words: str, **environment: str) -> int:
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=os.environ | environment, timeout=_LIMIT_S).returncode


if __name__ == "__main__":
    sys.exit(main())
