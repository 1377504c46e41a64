"""How times are taken: GOOD and a commit in pairs, now one first and now the other, each solved often in one process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from diagnosis_evidence import died, outcome

from harness.bisect.bench import SOLVES, Bench
from harness.casefile import read_document
from harness.gitrepo import Commit, Repository
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import Kind, Outcome
from harness.process import open_launcher
from harness.registry import resolve

CASE = Path(__file__).parent.parent / "cases" / "degenerate-n-33"
GOOD, MINE = (Commit(letter * 40, "", "", "", letter) for letter in "ab")
SOLVER = """
import time
from sim3solve.reference import solve as reference

calls = []

def make():
    def solve(problem, options):
        calls.append(1)
        time.sleep(0.3 if len(calls) != 3 else 0.0)
        with open({log!r}, "a") as log:
            log.write(".")
        return reference(problem, options) if len(calls) == 1 else reference(problem, type(options)(max_iters=1))

    return solve
"""


def bench(monkeypatch, outcomes: dict[str, Outcome]) -> tuple[Bench, list[str]]:
    made = Bench(Repository(Path()), CASE, "native", "none", "pool", Limits(), Path(), None, time_beside=GOOD)
    asked: list[str] = []

    def of(commit: Commit) -> Outcome:
        asked.append(commit.tree)
        return outcomes[commit.tree]

    monkeypatch.setattr(made, "_outcome", of)
    return made, asked


def took(seconds: float) -> Outcome:
    return dataclasses.replace(outcome(Kind.OK, status="CONVERGED"), expected=True, solve_seconds=seconds)


def test_a_ratio_is_of_a_pair_whichever_ran_first(monkeypatch):
    made, asked = bench(monkeypatch, {"a": took(2.0), "b": took(3.0)})
    assert [made.run(MINE, number).ratio for number in range(3)] == [1.5] * 3
    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert made.run(GOOD, 0).ratio == 1


def test_a_good_one_that_fails_beside_it_says_nothing_of_the_other(monkeypatch):
    made, _ = bench(monkeypatch, {"a": died(), "b": took(3.0)})
    run = made.run(MINE, 0)
    assert run.kind == "INCONCLUSIVE" and run.ratio is None and run.said.startswith("GOOD, run beside it")
    made, _ = bench(monkeypatch, {"a": took(1.0), "b": died()})
    assert made.run(MINE, 1).kind == "CRASHED"


@pytest.mark.parametrize("solves", [1, 4])
def test_of_many_solves_the_shortest_time_counts_and_the_first_result(tmp_path, solves):
    (tmp_path / "slow_at_first.py").write_text(SOLVER.format(log=str(tmp_path / "log")))
    launcher = open_launcher(tmp_path / "supervisor.log", preload=())
    try:
        task = Task(CASE, read_document(CASE), resolve(f"{tmp_path / 'slow_at_first.py'}:make"), solves=solves)
        done = run_isolated(task, Limits(60), tmp_path / "job", launcher)
    finally:
        launcher.close()
    assert (tmp_path / "log").read_text() == "." * solves and done.status == "CONVERGED"
    assert (done.solve_seconds < 0.3) is (solves > 2)
    assert SOLVES > 3
