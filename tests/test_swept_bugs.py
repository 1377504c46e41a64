"""A fault that only a layout sweep found is a bug like any other: diagnosed, exported, compared, and never called as expected."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from html_tree import check_links, parse
from report_run import write_run
from swept_run import ALIGNMENT, CASE, CHANCE, HEALTHY, RULE, SOLVER, crashed, fine, swept_run, write_sweep, wrong

from harness.diagnosis.ofrun import read_diagnosed, swept_faults
from harness.errors import UsageError
from harness.forms.junit import junit
from harness.forms.markdown import markdown
from harness.forms.pick import pick
from harness.forms.sarif import sarif
from harness.history import entries
from harness.jsonfile import write_json
from harness.outcome import RECORDED, Kind
from harness.outcome import how as way
from harness.report.write import write_report
from harness.run import SWEPT, read_run
from harness.rundiff import FIXED, NEW, NOT_COMPARABLE, SAME, diff

ROOT = Path(__file__).parents[1]


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "harness", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120)


# --- diagnosed --------------------------------------------------------------------------------------------------------------------


def test_the_rule_is_the_claim_of_a_bug_of_its_own(tmp_path):
    found = read_diagnosed(swept_run(tmp_path / "run"))
    (bug,) = found.bugs
    said = bug.diagnosis
    assert (said.cause, said.confidence, bug.failure) == ("misaligned", "likely", True)
    assert said.sentence == "Host: a misaligned access: it fails exactly when T_WCk mod 16 != 0."
    assert RULE in [fact.quote for fact in said.facts] and said.refute and said.fix
    assert said.test.endswith("--layouts") and "--layout " not in said.test  # a sweep begins with the recorded layout
    assert bug.outcomes == ((CASE, SOLVER, "none@shift-4"), (CASE, SOLVER, "none@shift-8"))
    assert [it.layout for it in found.showing(bug)] == ["shift-4", "shift-8"]


def test_harness_diagnose_ends_with_1(tmp_path):
    done = cli("diagnose", str(swept_run(tmp_path / "run")))
    assert done.returncode == 1 and "T_WCk mod 16 != 0" in done.stdout and "1 failure among them" in done.stdout
    done = cli("diagnose", str(swept_run(tmp_path / "healthy", "healthy in all 3 layouts tried", HEALTHY)))
    assert done.returncode == 0 and "nothing is wrong here" in done.stdout


def test_what_fails_alike_as_recorded_is_one_bug_with_it(tmp_path):
    swept = [(crashed(RECORDED), 4), *ALIGNMENT[1:]]
    (bug,) = read_diagnosed(swept_run(tmp_path / "run", swept=swept)).bugs
    assert [how for _, _, how in bug.outcomes] == ["none", "none@shift-4", "none@shift-8"]


def test_each_sort_of_fault_has_its_own_rule(tmp_path):
    rule = "CRASHED SIGSEGV exactly when T_WCk mod 16 != 0; OK out of tolerance exactly when Xf is not contiguous"
    swept = [*ALIGNMENT, (wrong("strided"), 0)]
    bugs = {bug.diagnosis.cause: bug for bug in read_diagnosed(swept_run(tmp_path / "run", rule, swept)).bugs}
    assert set(bugs) == {"misaligned", "assumes-contiguous"}
    assert bugs["assumes-contiguous"].diagnosis.sentence.endswith("it fails exactly when Xf is not contiguous.")
    assert [how for _, _, how in bugs["assumes-contiguous"].outcomes] == ["none@strided"]


def test_a_rule_that_the_layouts_contradict_is_not_claimed(tmp_path):
    (bug,) = read_diagnosed(swept_run(tmp_path / "run", swept=[*ALIGNMENT, (fine("shift-12"), 12)])).bugs
    assert (bug.diagnosis.cause, bug.diagnosis.confidence) == ("depends-on-layout", "possible")
    assert "exactly when" not in bug.diagnosis.sentence and "2 of 5 layouts" in bug.diagnosis.sentence


def test_chance_is_said_to_be_chance(tmp_path):
    rule = "faults by chance: 1 of 2 times in shift-4, 0 of 2 times in recorded"
    (bug,) = read_diagnosed(swept_run(tmp_path / "run", rule, CHANCE, state="by chance")).bugs
    assert (bug.diagnosis.cause, bug.diagnosis.confidence) == ("not-repeatable", "possible")
    assert rule.removeprefix("faults ") in bug.diagnosis.sentence


@pytest.mark.parametrize("faulty", ["pool", "poison"])
def test_the_sweep_of_another_way_of_running_says_nothing_of_this_one(tmp_path, faulty):
    folder = write_run(tmp_path / "run", [fine(RECORDED)])
    for memory in ("pool", "poison"):
        rule, swept = (RULE, ALIGNMENT) if memory == faulty else ("healthy in all 3 layouts tried", HEALTHY)
        write_sweep(folder, rule, [(dataclasses.replace(it, memory=memory), mod) for it, mod in swept])
    (bug,) = read_diagnosed(folder).bugs
    assert [how for _, _, how in bug.outcomes] == [f"{way('none', faulty)}@{layout}" for layout in ("shift-4", "shift-8")]
    assert bug.diagnosis.cause == "misaligned"


def test_what_only_a_sweep_shows_comes_after_what_the_run_shows(tmp_path):
    """However many layouts show it: they are of one outcome."""
    theirs = dataclasses.replace(wrong(RECORDED), solver="theirs")
    folder = write_run(tmp_path / "run", [fine(RECORDED), theirs])
    write_sweep(folder, RULE, ALIGNMENT)
    assert [bug.diagnosis.cause for bug in read_diagnosed(folder).bugs] == ["wrong-pose", "misaligned"]


def test_damaged_or_missing_outcomes_of_a_sweep_cost_only_themselves(tmp_path):
    folder = swept_run(tmp_path / "run")
    first, second = sorted((folder / SWEPT).glob("*@shift-*.json"))
    first.write_text("{")
    assert [it.layout for it in swept_faults(read_run(folder))] == ["shift-8"]
    second.unlink()
    assert swept_faults(read_run(folder)) == ()


# --- in other forms ---------------------------------------------------------------------------------------------------------------


def test_junit_has_a_failed_test_case_for_it(tmp_path):
    root = ElementTree.fromstring(junit(read_diagnosed(swept_run(tmp_path / "run"))))
    own, layouts = root
    assert [suite.get("name") for suite in root] == [SOLVER, f"{SOLVER} layouts"]
    assert [(suite.get("tests"), suite.get("failures")) for suite in root] == [("1", "0"), ("1", "1")]
    failure = layouts.find("testcase/failure")
    assert (failure.get("type"), failure.get("message")) == ("LAYOUTS misaligned", RULE)
    for said in ("shift-4: CRASHED", "cause: Host: a misaligned access", "--layout shift-4"):
        assert said in failure.text
    assert own.find("testcase/failure") is None


@pytest.mark.parametrize(
    ("rule", "swept", "state", "tag"),
    [
        ("healthy in all 3 layouts tried", HEALTHY, "healthy everywhere", None),
        ("not run: no compiler",
         [(dataclasses.replace(fine(layout), kind=Kind.UNAVAILABLE, reason="no compiler", expected=None), 0)
          for layout in (RECORDED, "shift-4")], "not run", "skipped"),
    ],
)  # fmt: skip
def test_junit_has_one_for_every_sweep(tmp_path, rule, swept, state, tag):
    (_, layouts) = ElementTree.fromstring(junit(read_diagnosed(swept_run(tmp_path / "run", rule, swept, state=state))))
    (case,) = layouts.findall("testcase")
    assert [child.tag for child in case] == ([tag] if tag else []) and layouts.get("failures") == "0"


def test_markdown_has_a_bug_and_a_section(tmp_path):
    text = markdown(read_diagnosed(swept_run(tmp_path / "run")))
    assert text.startswith("## Pose solvers: 1 case \u00d7 1 solver: as recorded all 1 as expected; in other layouts 1 of 1 faults")
    assert "### 1. Host: a misaligned access" in text and "--layout shift-4" in text
    assert "### In other layouts: 1 of 1 sweep found a fault" in text and f"| `{CASE}` | `{SOLVER}` | `none` | `{RULE}` |" in text
    healthy = markdown(read_diagnosed(swept_run(tmp_path / "healthy", "healthy in all 3 layouts tried", HEALTHY)))
    assert "layouts" not in healthy and "all 1 as expected" in healthy


def test_sarif_has_a_result(tmp_path):
    (run,) = sarif(read_diagnosed(swept_run(tmp_path / "run")))["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"], result["occurrenceCount"]) == ("misaligned", "error", 2)
    assert "--layout shift-4" in result["message"]["text"] and result["locations"]


def test_the_report_says_so_at_its_top_and_leads_to_the_sweep(tmp_path):
    folder = swept_run(tmp_path / "run")
    tree = parse(write_report(folder).read_text(encoding="utf-8"))
    check_links(tree)
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "1 case \u00d7 1 solver: as recorded all 1 as expected; in other layouts 1 of 1 faults" in text
    assert f'<a href="#sweep-{CASE}--{SOLVER}--none">' in text and "a misaligned access" in text
    healthy = write_report(swept_run(tmp_path / "healthy", "healthy in all 3 layouts tried", HEALTHY)).read_text(encoding="utf-8")
    assert "1 case \u00d7 1 solver: all 1 as expected" in healthy


def test_a_fault_that_a_failure_as_recorded_has_too_is_counted_in_both(tmp_path):
    folder = swept_run(tmp_path / "run", swept=[(crashed(RECORDED), 4), *ALIGNMENT[1:]])
    text = write_report(folder).read_text(encoding="utf-8")
    assert "1 solver: as recorded 0 of 1 as expected, 1 failure; in other layouts 1 of 1 faults" in text


def test_a_bundle_can_be_made_of_it(tmp_path):
    folder = swept_run(tmp_path / "run")
    picked = pick(folder)
    assert (picked.outcome.layout, picked.others) == ("shift-4", 0) and picked.outcome in picked.run.outcomes
    assert picked.outcome.diagnosis is not None and picked.outcome.diagnosis.cause == "misaligned"
    assert pick(next((folder / SWEPT).glob("*@shift-8.json"))).outcome.layout == "shift-8"
    with pytest.raises(UsageError, match="nor one that faulted in its sweeps"):
        pick(next((folder / SWEPT).glob("*@aligned-512.json")))


# --- compared ---------------------------------------------------------------------------------------------------------------------


def test_runs_are_compared_sweep_by_sweep(tmp_path):
    bad, good = swept_run(tmp_path / "bad"), swept_run(tmp_path / "good", "healthy in all 3 layouts tried", HEALTHY)
    for a, b, what in ((good, bad, NEW), (bad, good, FIXED), (bad, bad, SAME), (good, good, SAME)):
        found = diff(read_run(a), read_run(b))
        (change,) = [it for it in found.changes if it.how == "layouts"]
        assert (change.case, change.solver, change.what, change.worse, found.worse) == (
            CASE,
            SOLVER,
            what,
            what == NEW,
            what == NEW,
        )
    (bug,) = diff(read_run(good), read_run(bad)).bugs
    assert bug.signature.startswith("crash | access-violation") and (bug.a, bug.b, bug.what) == (0, 1, NEW)
    done = cli("compare", str(good), str(bad))
    assert done.returncode == 1 and RULE in done.stdout


def test_a_run_without_the_sweep_and_one_that_gave_no_answer_are_not_compared(tmp_path):
    bad = read_run(swept_run(tmp_path / "bad"))
    without = read_run(swept_run(tmp_path / "without"))
    for file in sorted((without.folder / "sweeps").glob("*.json")):
        file.unlink()
    silent = [(dataclasses.replace(fine("shift-4"), kind=Kind.UNAVAILABLE, reason="no compiler", expected=None), 0)]
    not_run = swept_run(tmp_path / "not-run", "healthy in all 3 layouts tried", HEALTHY)
    write_sweep(not_run, "not run: no compiler", silent, state="not run")
    for other, why in ((without, "only in B"), (read_run(not_run), "A gave no result: not run: no compiler")):
        (change,) = [it for it in diff(other, bad).changes if it.how == "layouts"]
        assert (change.what, change.why) == (NOT_COMPARABLE, why)


def test_without_its_outcomes_a_sweep_still_has_its_faults(tmp_path):
    good, bad = read_run(swept_run(tmp_path / "good", "healthy", HEALTHY)), swept_run(tmp_path / "bad")
    for file in (bad / SWEPT).glob("*.json"):
        file.unlink()
    assert diff(good, read_run(bad)).worse


def test_the_history_has_its_bugs_and_counts_no_outcome_twice(tmp_path):
    (entry,) = entries(read_run(swept_run(tmp_path / "run")))
    assert (entry.ok, entry.failed, len(entry.bugs)) == (1, 0, 1) and entry.bugs[0].startswith("crash | access-violation")


def test_a_strangers_name_of_a_layout_leads_nowhere_else(tmp_path):
    folder = swept_run(tmp_path / "run")
    file = next((folder / "sweeps").glob("*.json"))
    document = json.loads(file.read_text(encoding="utf-8"))
    document["layouts"][1]["layout"] = f"/../../../outcomes/{0:05}"
    write_json(file, document)
    assert [it.layout for it in swept_faults(read_run(folder))] == ["shift-8"]
