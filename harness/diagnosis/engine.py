"""The rules in the order they are asked, the most specific first, and what becomes of an answer. Evidence in, diagnosis out."""

from __future__ import annotations

from harness.diagnosis import (
    rules_collision,
    rules_cuda,
    rules_exits,
    rules_findings,
    rules_maths,
    rules_memory,
    rules_packages,
    rules_quoted,
    rules_tools,
)
from harness.diagnosis.evidence import Evidence, fact
from harness.diagnosis.rule import NOT_KNOWN, SIDES, UNKNOWN, Match, Rule
from harness.diagnosis.stages import in_words
from harness.outcome import Diagnosis, Fact, Kind

RULES: tuple[Rule, ...] = (
    # What a tool says of itself comes before what it says of the program,
    *rules_tools.FIRST, *rules_findings.FIRST,
    # the collision before everything that it looks like,
    *rules_collision.RULES, *rules_memory.RULES,
    # an empty launch before the error that it ends in, a finding before the error that follows from it,
    *rules_cuda.FIRST, *rules_findings.RULES, *rules_cuda.RULES, *rules_packages.RULES,
    *rules_quoted.RULES, *rules_maths.RULES, *rules_tools.RULES, *rules_exits.RULES, *rules_cuda.BEFORE_SYMPTOMS,
    # and what only names the symptom last.
    *rules_cuda.LAST, *rules_findings.LAST, *rules_memory.LAST, *rules_maths.LAST, *rules_tools.LAST, *rules_exits.LAST,
)  # fmt: skip

MAX_FACTS = 12
_MAX_SENTENCE = 600


def diagnose(e: Evidence) -> Diagnosis | None:
    """The cause of an outcome, or that it is unknown. None for an outcome in which nothing is wrong."""
    if not is_wrong(e):
        return None
    for rule in RULES:
        match = rule.match(e)
        if match is not None:
            return _contradicted(rule, match) if match.against else _stated(rule, match, e)
    return _nothing_known(e)


def is_wrong(e: Evidence) -> bool:
    """Whether there is anything to explain. An outcome that its case expects is as it should be, its iterations excepted.

    One that a specimen must show is not.
    """
    o = e.outcome
    if o.findings or (o.parity or {}).get("trace_cause"):
        return True
    if o.tool != "none" and o.tool_state not in (None, "clean"):
        return True
    if o.expected is not None and not e.documents.planted:
        return not o.expected
    return o.kind not in (Kind.OK, Kind.SOLVER_STATUS) or e.off


def sentence(side: str, claim: str, *, known: bool = True) -> str:
    """``Host: ...``, or where only the side is known ``Host, cause unknown: ...``."""
    assert side in SIDES
    text = f"{side}{'' if known or side == UNKNOWN else ', cause unknown'}: {claim}."
    return text if len(text) <= _MAX_SENTENCE else text[: _MAX_SENTENCE - 5] + " ...."


def _stated(rule: Rule, match: Match, e: Evidence) -> Diagnosis:
    known = match.confidence != NOT_KNOWN
    text = sentence(match.side, match.claim, known=known)
    return Diagnosis(rule.cause, match.confidence, text, _facts(match.facts or _kind(e)), match.refute, match.test, match.fix)


def _contradicted(rule: Rule, match: Match) -> Diagnosis:
    """Two pieces of evidence that cannot both be right: nothing is claimed, and both are named."""
    text = sentence(match.side, f"it looks like {rule.cause}, but this contradicts it: {match.against[0].quote}", known=False)
    facts = (*match.against, *match.facts)
    return Diagnosis("contradiction", NOT_KNOWN, text, _facts(facts), f"for {rule.cause}: {match.refute}", match.test,
                     "run both pieces of evidence again, on one machine and one build")  # fmt: skip


def _nothing_known(e: Evidence) -> Diagnosis:
    text = sentence(UNKNOWN, f"no rule knows this {e.outcome.kind.value}; it came about {in_words(e.outcome.stage)}")
    return Diagnosis(
        "unknown", NOT_KNOWN, text, _kind(e), "nothing is claimed that could be refuted", e.command(), "look at its output"
    )


def _kind(e: Evidence) -> tuple[Fact, ...]:
    return (fact(e.outcome, "outcome", e.outcome.kind.value),)


def _facts(facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    return tuple(dict.fromkeys(facts))[:MAX_FACTS]
