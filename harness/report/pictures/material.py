"""What the pictures of one case are made from: its tensors, its poses, its traces. Whatever is missing is said in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from harness.case import Case
from harness.casefile import read_case
from harness.compare import is_similarity
from harness.errors import CaseError, ResultError
from harness.outcome import Outcome
from harness.report.pictures.drawing import Series
from harness.report.text import shorten
from harness.report.yardsticks import Parity, Tolerance, exceeds, read_parity, read_tolerances
from harness.run import YARDSTICKS, Run, read_outcome

ORACLE = "reference"
Pose = tuple[float, ...]


@dataclass(frozen=True)
class Solved:
    """What one solver made of the case. ``pose`` is None where it has none that is a similarity; ``why`` says so."""

    outcome: Outcome
    parity: Parity | None
    series: Series
    is_oracle: bool
    agrees: bool  # its pose is the oracle's

    @property
    def name(self) -> str:
        return self.outcome.solver

    @property
    def pose(self) -> Pose | None:
        T = self.outcome.T_CkCf
        return tuple(T) if T is not None and len(T) == 8 and is_similarity(T) else None

    @property
    def why(self) -> str:
        return shorten(self.outcome.status or self.outcome.kind.value, 60)

    @property
    def differs(self) -> str:
        """How its pose stands to the oracle's: a different one of lower cost passes, and some cases ask for none in particular."""
        if self.parity and self.parity.within:
            return "another pose, of lower cost"
        return "wrong pose" if self.outcome.expected is False else "another pose"

    @property
    def is_wrong(self) -> bool:
        """It has a pose to look at, and the case expects another."""
        return self.pose is not None and self.outcome.judged and self.outcome.expected is False and not self.agrees

    @property
    def diverges_at(self) -> int | None:
        """The iteration, from 0, after which the pose is no longer the oracle's."""
        k = self.parity.first_divergence if self.parity else None
        return k if isinstance(k, int) and 0 <= k < len(self.outcome.trace) else None


@dataclass(frozen=True)
class Material:
    """``case`` is None where the pictures of its points cannot be made: ``why_not`` says why. ``solved`` has the oracle first."""

    id: str
    case: Case | None
    why_not: str
    initial: Pose | None
    solved: tuple[Solved, ...]

    @property
    def oracle(self) -> Solved | None:
        return next((it for it in self.solved if it.is_oracle), None)


def solver_series(run: Run) -> dict[str, Series]:
    """The solvers of a run, the oracle first, each with its colour and mark. One colour in all pictures of the run."""
    names = dict.fromkeys([ORACLE, *(outcome.solver for outcome in run.outcomes)])
    return {name: Series(name, order) for order, name in enumerate(names)}


def gather(run: Run, case_id: str) -> Material:
    """Raises ``ResultError`` when a number of the run is none; a case that cannot be read is said in ``why_not``."""
    series = solver_series(run)
    plain = [outcome for outcome in run.outcomes if outcome.case == case_id and outcome.how == "none"]
    if not any(outcome.solver == ORACLE for outcome in plain):
        plain += _yardstick(run, case_id)
    tolerances = read_tolerances(run.plan)
    solved = [_solved(outcome, series[outcome.solver], tolerances) for outcome in plain]
    solved.sort(key=lambda it: not it.is_oracle)
    case, why_not = _read(run.cases.get(case_id, {}))
    return Material(case_id, case, why_not, initial_pose(case) if case else None, tuple(solved))


def _solved(outcome: Outcome, series: Series, tolerances: Mapping[str, Tolerance]) -> Solved:
    parity, is_oracle = read_parity(outcome), outcome.solver == ORACLE
    errors = parity.errors.get("oracle", {}) if parity else {}
    same = bool(errors) and not any(exceeds(errors.get(name), tolerance) for name, tolerance in tolerances.items())
    return Solved(outcome, parity, series, is_oracle, is_oracle or same)


def _yardstick(run: Run, case_id: str) -> list[Outcome]:
    """The oracle's outcome where nobody asked for it."""
    file = run.folder / YARDSTICKS / f"{case_id}__{ORACLE}__none.json"
    try:
        return [read_outcome(file)] if file.is_file() else []
    except (ResultError, OSError, ValueError):  # a damaged one is as good as none
        return []


def _read(summary: Mapping[str, object]) -> tuple[Case | None, str]:
    """The case as it was when the run was made, or why it cannot be had."""
    path, sha256 = summary.get("path"), summary.get("sha256")
    if summary.get("kind") == "op":
        return None, "This case is a single operation: it has no points, no residuals and no steps."
    if not isinstance(path, str):
        return None, "The run does not say where its case is, so only what the run itself holds is drawn."
    try:
        case = read_case(Path(path))
    except CaseError as error:
        reason = f"{shorten(error.field, 40)}: {shorten(error.reason, 100)}"
        return None, f"The case cannot be read any more ({reason}), so only what the run itself holds is drawn."
    if case.document.tensors_sha256 != sha256:
        return None, "The case has changed since the run was made, so only what the run itself holds is drawn."
    return case, ""


def initial_pose(case: Case) -> Pose | None:
    """T_CkCf = T_WCk^-1 T_WCf as 8 numbers: where every solver begins. None where one of the three is no similarity."""
    k, f = (case.as_float(name)[0] for name in ("T_WCk", "T_WCf"))
    if not (is_similarity(k) and is_similarity(f)):
        return None
    R_CkW = Rotation.from_quat(k[3:7]).inv()
    with np.errstate(all="ignore"):
        T = np.concatenate([R_CkW.apply(f[:3] - k[:3]) / k[7], (R_CkW * Rotation.from_quat(f[3:7])).as_quat(), [f[7] / k[7]]])
    return tuple(T.tolist()) if is_similarity(T) else None


def disagreeing(solved: Sequence[Solved]) -> list[Solved]:
    """Judged solvers with a pose that is not the oracle's."""
    return [it for it in solved if it.pose is not None and it.outcome.judged and not it.agrees]
