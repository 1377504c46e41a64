"""Sweeps the layouts of tasks: runs what the plan asks for, round after round, and writes what it came to.

::

    reports/<run id>/sweeps/<case>__<solver>__<tool>.json    the layouts tried and the rule
    reports/<run id>/sweeps/outcomes/<name>.json             the outcome in each layout, written as it is finished
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.case import CaseDocument
from harness.isolation import Task
from harness.jsonfile import write_json
from harness.layout import groups
from harness.outcome import RECORDED, Kind, Outcome
from harness.relayout import LAYOUTS, once, relayout_document
from harness.run import SWEEPS
from harness.sweep.files import RUNNING
from harness.sweep.plan import Next, Planner
from harness.sweep.rule import Rule

Outcomes = Mapping[str, Outcome]
"""Layout -> its outcome."""


def sweep(folder: Path, targets: Sequence[tuple[Task, Outcome]], run: Callable[[list[Task]], list[Outcome]]) -> None:
    """Sweep each target, whose outcome in the recorded layout is given. ``run`` gives judged outcomes, from disk where it can."""
    (folder / SWEEPS).mkdir(exist_ok=True)
    known = {task.name: {RECORDED: outcome} for task, outcome in targets}
    planners = {task.name: Planner(task.document) for task, _ in targets}
    while True:
        todo = [
            dataclasses.replace(task, layout=layout)
            for task, _ in targets
            for layout in _ask(planners[task.name], known[task.name]).layouts
            if layout not in known[task.name]
        ]
        for task, _ in targets:  # after each round: whoever looks at an unfinished run sees how far it is
            write_json(folder / SWEEPS / f"{task.name}.json", describe(task, planners[task.name], known[task.name]))
        if not todo:
            return
        for task, outcome in zip(todo, run(todo), strict=True):
            known[dataclasses.replace(task, layout=RECORDED).name][task.layout] = outcome


@dataclasses.dataclass(frozen=True)
class Answer:
    """``rules`` maps an outcome in words to its rule; the key is empty where one rule holds for all faults."""

    layouts: tuple[str, ...]
    state: str
    rules: Mapping[str, Rule]
    tests: tuple[str, ...] = ()


def _ask(planner: Planner, outcomes: Outcomes) -> Answer:
    """What to run next, or what there is to say. Faults of several sorts that no one rule covers are asked for one by one."""
    faults = {layout: faulted(outcome) for layout, outcome in outcomes.items()}
    whole = planner.next(faults)
    if whole.state != "unexplained":
        return Answer(whole.layouts, whole.state, {"": whole.rule} if whole.rule else {}, whole.tests)
    sorts = list(dict.fromkeys(signature(outcome) for layout, outcome in outcomes.items() if faults[layout]))
    if len(sorts) < 2:
        return Answer((), whole.state, {})
    each: dict[str, Next] = {}
    for sort in sorts:
        of_it = {layout: None if fault and signature(outcomes[layout]) != sort else fault for layout, fault in faults.items()}
        each[sort] = planner.next(of_it)
    if any(one.state not in ("rule", "running") for one in each.values()):
        return Answer((), whole.state, {})
    layouts = tuple(dict.fromkeys(layout for one in each.values() for layout in one.layouts))
    rules = {sort: one.rule for sort, one in each.items() if one.rule}
    tests = tuple(dict.fromkeys(test for one in each.values() for test in one.tests))
    return Answer(layouts, RUNNING if layouts else "rule", rules, tests)


def faulted(outcome: Outcome) -> bool | None:
    """None where it was not tried, or nobody could tell how it ended."""
    if outcome.kind is Kind.UNAVAILABLE or (outcome.kind is Kind.INCONCLUSIVE and outcome.exit is None):
        return None
    return outcome.expected is False


def signature(outcome: Outcome) -> str:
    """How it ended, the same for the same fault: "CRASHED SIGSEGV", "OK out of tolerance"."""
    detail = outcome.status or ""
    if outcome.kind is Kind.OK and outcome.parity is not None and not outcome.parity.get("within"):
        detail = "out of tolerance"
    elif outcome.kind is Kind.CRASHED and outcome.exit is not None:
        detail = outcome.exit.name
    elif outcome.kind is Kind.RAISED and outcome.exception is not None:
        detail = outcome.exception.type
    elif outcome.kind is Kind.CUDA_ERROR and outcome.cuda is not None:
        detail = outcome.cuda.name
    elif outcome.kind is Kind.FINDINGS:
        detail = "/".join(sorted({str(found.get("kind")) for found in outcome.findings}))
    return f"{outcome.kind.value} {detail}".strip()


def describe(task: Task, planner: Planner, outcomes: Outcomes) -> dict[str, Any]:
    """The document of one sweep."""
    answer = _ask(planner, outcomes)
    return {
        "case": task.document.id, "solver": task.solver.name, "tool": task.how, "state": answer.state,
        "rule": sentence(answer, outcomes), "tests": list(answer.tests),
        "layouts": [_entry(task.document, layout, outcome) for layout, outcome in outcomes.items()],
    }  # fmt: skip


def sentence(answer: Answer, outcomes: Outcomes) -> str:
    """What the sweep came to, in words."""
    faults = [layout for layout, outcome in outcomes.items() if faulted(outcome)]
    if answer.state == "rule":
        if "" in answer.rules:
            return f"faults exactly when {answer.rules['']}"
        return "; ".join(f"{sort} exactly when {rule}" for sort, rule in answer.rules.items())
    if answer.state == "healthy everywhere":
        return f"healthy in all {len(outcomes)} layouts tried"
    if answer.state == "faults everywhere":
        return f"faults in all {len(outcomes)} layouts tried: the layout is not the cause"
    if answer.state == "by chance":
        return f"faults by chance: {_how_often(outcomes)}"
    if answer.state == "not run":
        return f"not run: {next(iter(outcomes.values())).reason or 'no layout gave an answer'}"
    if answer.state == "unexplained":
        healthy = [layout for layout in LAYOUTS if layout in outcomes and faulted(outcomes[layout]) is False]
        shown = ", ".join([layout for layout in faults if layout in LAYOUTS])
        return f"no simple rule explains it: of the layouts of all tensors it faults in {shown}, and not in {', '.join(healthy)}"
    return f"not finished: {len(outcomes)} layouts so far, faults in {len(faults)}"


def _how_often(outcomes: Outcomes) -> str:
    """Of each layout that was run more than once, the one that faults more often first."""
    runs: dict[str, list[bool]] = {}
    for layout, outcome in outcomes.items():
        if (fault := faulted(outcome)) is not None:
            runs.setdefault(once(layout), []).append(fault)
    several = sorted(((layout, each) for layout, each in runs.items() if len(each) > 1), key=lambda it: -sum(it[1]) / len(it[1]))
    return ", ".join(f"{sum(each)} of {len(each)} times in {layout}" for layout, each in several)


def _entry(document: CaseDocument, layout: str, outcome: Outcome) -> dict[str, Any]:
    specs = relayout_document(document, layout).tensors
    shared = {name for names in groups(specs).values() if len(names) > 1 for name in names}
    return {
        "layout": layout, "outcome": outcome.kind.value, "signature": signature(outcome), "faulted": faulted(outcome),
        "verdict": outcome.verdict, "repeat": outcome.repeat,
        "tensors": {
            name: {
                "mod16": spec.data_ptr_mod_512 % 16, "mod512": spec.data_ptr_mod_512, "shape": spec.shape, "stride": spec.stride,
                "storage_offset": spec.storage_offset, "shared": name in shared,
            }
            for name, spec in specs.items()
        },
    }  # fmt: skip
