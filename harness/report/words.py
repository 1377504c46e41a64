"""An outcome in few words: how its cell in the matrix reads, its mark, and one line that says what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.outcome import Kind, Outcome
from harness.report.text import clean, count, number, shorten

MARKS = {True: "\u2713", False: "\u2717", None: "\u2013"}
MARK_MEANINGS = {True: "as expected", False: "not as expected", None: "not judged"}
WRONG_POSE, WRONG_RESULT, UNEXPECTED_POSE = "WRONG POSE", "WRONG RESULT", "UNEXPECTED POSE"
BASELINE = "baseline"
PLAIN = "plain"
"""A replay without a tool, in the application's own memory and the recorded layout."""

KIND_MEANINGS: dict[Kind, str] = {
    Kind.OK: "a result came back",
    Kind.SOLVER_STATUS: "the solver said by this status that it has no pose",
    Kind.RAISED: "a Python exception",
    Kind.CRASHED: "the process died",
    Kind.CUDA_ERROR: "the CUDA driver or runtime reported an error",
    Kind.TIMEOUT: "ended at the time limit",
    Kind.FINDINGS: "a sanitizer or a memory mode found something",
    Kind.INCONCLUSIVE: "not enough evidence for any other word",
    Kind.UNAVAILABLE: "could not be tried on this machine",
}
_WORD_MEANINGS = {
    WRONG_POSE: "a pose came back, and it is not the oracle's",
    WRONG_RESULT: "a result came back, and it is not the oracle's",
    UNEXPECTED_POSE: "a pose came back where the oracle has none",
}
_MEMORY = {"exact": "exact allocations", "poison": "poisoned memory"}


def judgement(outcome: Outcome) -> bool | None:
    """Whether it is as its case expects. None where nobody judges: what could not be tried, and a baseline that ran."""
    return outcome.expected if outcome.judged or outcome.expected is False else None


@dataclass(frozen=True)
class Counts:
    """``failed`` of ``judged`` were not as expected; ``baseline`` ran and nobody judges it; ``not_run`` could not be tried."""

    judged: int
    failed: int
    baseline: int
    not_run: int


def counted(outcomes: Sequence[Outcome]) -> Counts:
    judged = [outcome for outcome in outcomes if judgement(outcome) is not None]
    return Counts(
        len(judged),
        sum(outcome.expected is False for outcome in judged),
        sum(outcome.expected is not None for outcome in outcomes) - len(judged),
        sum(outcome.kind is Kind.UNAVAILABLE for outcome in outcomes),
    )


def mark(outcome: Outcome) -> str:
    return MARKS[judgement(outcome)]


def meaning(outcome: Outcome) -> str:
    """The mark in words, for who does not see it."""
    return MARK_MEANINGS[judgement(outcome)]


def how_words(how: str) -> str:
    """``none+poison`` as people say it: poisoned memory."""
    rest, _, layout = how.partition("@")
    tool, _, memory = rest.partition("+")
    words = ("" if tool == "none" else tool, _MEMORY.get(memory, memory), f"layout {layout}" if layout else "")
    return clean(", ".join(word for word in words if word)) or PLAIN


def solver_labels(names: Iterable[str]) -> dict[str, str]:
    """Each name with only so many of its folders as tell it from the others, on one short line."""
    distinct = list(dict.fromkeys(names))
    kept = dict.fromkeys(distinct, 1)
    while True:
        labels = {name: _label(name, n) for name, n in kept.items()}
        used = Counter(labels.values())
        alike = [name for name in distinct if used[labels[name]] > 1 and _label(name, kept[name] + 1) != labels[name]]
        if not alike:
            return {name: shorten(label, 60) for name, label in labels.items()}
        for name in alike:
            kept[name] += 1


def _label(name: str, folders: int) -> str:
    """The last parts of the path that a name has: ``/home/me/fast.py:make``, ``mast3r-slam:C:\\tracker``. A revision is no path."""
    prefix, path = ("", name) if ".py" in name else name.split(":", 1) if ":" in name else (name, "")
    prefix += ":" if prefix and path else ""
    return prefix + "/".join(path.replace("\\", "/").split("/")[-folders:])


def is_off(outcome: Outcome) -> bool:
    """A result came back, is held to parity, and fails it."""
    return outcome.kind is Kind.OK and outcome.judged and outcome.parity is not None and outcome.parity.get("within") is not True


def style(outcome: Outcome) -> str:
    """The CSS class of an outcome's colour."""
    if outcome.kind is Kind.OK and outcome.expected is False:
        return "k-wrong"
    if outcome.kind is Kind.OK and not outcome.judged:
        return "k-baseline"
    return "k-" + outcome.kind.value.lower().replace("_", "-")


def label(outcome: Outcome) -> tuple[str, str]:
    """(word, detail), e.g. ("CRASHED", "SIGSEGV"). The word is the outcome's kind where nothing says it better."""
    if outcome.kind is Kind.SOLVER_STATUS:
        return clean(str(outcome.status)), ""
    if outcome.kind is Kind.OK and outcome.judged and outcome.expected is False:
        if outcome.parity is None:
            return UNEXPECTED_POSE, ""
        if is_off(outcome):
            return (WRONG_RESULT if "op_value" in outcome.values else WRONG_POSE), ""
    return outcome.kind.value, shorten(_detail(outcome), 48)


def key_entry(outcome: Outcome) -> tuple[str, str, str]:
    """(CSS class, words, meaning): what the key to the colours says of it."""
    word, detail = label(outcome)
    if detail == BASELINE:
        return style(outcome), f"{word} {detail}", "the pose of a solver that claims no parity: nobody judges it"
    return style(outcome), word, _WORD_MEANINGS.get(word) or KIND_MEANINGS[outcome.kind]


def _detail(outcome: Outcome) -> str:
    if is_off(outcome):
        return "another pose"  # and the case does not mind
    if outcome.kind is Kind.OK:
        if not outcome.judged:
            return BASELINE
        return "" if outcome.status == "CONVERGED" and outcome.expected is not False else str(outcome.status)
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
