"""The report says what the run folder says, opens anywhere, and is not fooled by what a crashed program printed."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import html_tree
import pandas as pd
import pyarrow.parquet as pq
import pytest
import report_run as made

from harness.outcome import Kind
from harness.report.write import write_report
from harness.run import read_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A realistic run and its report, made once."""
    run = made.write_run(tmp_path_factory.mktemp("report") / "run", made.realistic())
    write_report(run)
    return run


@pytest.fixture(scope="module")
def page(folder: Path) -> html_tree.Element:
    return html_tree.parse((folder / "index.html").read_text(encoding="utf-8"))


def test_is_well_formed_and_every_internal_link_resolves(page: html_tree.Element) -> None:
    html_tree.check_links(page)
    assert len([e for e in page.all("a") if e.attributes["href"].startswith("#outcome-")]) > 60


def test_refers_to_nothing_outside_itself(folder: Path, page: html_tree.Element) -> None:
    assert not [e for e in page.walk() if {"src", "srcset", "action", "data", "xlink:href"} & set(e.attributes)]
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert "@import" not in html
    assert "@font-face" not in html
    assert all(part.startswith("(#fig-") for part in html.split("url")[1:])
    assert "cvg.cit.tum.de" in page.text  # the address of the data is there, as text


def test_data_tables_have_scoped_headers(page: html_tree.Element) -> None:
    headers = page.all("th")
    assert headers
    assert {e.attributes.get("scope") for e in headers} <= {"row", "col", "colgroup"}
    assert all(table.all("th") for table in page.all("table"))


def test_the_first_line_is_the_bugs_and_the_second_adds_up(page: html_tree.Element) -> None:
    outcomes = made.realistic()
    failed = sum(it.expected is False for it in outcomes)
    baseline = sum(it.expected is True and not it.judged for it in outcomes)
    judged = sum(it.expected is not None for it in outcomes) - baseline
    first = page.all("h1")[0].words
    told = "crash (SIGSEGV) on 1 case, crash (STATUS_ACCESS_VIOLATION) on 1, CUDA error 716 on 1, Precise on 1, wrong pose on 1"
    assert first == f"✗ 7 bugs in torch, skip and reference: {told}, and 2 more"
    size = f"{len({it.case for it in outcomes})} cases \u00d7 3 solvers, also under memcheck"
    rest = f"{failed} failures, {baseline} of a baseline that is not judged, 1 not run here"
    assert page.all("p", "counts")[0].words == f"{size}: {judged - failed} of {judged} as expected, {rest}"
    not_run, unclear = 1, 1
    assert judged + baseline + not_run + unclear == len(outcomes)
    header = page.all("header", "bad")[0].words
    assert "1 INCONCLUSIVE" in header
    assert "cuda: no NVIDIA GPU on this machine" in header
    assert "skip (1 case): an op has no pose to keep" in header


def test_bugs_are_cards_with_the_gravest_first(page: html_tree.Element) -> None:
    cards = page.all("article", "bug")
    assert [card.attributes["data-bug"] for card in cards] == [str(i) for i in range(1, len(cards) + 1)]
    ends = ["CRASHED", "CRASHED", "CUDA_ERROR", "FINDINGS", "WRONG POSE", "TIMEOUT", "RAISED", "INCONCLUSIVE"]
    assert all(card.all("span", "badge")[0].words.startswith(end) for card, end in zip(cards, ends, strict=True))
    assert all(len(card.all("span", "pill")) == 1 and card.all("h3")[0].words for card in cards)
    shown = {card.attributes["data-bug"]: card for card in cards}
    for it in page.all("article", "failure") + page.all("details", "failure"):
        for number in it.attributes["data-bug"].split():
            assert f"#filter?bug={number}" in [a.attributes["href"] for a in shown[number].all("a")]


def test_matrix_names_every_outcome_and_links_to_it(page: html_tree.Element) -> None:
    rows = {row.all("th")[0].words: row for row in page.all("table", "matrix")[0].all("tr") if row.all("td")}
    cells = {case: [cell.words for cell in row.all("td")] for case, row in rows.items()}
    assert cells["tum-desk-013-017"] == ["✓as expected: OK", "", "✓as expected: OK", "\u2013not judged: OK baseline"]
    assert cells["collinear"][0] == "✓as expected: NOT_POSITIVE_DEFINITE"
    assert cells["tum-desk-drift"][2] == "✗not as expected: WRONG POSE"
    assert cells["seed-crash-sim3-inv"][2:] == ["✗not as expected: CRASHED SIGSEGV", "\u2013not judged: UNAVAILABLE"]
    assert cells["three-points"][2] == "✗not as expected: RAISED RuntimeError"
    assert cells["hang"] == ["✗not as expected: TIMEOUT 20 s", "", "\u2013not judged: INCONCLUSIVE",
                             "✗not as expected: CRASHED STATUS_ACCESS_VIOLATION"]  # fmt: skip
    assert cells["misaligned"][1:3] == ["✗not as expected: FINDINGS 2", "✗not as expected: CUDA_ERROR 716"]
    link = rows["seed-crash-sim3-inv"].all("td")[2].all("a")[0].attributes["href"]
    assert "SIGSEGV" in page.by_id(link[1:]).words
    colours = {
        kind: {c.attributes["class"].split()[0] for row in rows.values() for c in row.all("td") if kind in c.words}
        for kind in ("CRASHED", "TIMEOUT")
    }
    assert colours == {"CRASHED": {"k-crashed"}, "TIMEOUT": {"k-timeout"}}


def test_each_failure_has_its_evidence_and_its_repeat_command(page: html_tree.Element) -> None:
    failures = {it.attributes["id"]: it for it in page.all("article", "failure") + page.all("details", "failure")}
    expected = [it for it in made.realistic() if it.expected is False]
    assert len(failures) == len(expected)
    by_key = {(it.attributes["data-case"], it.attributes["data-solver"]): it for it in failures.values()}
    for outcome in expected:
        article = by_key[outcome.case, outcome.solver]
        assert article.all("pre", "repeat")[0].text == outcome.repeat
        assert {"Expected", "Exit"} <= {it.text for it in article.all("dt")}
        assert outcome.exit is None or outcome.exit.meaning in article.text
        assert "exit 0 exit 0" not in article.text
    text = {name: article.text for name, article in failures.items()}
    assert 'File "lietorch/groups.py", line 187 in inv' in text["outcome-seed-crash-sim3-inv--torch"]
    assert "building group ops" in text["outcome-seed-crash-sim3-inv--torch"]
    assert "return torch.linalg.cholesky(H)" in text["outcome-three-points--torch"]
    assert "fewer than 3 points" in text["outcome-three-points--torch"]
    assert "3221225477 (0xC0000005)" in text["outcome-hang--skip"]
    assert "cudaErrorMisalignedAddress (sticky" in text["outcome-misaligned--torch"]
    assert "kernels/residual.cuh" in text["outcome-misaligned--reference--memcheck"]
    assert "after SIGTERM was ignored" in text["outcome-hang--reference"]


def test_only_the_first_failure_of_a_bug_is_open(tmp_path: Path) -> None:
    off = [replace(made.solved(f"case-{i}", "torch", 1), expected=False, parity=made.parity(71.0, within=False)) for i in range(3)]
    crash = made.outcome("case-9", "torch", Kind.CRASHED, stage="solving", expected=False, exit=made.SEGFAULT)
    page = html_tree.parse(write_report(made.write_run(tmp_path / "run", [*off, crash])).read_text(encoding="utf-8"))
    groups = [
        [it.attributes["id"] for it in group.walk() if "data-outcome" in it.attributes] for group in page.all("div", "of-bug")
    ]
    assert groups == [["outcome-case-9--torch"], [f"outcome-case-{i}--torch" for i in range(3)]]
    assert [it.attributes["id"] for it in page.all("article", "failure")] == ["outcome-case-9--torch", "outcome-case-0--torch"]
    assert not [it for it in page.all("details", "failure") if "open" in it.attributes]


def test_what_is_said_of_a_wrong_pose_is_said_once(tmp_path: Path) -> None:
    why = "rotation_deg 134 over 0.001, d_sigma 1.51e+05 over 0.05"
    said = f"mine.py:make on case-0 differs from the oracle: {why}. Not expected: the case expects the oracle's pose."
    off = replace(
        made.solved("case-0", "mine.py:make", 1),
        expected=False,
        parity=made.parity(71.0, within=False) | {"why": why},
        verdict=said,
    )
    page = html_tree.parse(write_report(made.write_run(tmp_path / "run", [off])).read_text(encoding="utf-8"))
    [article] = page.all("article", "failure")
    assert article.text.count(why) == 1


def test_the_stages_show_where_it_ended_and_what_was_never_reached(page: html_tree.Element) -> None:
    [timeline] = page.by_id("outcome-three-points--torch").all("div", "timeline")
    stages = [(stage.words, stage.attributes.get("class", "")) for stage in timeline.all("li")]
    assert [words.partition(" ")[0] for words, _ in stages][:2] == ["import", "load"]
    assert stages[-2][0].endswith(", iterations 1\u20132") and stages[-1] == ("not reached: solved, written", "never")
    assert [it.attributes["class"] for it in timeline.all("div", "bar")[0].all("i")][-1] == "died"


def test_other_outcomes_are_folded_into_their_cases_and_complete(page: html_tree.Element) -> None:
    cases = {it.attributes["data-case"]: it for it in page.all("details", "case")}
    assert list(cases) == list(dict.fromkeys(it.case for it in made.realistic()))
    folded = {e.attributes["id"]: e for case in cases.values() for e in case.all("details") if "data-outcome" in e.attributes}
    assert len(folded) == sum(it.expected is not False for it in made.realistic())
    assert all("open" not in e.attributes for e in [*folded.values(), *cases.values()])
    assert (
        cases["tum-desk-drift"].all("summary")[0].words.startswith("tum-desk-drift ✓ as expected reference ✗ not as expected torch")
    )
    assert "#outcome-tum-desk-drift--torch" in [a.attributes["href"] for a in cases["tum-desk-drift"].all("a")]
    assert "op_value: [0.01, -0.02" in folded["outcome-seed-crash-sim3-inv--reference"].text
    assert "against the known truth" not in folded["outcome-tum-desk-013-017--torch"].text


def test_a_failure_leads_to_its_case_and_its_pictures_and_they_to_it(page: html_tree.Element) -> None:
    for it in page.all("article", "failure") + page.all("details", "failure"):
        hrefs = [a.attributes["href"] for a in it.all("a")]
        [case] = [href for href in hrefs if href.startswith("#case-")]
        assert "#" + it.attributes["id"] in [a.attributes["href"] for a in page.by_id(case[1:]).all("a")]
        for href in hrefs:
            assert not href.startswith("#pictures-") or page.by_id(href[1:]).attributes["data-case"] == it.attributes["data-case"]
    assert any(a.attributes["href"].startswith("#pictures-") for it in page.all("article", "failure") for a in it.all("a"))


def test_parity_marks_only_what_fails_and_prints_the_reasons(page: html_tree.Element) -> None:
    section = next(it for it in page.all("section") if it.attributes["aria-labelledby"] == "parity")
    for tolerance in made.TOLERANCES.values():
        assert tolerance["reason"] in section.text
    [summary] = section.all("table", "poses")
    rows = {row.all("th")[0].words: row for row in summary.all("tbody")[0].all("tr")}
    assert set(rows) == {"torch"}  # that the oracle agrees with itself is no news
    off = sum(it.solver == "torch" and it.expected is False and bool(it.parity) for it in made.realistic())
    assert [cell.words for cell in rows["torch"].all("td")][2] == str(off)
    assert [cell.attributes.get("class") for cell in rows["torch"].all("td")][3:] == ["n fails group", "n fails", "n", "n fails"]
    [table] = section.all("table", "parity")
    poses = table.all("tbody")[0].all("tr")
    assert poses[0].attributes.get("class") == "failed-row" and {row.all("td")[0].words for row in poses} == {"torch"}
    cells = {row.all("th")[0].words: row.all("td") for row in poses}
    drift = cells["tum-desk-drift"]
    assert [cell.attributes["class"] for cell in drift[2:6]] == ["n fails group", "n fails", "n", "n fails"]
    assert drift[2].words == "0.0142 over the tolerance"
    assert [cell.words for cell in drift[-4:]] == ["9", "6", "3", "✗ out (not as expected)"]
    plain = {None, "n", "n group", "n also", "n group also"}  # far from the optimum, and no failure
    assert {cell.attributes.get("class") for cell in cells["tum-desk-013-017"]} <= plain
    [baseline] = [it for it in page.all("table", "parity") if it is not table]
    kept = {row.all("th")[0].words: row.all("td") for row in baseline.all("tr") if row.all("td")}
    assert kept["tum-desk-drift"][0].words == "67.5"
    assert kept["misaligned"][1].words == "NaN"
    assert len(kept["tum-desk-drift"]) == 1 + 2 * 4
    [operation] = [row for row in page.all("tr") if "largest relative difference 0, limit 1e-05" in row.words]
    assert operation.all("th")[0].words == "seed-crash-sim3-inv"


def test_a_good_run_speaks_of_no_tolerance_that_is_exceeded(tmp_path: Path) -> None:
    outcomes = [made.solved(f"case-{i}", solver, i) for i in range(3) for solver in made.SOLVERS]
    page = html_tree.parse(write_report(made.write_run(tmp_path / "run", outcomes)).read_text(encoding="utf-8"))
    assert page.all("h1")[0].words == "✓ All 6 outcomes as expected"
    assert "over the tolerance" not in "".join(it.text for it in page.walk() if it.attributes.get("class") == "hidden")
    assert not page.all("td", "fails") and not page.all("article")


def test_every_case_has_its_pictures(folder: Path, page: html_tree.Element) -> None:
    drawn = {it.attributes["data-case"] for it in page.all("details", "pictures")}
    assert {it.case for it in made.realistic() if it.trace} <= drawn
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert "DejaVu" not in html and "<metadata" not in html
    write_report(folder, pictures=False)
    assert 'class="pictures"' not in (folder / "index.html").read_text(encoding="utf-8")
    write_report(folder)


def test_shows_environment_attribution_and_command(page: html_tree.Element) -> None:
    rows = {row.all("th")[0].text: row.all("td")[0].text for row in page.all("table", "environment")[0].all("tr") if row.all("td")}
    assert rows["Memory"] == "16.0 GiB"
    assert rows["Packages"] == "numpy 2.1.0, scipy 1.14.0"
    assert rows["PyTorch sees a GPU"] == "no"
    sources = page.all("ul", "attributions")[0]
    assert sources.text.count("CC BY 4.0") == 1 and sources.text.count("A Benchmark for the Evaluation") == 1
    assert page.all("pre", "repeat")[-1].text == "python -m harness replay cases/* --solver reference --solver torch --solver skip"


def test_parquet_and_csv_hold_one_row_per_outcome(folder: Path) -> None:
    outcomes = read_run(folder).outcomes
    table = pq.read_table(folder / "results.parquet")
    rows = table.to_pylist()
    assert [(row["case"], row["solver"], row["tool"]) for row in rows] == [it.key for it in outcomes]
    assert [row["outcome"] for row in rows] == [it.kind.value for it in outcomes]
    assert [row["expected"] for row in rows] == [it.expected for it in outcomes]
    assert [row["T_CkCf_tz"] for row in rows if row["case"] == "tum-desk-013-017"] == [0.3] * 3
    [drift] = [row for row in rows if (row["case"], row["solver"]) == ("tum-desk-drift", "torch")]
    assert drift["oracle_rotation_deg"] == 2e-4 * 71.0
    assert drift["within"] is False
    assert [row["exit_code"] for row in rows if row["exit_name"] == "STATUS_ACCESS_VIOLATION"] == [3221225477]
    causes = [(it.diagnosis.cause, it.diagnosis.confidence) if it.diagnosis else (None, None) for it in outcomes]
    assert [(row["cause"], row["confidence"]) for row in rows] == causes
    assert [row["signature"] for row in rows] == [it.signature or None for it in outcomes]
    frame = pd.read_csv(folder / "results.csv", float_precision="round_trip")
    back = pd.read_parquet(folder / "results.parquet")
    assert list(frame.columns) == list(back.columns)
    assert len(frame) == len(outcomes)
    for name in ("oracle_d_sigma", "cost", "T_WCf_qz", "solve_seconds"):
        pd.testing.assert_series_equal(frame[name], back[name].astype("float64"), check_exact=True)


def test_a_measured_nan_is_not_a_missing_number(folder: Path) -> None:
    rows = {(row["case"], row["solver"]): row for row in pq.read_table(folder / "results.parquet").to_pylist()}
    assert math.isnan(rows["misaligned", "skip"]["oracle_rotation_deg"])
    assert rows["misaligned", "torch"]["oracle_rotation_deg"] is None
    words = pd.read_csv(io.BytesIO((folder / "results.csv").read_bytes()), dtype=str, keep_default_na=False)
    by_key = words.set_index(["case", "solver", "tool"])["oracle_rotation_deg"]
    assert by_key["misaligned", "skip", "none"] == "nan"
    assert by_key["misaligned", "torch", "none"] == ""


def test_writes_the_same_bytes_again_and_leaves_nothing_else(folder: Path) -> None:
    names = ["index.html", "results.csv", "results.parquet"]
    before = {name: (folder / name).read_bytes() for name in names}
    assert write_report(folder) == folder / "index.html"
    assert {name: (folder / name).read_bytes() for name in names} == before
    assert sorted(file.name for file in folder.iterdir()) == [*names[:1], "outcomes", *names[1:], "run.json"]


def test_a_policy_forbids_scripts_but_its_own(page: html_tree.Element) -> None:
    [policy] = [e.attributes["content"] for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.all("script")[0].text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_never_imports_torch(folder: Path) -> None:
    code = f"from harness.report.write import write_report; from pathlib import Path; write_report(Path({str(folder)!r}))"
    code += "; import sys; print('torch' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout == "False\n"
