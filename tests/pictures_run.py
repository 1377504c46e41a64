"""Runs of shipped cases for the pictures: the oracle's real outcomes, and solvers that end where they are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import html_tree
import numpy as np
import problem_factory as problems
import report_run

from harness.case import Case
from harness.compare import parity
from harness.outcome import IterationRecord, Outcome
from harness.report.pictures import PICTURES_CSS, PICTURES_JS, case_pictures, run_pictures
from harness.run import Run, read_run

RAY, CALIB, LOOSE = "synthetic-room-ray", "synthetic-room-calib", "degenerate-n-33"
"""A case of rays in an image, a calibrated one, and one whose points are no image."""


def summary(case: Case) -> dict[str, Any]:
    return report_run.case_summary(case.id) | {
        "path": str(case.path), "sha256": case.document.tensors_sha256, "kind": case.document.kind,
        "n_points": case.document.n_points,
    }  # fmt: skip


def write(folder: Path, outcomes: Sequence[Outcome], cases: dict[str, dict[str, Any]] | None = None) -> Run:
    names = dict.fromkeys(outcome.case for outcome in outcomes)
    return read_run(
        report_run.write_run(folder, list(outcomes), cases=cases or {name: summary(problems.shipped(name)) for name in names})
    )


def oracle(name: str, **fields: Any) -> Outcome:
    """As a replay leaves it, judged against itself."""
    found = problems.oracle_of(name)
    return dataclasses.replace(found, parity=parity(found, found, problems.shipped(name)), expected=True, **fields)


def another(name: str, solver: str, pose: Sequence[float] | None = None, trace: Sequence[IterationRecord] | None = None) -> Outcome:
    """A solver with the oracle's outcome, but for what is given; ``parity`` is measured."""
    right = problems.oracle_of(name)
    end, steps = tuple(pose or right.T_CkCf or ()), tuple(right.trace if trace is None else trace)
    mine = dataclasses.replace(right, solver=solver, T_CkCf=end, trace=steps)
    return dataclasses.replace(mine, parity=parity(mine, right, problems.shipped(name)), expected=True)


def moved(pose: Sequence[float] | None, by: float = 0.05) -> tuple[float, ...]:
    """The pose with another translation."""
    assert pose is not None
    return (pose[0] + by, *pose[1:])


def leaving(name: str, at: int) -> tuple[IterationRecord, ...]:
    """The oracle's trace, with other poses from iteration ``at`` on."""
    return tuple(
        record if k < at else dataclasses.replace(record, T_CkCf=moved(record.T_CkCf), cost=2 * record.cost)
        for k, record in enumerate(problems.oracle_of(name).trace)
    )


def tree(html: str) -> html_tree.Element:
    return html_tree.parse(f"<!DOCTYPE html><html>{html}</html>")


def page(run: Run) -> str:
    """Everything on one page that may load nothing."""
    pictures = "".join(f"<section><h2>{case}</h2>{case_pictures(run, case)}</section>" for case in run.cases)
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="color-scheme" content="light dark"><title>Pictures</title><link rel="icon" href="data:,">'
        f"<style>:root {{ color-scheme: light dark; }} body {{ background: Canvas; color: CanvasText; }}{PICTURES_CSS}</style>"
        f"<script>{PICTURES_JS}</script></head><body>{run_pictures(run)}{pictures}</body></html>"
    )


def numbers(path: str) -> np.ndarray:
    """The points (n,2) of a path of M and L."""
    return np.array([[float(part) for part in point.split()] for point in path.replace("L", "M").split("M")[1:]])
