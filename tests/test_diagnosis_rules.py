"""Every rule names its cause, keeps quiet on its near miss, quotes what is there, and says what would refute it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from diagnosis_evidence import died, evidence, off, oracle
from diagnosis_near import NEAR
from diagnosis_rows import ROWS as FIRST_ROWS
from diagnosis_rows import Row
from diagnosis_rows_more import MORE_ROWS

from harness.diagnosis.engine import RULES, diagnose
from harness.diagnosis.evidence import LABELS, Evidence, text_of
from harness.diagnosis.rule import SIDES
from harness.diagnosis.stages import in_words
from harness.diagnosis.updates import REMEDIES, UNKNOWN_UPDATE, remedy_of
from harness.divergence import UPDATES, Explanation
from harness.jsonfile import dumps
from harness.outcome import CONFIDENCES, STAGES, Outcome

ROWS = [*FIRST_ROWS, *MORE_ROWS]
DOCS = Path(__file__).parent.parent / "docs" / "failure-modes.md"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_rule_names_its_cause(row: Row) -> None:
    diagnosis = diagnose(row.fires)
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.confidence) == (row.cause, row.confidence), diagnosis.sentence
    unsure = row.confidence == "unknown" and row.side != "Unknown"
    assert diagnosis.sentence.startswith(f"{row.side}, cause unknown: " if unsure else f"{row.side}: ")
    assert diagnosis.sentence.endswith(".") and "\n" not in diagnosis.sentence
    assert diagnosis.refute and diagnosis.test and diagnosis.fix


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_rule_keeps_quiet_on_its_near_miss(row: Row) -> None:
    diagnosis = diagnose(row.near)
    assert diagnosis is None or diagnosis.cause != row.cause, diagnosis.sentence


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_so_does_the_rule_by_itself(row: Row) -> None:
    """Not only because another one came first. A rule that sees its cause contradicted says so, which is not naming it."""
    matches = [rule.match(row.near) for rule in RULES if rule.cause == row.cause]
    assert [match for match in matches if match is not None and not match.against] == []


@pytest.mark.parametrize(("cause", "near"), [(cause, near) for cause, all_near in NEAR.items() for near in all_near])
def test_rule_keeps_quiet_on_other_near_misses(cause: str, near: Evidence) -> None:
    matches = [rule.match(near) for rule in RULES if rule.cause == cause]
    assert matches and not any(matches)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_fact_is_a_quotation_of_the_evidence(row: Row) -> None:
    diagnosis = diagnose(row.fires)
    assert diagnosis is not None and diagnosis.facts
    for fact in diagnosis.facts:
        assert_quoted(row.fires, fact.quote, fact.where)


def assert_quoted(e: Evidence, quote: str, where: str) -> None:
    outcomes = [it for it in (e.outcome, *e.siblings, e.oracle) if it is not None]
    owner = next((it for it in outcomes if where.startswith(f"{it.case} / {it.solver} / {it.how}: ")), None)
    line = re.search(r": ([\w.]+), line (\d+)$", where)
    if owner is not None and line is not None:
        text = [text_of(it, line[1]).splitlines() for it in outcomes if where.startswith(f"{it.case} / {it.solver} / {it.how}: ")]
        assert any(quote.removesuffix(" ...") in lines[int(line[2]) - 1] for lines in text if len(lines) >= int(line[2])), (
            quote,
            where,
        )
        return
    label = LABELS.get(where.rpartition(": ")[2])
    if owner is not None and label is not None:
        quote = quote.removeprefix(f"{label}: ").removeprefix("yes")
    known = _written(owner) if owner is not None else dumps(dataclasses.asdict(e.documents))
    quote = re.sub(r"^(this GPU|not in torch): ", "", quote)
    missing = [word for word in re.findall(r"\w{3,}", quote) if word not in known and not word.startswith("0x")]
    assert not missing, (quote, where, missing)


def _written(outcome: Outcome) -> str:
    return json.dumps(outcome.to_json(), default=str).replace("\\n", "\n")


def test_every_rule_has_a_row_and_every_row_a_rule() -> None:
    assert {row.cause for row in ROWS} == {rule.cause for rule in RULES}


def test_every_rule_says_what_it_looks_for() -> None:
    for rule in RULES:
        assert re.match(r"[A-Z0-9].*\.$", rule.summary), rule.cause


def test_every_cause_is_in_the_users_table() -> None:
    table = DOCS.read_text(encoding="utf-8")
    assert [rule.cause for rule in RULES if f"`{rule.cause}`" not in table] == []


def test_every_side_and_confidence_occurs() -> None:
    assert {row.side for row in ROWS} == set(SIDES)
    assert {row.confidence for row in ROWS} == set(CONFIDENCES)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_diagnosis_survives_its_file(row: Row) -> None:
    diagnosis = diagnose(row.fires)
    outcome = dataclasses.replace(row.fires.outcome, diagnosis=diagnosis)
    read = Outcome.from_json(json.loads(dumps(outcome.to_json())))
    assert read.diagnosis == diagnosis


def test_every_known_wrong_update_has_its_own_remedy_and_refutation() -> None:
    assert list(REMEDIES) == [name for name, _, _ in UPDATES]
    fixes = [remedy.fix for remedy in REMEDIES.values()]
    assert len(set(fixes)) == len(fixes)
    for name, formula, _ in UPDATES:
        told = str(Explanation(name, formula, 0, 4, 0.003, 0.12, ()))
        diagnosis = diagnose(evidence(off(parity={"trace_cause": told}), oracle=oracle()))
        assert diagnosis is not None and diagnosis.cause == "wrong-update"
        assert diagnosis.sentence.startswith(f"Mathematics: {name}: from iteration 0 on")
        assert (diagnosis.fix, diagnosis.refute) == (REMEDIES[name].fix, REMEDIES[name].refute)
    assert remedy_of("an update of a later version: from iteration 0 on") is UNKNOWN_UPDATE


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_fact_is_a_bare_value(row: Row) -> None:
    """A number, a word of JSON or a list says nothing by itself."""
    diagnosis = diagnose(row.fires)
    assert diagnosis is not None
    for fact in diagnosis.facts:
        assert not re.fullmatch(r"[-+\d.e]+|true|false|null|yes|no|(sm|compute)_\w+|_Z\w+|[\[{].*|", fact.quote), fact


def test_every_stage_has_words_of_its_own() -> None:
    stages = ["none", *STAGES, "iteration 3", "again: end of each window against a guard page"]
    words = [in_words(stage) for stage in stages]
    assert len(set(words)) == len(words) and not any("stage" in word for word in words)
    for stage, word in zip(stages, words, strict=True):
        diagnosis = diagnose(evidence(died(-11, faulthandler="", stage=stage)))
        assert diagnosis is not None
        assert diagnosis.sentence.endswith(f"the process died because it read or wrote memory that it must not touch, {word}.")


def test_the_page_of_outcomes_names_every_confidence() -> None:
    page = DOCS.with_name("outcomes.md").read_text(encoding="utf-8")
    assert f"confidence ({', '.join(f'`{word}`' for word in CONFIDENCES)})" in page
