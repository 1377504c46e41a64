"""An outcome in few words: how its cell in the matrix reads, its mark, and one line that says what happened."""

from __future__ import annotations

from harness.outcome import Kind, Outcome
from harness.report.text import clean, count, number, shorten

MARKS = {True: "\u2713", False: "\u2717", None: "\u2013"}
MARK_MEANINGS = {True: "as expected", False: "not as expected", None: "not judged"}

KIND_MEANINGS: dict[Kind, str] = {
    Kind.OK: "a result came back",
    Kind.SOLVER_STATUS: "the solver said by a status that it has no pose",
    Kind.RAISED: "a Python exception",
    Kind.CRASHED: "the process died",
    Kind.CUDA_ERROR: "the CUDA driver or runtime reported an error",
    Kind.TIMEOUT: "ended at the time limit",
    Kind.FINDINGS: "a sanitizer found something",
    Kind.INCONCLUSIVE: "not enough evidence for any other word",
    Kind.UNAVAILABLE: "could not be tried on this machine",
}


def is_off(outcome: Outcome) -> bool:
    """A result came back, is held to parity, and fails it."""
    return outcome.kind is Kind.OK and outcome.judged and outcome.parity is not None and outcome.parity.get("within") is not True


def style(outcome: Outcome) -> str:
    """The CSS class of an outcome's colour."""
    if outcome.kind is Kind.OK and outcome.expected is False:
        return "k-wrong"
    return "k-" + outcome.kind.value.lower().replace("_", "-")


def label(outcome: Outcome) -> tuple[str, str]:
    """(kind, detail), e.g. ("CRASHED", "SIGSEGV")."""
    if outcome.kind is Kind.SOLVER_STATUS:
        return clean(str(outcome.status)), ""
    return outcome.kind.value, shorten(_detail(outcome), 48)


def _detail(outcome: Outcome) -> str:
    if is_off(outcome):
        return "out of tolerance"
    if outcome.kind is Kind.OK:
        if not outcome.judged:
            return "baseline"
        return "" if outcome.status == "CONVERGED" else str(outcome.status)
    if outcome.kind is Kind.RAISED and outcome.exception:
        return outcome.exception.type
    if outcome.kind is Kind.CRASHED and outcome.exit:
        return outcome.exit.signal or outcome.exit.name
    if outcome.kind is Kind.CUDA_ERROR and outcome.cuda:
        return str(outcome.cuda.code)
    if outcome.kind is Kind.TIMEOUT:
        return f"{number(outcome.limit_s)} s"
    if outcome.kind is Kind.FINDINGS:
        return str(len(outcome.findings))
    return ""


def what_happened(outcome: Outcome) -> str:
    """The verdict the run came to, or, where it has none, a plain sentence from the payload."""
    return shorten(outcome.verdict or _sentence(outcome), 400)


def _sentence(outcome: Outcome) -> str:
    after = f" The last stage reached was {outcome.stage!r}."
    if is_off(outcome) and outcome.parity:
        return f"A result came back, out of tolerance: {outcome.parity.get('why')}."
    if outcome.kind is Kind.OK:
        return f"A result came back ({outcome.status})."
    if outcome.kind is Kind.SOLVER_STATUS:
        return f"The solver has no pose: {outcome.status}."
    if outcome.kind is Kind.RAISED and outcome.exception:
        return f"{outcome.exception.type}: {outcome.exception.message}." + after
    if outcome.kind is Kind.CRASHED and outcome.exit:
        return f"The process died: {outcome.exit.name} ({outcome.exit.meaning})." + after
    if outcome.kind is Kind.CUDA_ERROR and outcome.cuda:
        return f"CUDA error {outcome.cuda.code} {outcome.cuda.name}." + after
    if outcome.kind is Kind.TIMEOUT:
        return f"Still running after {number(outcome.limit_s)} s." + after
    if outcome.kind is Kind.FINDINGS:
        return f"{count(len(outcome.findings), 'finding')} by {outcome.how}." + after
    return outcome.reason or outcome.kind.value
