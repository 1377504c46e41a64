"""A run's outcomes judged, from its files alone; so it can be done again at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.case import Case
from harness.diagnosis.recorded import recorded_outcome
from harness.isolation import Task
from harness.record.ending import read_recording
from harness.run import OUTCOMES, RECORDINGS, YARDSTICKS, read_outcome, write_outcome
from harness.verdict import judge


def judge_all(folder: Path, tasks: Sequence[Task], oracles: Mapping[str, Task], what: str = OUTCOMES) -> None:
    """Parity, expectation and verdict for every outcome of these tasks; of a recorded case also how its recording ended."""
    by_case: dict[str, list[Task]] = {}
    for task in tasks:
        by_case.setdefault(task.document.id, []).append(task)
    for case_id, mine in by_case.items():
        oracle = oracles[case_id]
        kind = YARDSTICKS if (folder / YARDSTICKS / f"{oracle.name}.json").exists() else OUTCOMES
        yardstick = read_outcome(folder / kind / f"{oracle.name}.json")
        case = read_recording(mine[0].case_folder)
        if what == OUTCOMES:
            _keep_recording(folder, case)
        seen = {task.name: read_outcome(folder / what / f"{task.name}.json") for task in mine}
        for task in mine:
            others = [outcome for name, outcome in seen.items() if name != task.name]
            write_outcome(folder, task.name, judge(seen[task.name], yardstick, case, others), what)


def _keep_recording(folder: Path, case: Case) -> None:
    """It is no outcome of this run, and is what a diagnosis starts from."""
    recording = recorded_outcome(case)
    if recording.expected is False:
        (folder / RECORDINGS).mkdir(exist_ok=True)
        write_outcome(folder, case.id, recording, RECORDINGS)
