"""Layout sweeps in a run folder, as replay leaves them: documents, and the outcomes of other layouts beside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from report_run import SEGFAULT, outcome, parity, solved, write_run

from harness.jsonfile import write_json
from harness.outcome import POOL, RECORDED, Kind, Outcome
from harness.outcome import how as way
from harness.run import SWEEPS, SWEPT

CASE, SOLVER = "one", "mine"
RULE = "faults exactly when T_WCk mod 16 != 0"
CRASH_SORT, WRONG_SORT = "CRASHED SIGSEGV", "OK out of tolerance"


def crashed(layout: str, **more: object) -> Outcome:
    again = f"python -m harness replay cases/{CASE} --solver {SOLVER} --layout {layout}"
    fields = {"stage": "solving", "expected": False, "exit": SEGFAULT, "device": "cpu", "layout": layout, "repeat": again}
    return outcome(CASE, SOLVER, Kind.CRASHED, **fields | more)


def wrong(layout: str) -> Outcome:
    return dataclasses.replace(solved(CASE, SOLVER, 1), layout=layout, expected=False, parity=parity(71.0, within=False))


def fine(layout: str) -> Outcome:
    return dataclasses.replace(solved(CASE, SOLVER, 1), layout=layout)


def sort_of(it: Outcome) -> str:
    return CRASH_SORT if it.kind is Kind.CRASHED else WRONG_SORT if it.expected is False else "OK CONVERGED"


ALIGNMENT = [(fine(RECORDED), 0), (crashed("shift-4"), 4), (fine("aligned-512"), 0), (crashed("shift-8"), 8)]
HEALTHY = [(fine(RECORDED), 0), (fine("shift-4"), 4), (fine("aligned-512"), 0)]
CHANCE = [(fine(RECORDED), 0), (crashed("shift-4"), 4), (fine("shift-4#2"), 4), (fine("recorded#2"), 0)]


def write_sweep(folder: Path, rule: str, swept: list[tuple[Outcome, int]], *, state: str = "rule", files: bool = True) -> None:
    """``swept`` are (outcome, T_WCk mod 16); ``files`` False leaves out the outcomes' own."""
    (folder / SWEPT).mkdir(parents=True, exist_ok=True)
    first = swept[0][0]
    name = f"{first.case}__{first.solver}__{way(first.tool, first.memory)}"
    layouts = [
        {
            "layout": it.layout, "outcome": it.kind.value, "signature": sort_of(it), "verdict": "", "repeat": it.repeat,
            "faulted": None if it.kind is Kind.UNAVAILABLE else it.expected is False,
            "tensors": {"T_WCk": {"mod16": mod, "mod512": mod}, "Xf": {"mod16": 0, "mod512": 0}},
        }
        for it, mod in swept
    ]  # fmt: skip
    document = {
        "case": first.case, "solver": first.solver, "tool": way(first.tool, first.memory), "state": state, "rule": rule,
        "tests": [], "layouts": layouts,
    }  # fmt: skip
    write_json(folder / SWEEPS / f"{name}.json", document)
    for it, _ in swept if files else ():
        if it.layout != RECORDED:
            write_json(folder / SWEPT / f"{name}@{it.layout}.json", it.to_json())


def swept_run(folder: Path, rule: str = RULE, swept: list[tuple[Outcome, int]] | None = None, *, state: str = "rule") -> Path:
    """A run of one case whose sweep came to this; of its recorded layout there is the outcome too."""
    swept = swept or ALIGNMENT
    write_run(folder, [it for it, _ in swept if it.layout == RECORDED and it.memory == POOL])
    write_sweep(folder, rule, swept, state=state)
    return folder
