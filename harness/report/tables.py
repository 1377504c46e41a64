"""Outcomes as one flat table, a row each, for whoever wants to compute with them: Parquet and CSV through pandas."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pyarrow as pa

from harness.outcome import Outcome
from harness.report.text import as_float, clean
from harness.report.yardsticks import MEASURES, YARDSTICKS, read_parity
from harness.run import Run

POSE = ("tx", "ty", "tz", "qx", "qy", "qz", "qw", "s")
POSES = ("T_WCf", "T_CkCf")

COLUMNS: dict[str, pa.DataType] = {
    **dict.fromkeys(("run", "case", "solver", "tool", "memory", "layout", "tool_state", "outcome", "status", "stage"), pa.string()),
    **dict.fromkeys(("expected", "judged", "within"), pa.bool_()),
    **dict.fromkeys(("seconds", "solve_seconds", "limit_s", "cost"), pa.float64()),
    **dict.fromkeys(("iterations", "n_points"), pa.int64()),
    **{f"{yardstick}_{measure}": pa.float64() for yardstick in YARDSTICKS for measure in MEASURES},
    **dict.fromkeys(("cost_at_pose", "cost_oracle", "cost_optimum"), pa.float64()),
    **dict.fromkeys(("iterations_oracle", "first_divergence"), pa.int64()),
    **{f"{pose}_{part}": pa.float64() for pose in POSES for part in POSE},
    **dict.fromkeys(("exit_code", "cuda_code", "findings"), pa.int64()),
    **dict.fromkeys(("exit_name", "signal", "cuda_name", "exception_type", "exception_message"), pa.string()),
    **dict.fromkeys(("signature", "cause", "confidence", "cause_sentence", "fix"), pa.string()),
    **dict.fromkeys(("reason", "verdict", "why", "device", "kind", "tags", "case_sha256", "repeat"), pa.string()),
}


def frame(run: Run) -> pd.DataFrame:
    """One row per outcome. Arrow columns, because they tell a NaN that was measured from a number that does not exist."""
    rows = [_row(run, outcome) for outcome in run.outcomes]
    return pd.DataFrame(
        {name: pd.arrays.ArrowExtensionArray(pa.array([row.get(name) for row in rows], dtype)) for name, dtype in COLUMNS.items()}
    )


def parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def csv(table: pd.DataFrame) -> bytes:
    """A missing value is empty; a NaN that was measured is the word ``nan``."""
    floats = [name for name, dtype in COLUMNS.items() if pa.types.is_floating(dtype)]
    words = table.copy()
    for name in floats:
        words[name] = _float_words(table[name])
    return words.to_csv(index=False, lineterminator="\n").encode()


def _float_words(column: pd.Series[Any]) -> list[str | None]:
    return [None if value is None else repr(value) for value in pa.array(column.array).to_pylist()]


def _row(run: Run, outcome: Outcome) -> dict[str, Any]:
    parity = read_parity(outcome)
    case = run.cases.get(outcome.case, {})
    row: dict[str, Any] = {
        "run": run.id,
        "case": outcome.case,
        "solver": outcome.solver,
        "tool": outcome.tool,
        "memory": outcome.memory,
        "layout": outcome.layout,
        "tool_state": outcome.tool_state,
        "outcome": outcome.kind.value,
        "status": outcome.status,
        "stage": outcome.stage,
        "expected": outcome.expected,
        "judged": outcome.judged,
        "seconds": outcome.seconds,
        "solve_seconds": as_float(outcome.solve_seconds, " ".join(outcome.key), "solve_seconds"),
        "limit_s": outcome.limit_s,
        "cost": outcome.cost,
        "iterations": outcome.iterations,
        "n_points": case.get("n_points"),
        "findings": len(outcome.findings),
        "signature": outcome.signature or None,
        "reason": outcome.reason,
        "verdict": outcome.verdict,
        "device": outcome.device,
        "kind": case.get("kind"),
        "tags": " ".join(case.get("tags") or ()),
        "case_sha256": case.get("sha256"),
        "repeat": outcome.repeat,
    }
    for pose in POSES:
        values = getattr(outcome, pose)
        if values is not None:
            row |= {f"{pose}_{part}": value for part, value in zip(POSE, values, strict=False)}
    if parity:
        row |= {"within": parity.within, "why": parity.why, "cost_at_pose": parity.cost, "cost_oracle": parity.cost_oracle}
        row |= {"cost_optimum": parity.cost_optimum, "iterations_oracle": parity.iterations_oracle}
        row |= {"first_divergence": parity.first_divergence}
        row |= {f"{yardstick}_{measure}": x for yardstick, errors in parity.errors.items() for measure, x in errors.items()}
    if outcome.diagnosis:
        said = outcome.diagnosis
        row |= {"cause": said.cause, "confidence": said.confidence, "cause_sentence": said.sentence, "fix": said.fix}
    if outcome.exit:
        row |= {"exit_code": outcome.exit.code, "exit_name": outcome.exit.name, "signal": outcome.exit.signal}
    if outcome.cuda:
        row |= {"cuda_code": outcome.cuda.code, "cuda_name": outcome.cuda.name}
    if outcome.exception:
        row |= {"exception_type": outcome.exception.type, "exception_message": outcome.exception.message}
    return {name: clean(value) if isinstance(value, str) else value for name, value in row.items()}
