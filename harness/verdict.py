"""What an outcome means: as the case expects or not, and one sentence that says what happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from harness.case import Case, CaseDocument
from harness.compare import parity
from harness.diagnosis import Evidence, diagnose, signature
from harness.diagnosis.engine import is_wrong
from harness.diagnosis.inputs import input_facts
from harness.divergence import explain_trace
from harness.outcome import Kind, Outcome
from harness.sanitizer.words import in_words


def judge(outcome: Outcome, oracle: Outcome, case: Case, siblings: Sequence[Outcome] = ()) -> Outcome:
    """The outcome with its parity, whether the case expected it, a verdict, and where something is wrong its cause.

    ``siblings`` are the other outcomes of the case: what a tool, another memory or another layout showed may name the cause. An
    outcome that did not run expects nothing.
    """
    measured = _with_trace_cause(parity(outcome, oracle, case), outcome, oracle, case)
    expected, why_not = _expected(dataclasses.replace(outcome, parity=measured), oracle, case.document)
    sentence = describe(dataclasses.replace(outcome, parity=measured))
    if why_not:
        sentence = f"{sentence} Not {'expected' if expected is False else 'judged'}: {why_not}."
    judged = dataclasses.replace(
        outcome, parity=measured, expected=expected, verdict=sentence, input={}, diagnosis=None, signature=""
    )
    return _diagnosed(judged, oracle, case, tuple(siblings))


def _with_trace_cause(measured: dict[str, Any] | None, outcome: Outcome, oracle: Outcome, case: Case) -> dict[str, Any] | None:
    """Which wrong update leads from each pose of its trace to the next, where the trace leaves the oracle's."""
    if measured is None or measured.get("first_divergence") is None:
        return measured
    told = explain_trace(case, outcome.trace, oracle)
    return measured if told is None else measured | {"trace_cause": told}


def _diagnosed(outcome: Outcome, oracle: Outcome, case: Case, siblings: tuple[Outcome, ...]) -> Outcome:
    if not is_wrong(Evidence(outcome)):
        return outcome
    seen = dataclasses.replace(outcome, input=input_facts(case))
    diagnosis = diagnose(Evidence(seen, siblings, oracle))
    return dataclasses.replace(seen, diagnosis=diagnosis, signature=signature(seen))


def _expected(outcome: Outcome, oracle: Outcome, document: CaseDocument) -> tuple[bool | None, str]:
    """Whether the case expects this, and why it does not or why nobody can tell (None)."""
    if outcome.kind is Kind.UNAVAILABLE:
        return None, ""
    if not outcome.judged:
        fine = outcome.kind in (Kind.OK, Kind.SOLVER_STATUS)
        return fine, "" if fine else "a baseline must run"
    if outcome.broke_its_promise:
        return False, "a status that promises a pose must come with one"
    want = document.expect
    if outcome.kind.value not in want.outcomes:
        return False, f"the case expects {' or '.join(want.outcomes)}"
    statuses = [status.value for status in want.statuses]
    if statuses and outcome.status not in statuses:
        return False, f"the case expects status {' or '.join(statuses)}"
    if outcome.kind is Kind.OK and want.parity:
        if outcome.parity is None and oracle.kind not in (Kind.OK, Kind.SOLVER_STATUS):
            return None, f"there is no oracle to compare with; {describe(oracle).rstrip('.')}"
        if outcome.parity is None:
            return False, "the oracle gave no pose to compare with"
        if not outcome.parity["within"]:
            return False, "the case expects the oracle's pose"
    return True, ""


def describe(outcome: Outcome) -> str:
    """One sentence, from the evidence alone."""
    who = f"{outcome.solver} on {outcome.case}"
    match outcome.kind:
        case Kind.OK:
            return _describe_ok(outcome, who)
        case Kind.SOLVER_STATUS:
            return f"{who} gave no pose: {outcome.status}." + "".join(f" ({note})" for note in outcome.notes)
        case Kind.RAISED:
            assert outcome.exception is not None
            return f"{who} raised {outcome.exception.type}: {_first_line(outcome.exception.message)}."
        case Kind.CUDA_ERROR:
            assert outcome.cuda is not None
            after = "; nothing more can run on the GPU in that process" if outcome.cuda.sticky else ""
            return f"{who} ended in {outcome.cuda.name} ({outcome.cuda.code}): {outcome.cuda.meaning}{after}."
        case Kind.CRASHED:
            assert outcome.exit is not None
            found = "".join(f" {_by(outcome)}: {in_words(finding)}." for finding in outcome.findings[:1])
            return f"{who} died of {outcome.exit.name} at stage {outcome.stage!r}: {outcome.exit.meaning}.{found}"
        case Kind.TIMEOUT:
            return f"{who} was still at stage {outcome.stage!r} after {outcome.limit_s:g} s and was ended."
        case Kind.FINDINGS:
            many = len(outcome.findings)
            found = f"found {many} fault{'' if many == 1 else 's, the first'}"
            return f"{who}: {_by(outcome)} {found}: {in_words(outcome.findings[0])}."
        case Kind.INCONCLUSIVE | Kind.UNAVAILABLE:
            word = "could not be judged" if outcome.kind is Kind.INCONCLUSIVE else "was not run"
            return f"{who} {word}: {outcome.reason}."


def _describe_ok(outcome: Outcome, who: str) -> str:
    if outcome.parity is None:
        return f"{who} returned a pose, {outcome.status}; there was none to compare it with."
    if not outcome.judged:
        return f"{who} kept the initial pose: {outcome.parity['why']}."
    agrees = "agrees with the oracle" if outcome.parity["within"] else "differs from the oracle"
    return f"{who} {agrees}: {outcome.parity['why']}."


def _by(outcome: Outcome) -> str:
    """Who found what was found first."""
    return str(outcome.findings[0].get("tool") or (outcome.memory if outcome.tool == "none" else outcome.tool))


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0][:300].rstrip(".")
