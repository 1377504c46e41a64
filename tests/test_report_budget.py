"""What the pictures and the report of the shipped corpus cost: bytes, and processor time."""

from __future__ import annotations

import dataclasses
import time

import pictures_run as made
import problem_factory as problems
import pytest

from harness.outcome import Kind
from harness.report.pictures import case_pictures, run_pictures
from harness.report.sheets import PAGE_BYTES
from harness.report.write import write_report

BUDGET_BYTES, BUDGET_CPU_S = 1_600_000, 20.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> made.Run:
    """A run of all shipped cases but the largest through five solvers, one of them absent."""
    outcomes = []
    for name in problems.SHIPPED:
        if name == problems.LARGE:
            continue
        right = problems.oracle_of(name)
        n = right.iterations or 0
        more = {"stages": made.report_run.stages(iterations=n), "seconds": 1.6, "repeat": f"python -m harness replay cases/{name}"}
        judged = dataclasses.replace(made.oracle(name) if right.T_CkCf else right, expected=True, **more)
        outcomes += [judged, *(dataclasses.replace(judged, solver=solver) for solver in ("torch", "native"))]
        outcomes.append(dataclasses.replace(judged, solver="skip", trace=(), iterations=0, judged=False))
        outcomes.append(made.report_run.outcome(name, "cuda", Kind.UNAVAILABLE, stage="", expected=None, reason="no NVIDIA GPU"))
    return made.write(tmp_path_factory.mktemp("corpus") / "run", outcomes)


def test_all_pictures_of_the_shipped_corpus_are_within_their_budget(corpus: made.Run) -> None:
    start = time.process_time()
    sizes = {name: len(case_pictures(corpus, name).encode()) for name in corpus.cases} | {"run": len(run_pictures(corpus).encode())}
    assert time.process_time() - start < BUDGET_CPU_S
    assert sum(sizes.values()) < BUDGET_BYTES
    assert max(sizes.values()) < 90_000


def test_the_report_of_the_shipped_corpus_is_one_page(corpus: made.Run) -> None:
    """With room for the case that is left out here, and for what a machine says of itself."""
    page = write_report(corpus.folder)
    assert not list(corpus.folder.glob("cases-*.html"))
    assert 1_500_000 < page.stat().st_size < PAGE_BYTES - 100_000
