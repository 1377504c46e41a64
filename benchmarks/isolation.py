"""How many isolated replays a second this machine does: ``python benchmarks/isolation.py [--replays 200]``.

Each replay is one child that reads a case, solves it and writes its result: forked from preloaded imports, and, for comparison,
as a fresh Python interpreter. Prints a table; figures worth keeping go into benchmarks/RESULTS.md with date and machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import registry
from harness.casefile import read_document
from harness.environment import basics
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import Kind
from harness.process import open_launcher

CASES = Path(__file__).parent.parent / "cases"


class Numbered(Task):
    """The same task many times, each under a name of its own."""

    number = 0

    @property
    def name(self) -> str:
        return f"{super().name}-{self.number}"


def measure(solver: str, case: str, replays: int, jobs: int, *, fresh: bool, folder: Path) -> tuple[float, float]:
    """(replays per second, median seconds of one) of ``replays`` children, ``jobs`` at a time. Raises when one does not solve."""
    limits = Limits(fresh_interpreter=fresh)
    launcher = open_launcher(folder / "supervisor.log", threads=1)

    def one(number: int) -> float:
        task = Numbered(CASES / case, read_document(CASES / case), registry.resolve(solver))
        object.__setattr__(task, "number", number)
        outcome = run_isolated(task, limits, folder / str(number), launcher)
        if outcome.kind is not Kind.OK:
            raise RuntimeError(f"{solver} on {case}: {outcome}")
        return outcome.seconds

    try:
        one(0)  # the supervisor's own start is not what is measured
        start = time.perf_counter()
        with ThreadPoolExecutor(jobs) as pool:
            seconds = list(pool.map(one, range(1, replays + 1)))
        return replays / (time.perf_counter() - start), statistics.median(seconds)
    finally:
        launcher.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replays", type=int, default=200, help="children per row, a tenth of it for fresh interpreters")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="children at once")
    words = parser.parse_args()
    about = basics()
    torch = about["packages"].get("torch")
    print(f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, torch {torch}, {words.jobs} jobs")
    print(f"{'solver':10} {'points':>7} {'child':18} {'replays/s':>10} {'median s':>9}")
    for solver, case in (("reference", "degenerate-n-33"), ("torch", "degenerate-n-33"), ("torch", "real-fr1-desk-0-8-ray")):
        for fresh in (False, True):
            count = max(4, words.replays // 10) if fresh else words.replays
            with tempfile.TemporaryDirectory() as folder:
                rate, median = measure(solver, case, count, words.jobs, fresh=fresh, folder=Path(folder))
            child = "fresh interpreter" if fresh else "forked"
            print(f"{solver:10} {read_document(CASES / case).n_points:7d} {child:18} {rate:10.1f} {median:9.3f}", flush=True)


if __name__ == "__main__":
    main()
