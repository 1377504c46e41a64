"""The section of a report that says what a bisect found: complete, and safe whatever the repository or the file holds."""

from __future__ import annotations

import json

import pytest
from html_tree import parse

from harness.bisect import document as documents
from harness.bisect.document import Bisected, CommitFacts, Suspect
from harness.bisect.section import bisect_section
from harness.errors import ResultError

A, B, C = ("a" * 40, "b" * 40, "c" * 40)
HOSTILE = "</section><script>alert(1)</script>\x1b[31m\u202e & \"quoted\" 'too'"


def facts(sha: str, subject: str = "a subject") -> dict[str, str]:
    return {"sha": sha, "subject": subject, "author": "A Writer", "date": "2026-01-01T00:00:00+00:00"}


def row(sha: str, verdict: str, **more) -> documents.Tested:
    counts = {"shown": 0, "absent": 3, "other": 0, "unavailable": 0, "odds_log10": -3.1, "median": None, "said": "fine"}
    return documents.Tested(**facts(sha), verdict=verdict, **counts | more)


def result(**more) -> Bisected:
    given = {
        "id": "bisect-x", "fingerprint": "f", "command": "harness bisect CASE", "started": "now", "finished": "now", "case": "a",
        "solver": "native", "tool": "ubsan", "memory": "pool", "confidence": 0.95, "good": CommitFacts(**facts(A)),
        "bad": CommitFacts(**facts(C)), "commits": 7, "what": "failure", "target": "the failure crash | x", "p_shown_if_bad": 0.9,
        "p_shown_if_good": 0.1, "decided": True, "first_bad": Suspect(**facts(C, "broke it"), probability=0.999),
        "before": CommitFacts(**facts(B)), "suspects": (Suspect(**facts(C, "broke it"), probability=0.999),),
        "tested": (row(A, "good"), row(B, "skipped", absent=0, unavailable=1), row(C, "bad", shown=3, absent=0)),
        "runs": 9, "diff": "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old line\n+new line\n same",
    }  # fmt: skip
    return Bisected(**given | more)


def section(folder, document: Bisected) -> str:
    documents.write(folder, document)
    return bisect_section(folder)


def test_a_run_that_is_of_no_bisect_has_none(tmp_path):
    assert bisect_section(tmp_path) == ""


def test_the_first_bad_commit_with_its_diff_and_all_that_was_run(tmp_path):
    html = section(tmp_path, result())
    assert documents.read(tmp_path) == result()
    text = parse(html).text
    for said in (
        "broken by cccccccccccc", "broke it", C, "the failure crash | x, 99.9 % sure", "7 commits change the solver",
        "9 runs of 3 commits", "under ubsan", "Again: harness bisect CASE", "? skipped", "0 of 0, not run", "3 of 3", "+new line",
    ):  # fmt: skip
        assert said in text, said
    assert '<span class="plus">+new line</span>' in html and '<span class="minus">-old line</span>' in html
    assert '<span class="hunk">+++ b/x</span>' in html and html.count("failed-row") == 1
    assert "median" not in text and "does not fit" not in text


def test_a_range_says_that_nothing_was_decided(tmp_path):
    pair = (Suspect(**facts(B, "perhaps"), probability=0.5), Suspect(**facts(C, "or this"), probability=0.49))
    text = parse(section(tmp_path, result(decided=False, first_bad=None, suspects=pair, diff=""))).text
    assert "one of 2 commits broke it" in text and "Not decided" in text and "99 % sure" in text
    assert "50.0 %: perhaps" in text and "49.0 %: or this" in text and "What it changed" not in text


def test_a_number_has_its_medians_and_what_does_not_fit_is_named(tmp_path):
    rows = (row(A, "bad", median=1.5), row(B, "good", median=float("nan")))
    text = parse(section(tmp_path, result(what="time", target="time > 1.2 times GOOD's", tested=rows, against=(B,)))).text
    assert "time (median)" in text and "1.5" in text and "nan" in text and "does not fit: after a bad one" in text


def test_texts_of_a_repository_stay_text(tmp_path):
    hostile = result(
        target=HOSTILE, command=HOSTILE, case=HOSTILE, diff=f"+{HOSTILE}",
        first_bad=Suspect(**facts(C, HOSTILE), probability=1.0), tested=(row(C, "bad", said=HOSTILE),),
    )  # fmt: skip
    html = section(tmp_path, hostile)
    assert "<script" not in html and html.count("</section>") == 1 and "\x1b" not in html and "\u202e" not in html
    assert "alert(1)" in parse(html).text


def test_a_long_diff_is_cut_and_says_so(tmp_path):
    html = section(tmp_path, result(diff="+x\n" * 3000))
    assert html.count('<span class="plus">') == 2000 and "git show cccccccccccc" in html
    assert "The rest is left out" in section(tmp_path, result(diff_cut=True))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2), ("tested", [{}]), ("what", "else"), ("extra", 1), ("first_bad", {"sha": "../x"}), ("runs", "many"),
        ("suspects", None), ("decided", "perhaps"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_names_the_field(tmp_path, field, value):
    (tmp_path / documents.FILE).write_text(json.dumps(json.loads(result().model_dump_json()) | {field: value}))
    with pytest.raises(ResultError, match=rf"bisect.json: {field}"):
        bisect_section(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", '"x"'])
def test_a_file_that_is_no_document_is_an_error_not_a_traceback(tmp_path, text):
    (tmp_path / documents.FILE).write_text(text)
    with pytest.raises(ResultError, match=r"bisect\.json: json"):
        bisect_section(tmp_path)
