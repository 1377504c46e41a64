"""Every specimen under the tools that must find it and under the others: ``python benchmarks/specimens.py --out DIR``.

Each known-bad solver of ``tests/specimens`` is run on one shipped case, then the solvers without a fault under the same settings,
which must be clean. Prints one table, ready for benchmarks/RESULTS.md, and what could not be run here and why. Exit code 1 when
anything was not found, or was called something that it is not, or something was found where there is nothing.

Needs no GPU for the specimens of the CPU; with one, and compute-sanitizer, it runs all but those that need two.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import specimens
from harness.cli.console import progress
from harness.report.write import write_report
from harness.run import Run
from harness.specimens import Found, Look, Row

ROOT = Path(__file__).resolve().parent.parent
CONTROL = "gpu_memory.py:healthy"
MARK = {True: "yes", False: "**NO**", None: "not run"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/specimens"), help="folder for the runs and their reports")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1), help="children at once")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this specimen or solver only; repeatable")
    parser.add_argument("--cpu", action="store_true", help="leave out what needs a GPU")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    options = parser.parse_args()
    start = time.perf_counter()
    table = specimens.read_table()
    case = ROOT / table.case

    def look_at(wanted: list[Look]) -> Found:
        with progress(options.json, planted=True) as show:
            return specimens.run(wanted, case, options.out, jobs=options.jobs, command="benchmarks/specimens.py", progress=show)

    def chosen(gpu: bool) -> list[Look]:
        return [look for look in specimens.looks(table, gpu=gpu, elsewhere=True) if not options.only or look.name in options.only]

    found = [look_at(chosen(gpu=False))]
    left_out: list[Look] = []
    if not options.cpu and chosen(gpu=True):
        # One solver without a fault first: is there a GPU at all? And what it compiles is then there for the others.
        control = look_at([look for look in specimens.looks(table, gpu=True, elsewhere=True) if _is_control(look)])
        if control.rows[0].state is None:
            left_out, found = chosen(gpu=True), [*found, control]
        else:
            found.append(look_at(chosen(gpu=True)))
    rows = [row for each in found for row in each.rows]
    runs = [run for each in found for run in each.runs]
    environment = dict(runs[-1].environment) | {"tools": _tools(runs)} if runs else {}
    seconds = time.perf_counter() - start
    if options.json:
        document = {"environment": environment, "seconds": seconds, "rows": [row.to_json() for row in rows]}
        print(json.dumps(document | {"not_run": [f"{look.name} {look.shown_how}" for look in left_out]}))
    else:
        _print(rows, left_out, environment, seconds)
        print("evidence: " + " ".join(str(write_report(run.folder)) for run in runs))
    return 1 if any(row.state is False for row in rows) else 0


def _is_control(look: Look) -> bool:
    return look.name == CONTROL and look.how == "none"


def _tools(runs: list[Run]) -> list[str]:
    """The tools that watched, with their versions."""
    watched = [outcome.values.get("watched_by") for run in runs for outcome in run.outcomes]
    return sorted({f"{by['name']} {by['version']}" for by in watched if by})


def _print(rows: list[Row], left_out: list[Look], environment: Mapping[str, Any], seconds: float) -> None:
    about = (environment.get(name) for name in ("gpus", "cpu", "cores", "os", "python", "torch", "tools"))
    print("machine: " + "; ".join(str(it) for it in about if it))
    print("| specimen | run under | must be seen as | was seen as | ok? |\n|---|---|---|---|---|")
    for row in rows:
        if row.state is not None:
            print(f"| {row.name} | {row.how} | {_cell(row.must)} | {_cell(row.seen)} | {MARK[row.state]} |")
    for row in rows:
        if row.state is False:
            print(f"NOT as it must be: {row.name} under {row.how}: {row.verdict}\n  again: {row.repeat}")
    reasons = Counter(row.seen for row in rows if row.state is None)
    for reason, count in reasons.items():
        names = dict.fromkeys(f"{row.name} ({row.how})" for row in rows if row.seen == reason)
        print(f"could not be run ({count}): {', '.join(names)}: {reason}")
    if left_out:
        names = dict.fromkeys(look.name for look in left_out)
        print(f"could not be run ({len(left_out)}), for the same reason: {', '.join(names)}")
    good, bad = (sum(row.state is state for row in rows) for state in (True, False))
    not_run = len(left_out) + sum(row.state is None for row in rows)
    print(f"{good} as they must be, {bad} not, {not_run} not run; {seconds:.0f} s")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:160]


if __name__ == "__main__":
    sys.exit(main())
