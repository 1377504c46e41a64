"""The smaller case as a case of its own: its name, where it comes from, and what must happen when the bug is mended."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from harness.case import Case, Expectation, is_valid_id
from harness.casefile import write_case
from harness.minimize.cut import Cut, build
from harness.minimize.examine import How, run_oracle
from harness.minimize.failure import Failure
from harness.minimize.result import Target
from harness.outcome import Kind, Outcome
from sim3solve.problem import Status

SUFFIX, TAG = "-min", "minimized"
_SHOWN = 60
_LONGEST = 1900
_LONGEST_ID = 100


def smaller_case(case: Case, cut: Cut, failure: Failure, target: Target, how: How, *, keep_expectation: bool) -> Case:
    """``case`` cut, with its provenance. It expects what the oracle does with it, unless what the case expects is to be kept."""
    document = case.document
    made = build(case, cut)
    name = document.id[: _LONGEST_ID - len(SUFFIX)].rstrip(".-") + SUFFIX
    untrue = ("real",) if any(change.of_values for change in cut.changes) else ()
    update = {
        "id": name if is_valid_id(name) else "case" + SUFFIX,
        "title": f"{document.title or document.id}, minimized"[:300],
        "tags": (*[tag for tag in document.tags if tag not in (TAG, *untrue)][:31], TAG),
        "provenance": document.provenance.model_copy(update={"source": _source(case, cut, failure, target)}),
    }
    made = Case(made.document.model_copy(update=update), made.values)
    if keep_expectation:
        return made
    expectation = _expectation(_of_oracle(made, how), document.id)
    return made if expectation is None else Case(made.document.model_copy(update={"expect": expectation}), made.values)


def _of_oracle(made: Case, how: How) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix="oracle-", dir=how.site.folder))
    try:
        return run_oracle(write_case(made, folder / "case").path or folder, folder, how)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _expectation(oracle: Outcome, source: str) -> Expectation | None:
    """None where the oracle has no answer either: then the whole case's expectation stands."""
    because = f"a case minimized from {source}: this is what the float64 oracle does with it"
    if oracle.kind is Kind.OK:
        return Expectation(because=because)
    if oracle.kind is Kind.SOLVER_STATUS and oracle.status is not None:
        return Expectation(outcomes=(oracle.kind.value,), statuses=(Status(oracle.status),), parity=False, because=because)
    return None


def _source(case: Case, cut: Cut, failure: Failure, target: Target) -> str:
    """Where it comes from and what was taken away, as far as it fits."""
    n = len(next(iter(case.values.values()))) if case.document.kind == "op" else case.document.n_points
    shown = ", ".join(map(str, cut.rows[:_SHOWN])) + (", ..." if len(cut.rows) > _SHOWN else "")
    what = "rows" if case.document.kind == "op" else "points"
    said = [
        f"minimized from the case {case.id} (tensors {case.document.tensors_sha256[:16]}), keeping {failure} of {target.solver}",
        f"{len(cut.rows)} of {n} {what} kept: {shown}" if len(cut.rows) < n else f"all {n} {what} kept",
    ]
    if cut.first_slot:
        said.append(f"the first of them lies where point {cut.first_slot} lay")
    if cut.max_iters != case.document.options.max_iters:
        said.append(f"max_iters {cut.max_iters} in place of {case.document.options.max_iters}")
    if cut.changes:
        said.append("set: " + ", ".join(map(str, cut.changes)))
    text = "; ".join(said)
    text = text if len(text) <= _LONGEST - 500 else text[: _LONGEST - 500] + " ..."
    return f"{text}. The whole case: {case.document.provenance.source}"[:_LONGEST]
