"""The report says what the run folder says, opens anywhere, and is not fooled by what a crashed program printed."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import subprocess
import sys
from pathlib import Path

import html_tree
import pandas as pd
import pyarrow.parquet as pq
import pytest
import report_run as made

from harness.report import write_report
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


def test_verdict_line_counts_what_was_judged(page: html_tree.Element) -> None:
    outcomes = made.realistic()
    judged = [it for it in outcomes if it.expected is not None]
    failed = [it for it in judged if it.expected is False]
    cases = len({it.case for it in outcomes})
    good = f"{len(judged) - len(failed)} of {len(judged)} as expected"
    expected = f"{cases} cases \u00d7 3 solvers, also under memcheck: {good}; {len(failed)} failures"
    assert page.all("h1")[0].words == f"✗ {expected}"
    header = page.all("header", "bad")[0].words
    assert "1 INCONCLUSIVE" in header
    assert "cuda: no NVIDIA GPU on this machine" in header
    assert "skip (1 case): an op has no pose to keep" in header


def test_matrix_names_every_outcome_and_links_to_it(page: html_tree.Element) -> None:
    rows = {row.all("th")[0].words: row for row in page.all("table", "matrix")[0].all("tr") if row.all("td")}
    cells = {case: [cell.words for cell in row.all("td")] for case, row in rows.items()}
    assert cells["tum-desk-013-017"] == ["✓as expected: OK", "", "✓as expected: OK", "✓as expected: OK baseline"]
    assert cells["collinear"][0] == "✓as expected: NOT_POSITIVE_DEFINITE"
    assert cells["tum-desk-drift"][2] == "✗not as expected: OK out of tolerance"
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
    failures = page.all("article", "failure")
    expected = [it for it in made.realistic() if it.expected is False]
    assert len(failures) == len(expected)
    for article, outcome in zip(failures, expected, strict=True):
        assert outcome.case in article.all("h3")[0].text
        assert article.all("pre", "repeat")[0].text == outcome.repeat
        assert "Must happen" in article.text
        assert outcome.exit is None or outcome.exit.meaning in article.text
    text = {article.attributes["id"]: article.text for article in failures}
    assert 'File "lietorch/groups.py", line 187 in inv' in text["outcome-seed-crash-sim3-inv--torch"]
    assert "building group ops" in text["outcome-seed-crash-sim3-inv--torch"]
    assert "return torch.linalg.cholesky(H)" in text["outcome-three-points--torch"]
    assert "because fewer than 3 points" in text["outcome-three-points--torch"]
    assert "3221225477 (0xC0000005)" in text["outcome-hang--skip"]
    assert "cudaErrorMisalignedAddress (sticky" in text["outcome-misaligned--torch"]
    assert "kernels/residual.cuh" in text["outcome-misaligned--reference--memcheck"]
    assert "after SIGTERM was ignored" in text["outcome-hang--reference"]


def test_stage_timeline_shows_where_it_ended_and_what_was_never_reached(page: html_tree.Element) -> None:
    stages = page.by_id("outcome-three-points--torch").all("ol", "stages")[0].all("li")
    names = [(stage.all("b")[0].text, stage.attributes.get("class", "done")) for stage in stages]
    assert names[:2] == [("spawned", "done"), ("imported", "done")]
    assert names[-3:] == [("iterations 1\u20132", "last"), ("solved", "never"), ("written", "never")]


def test_other_outcomes_are_collapsed_and_complete(page: html_tree.Element) -> None:
    folded = {e.attributes["id"]: e for e in page.all("details") if e.attributes.get("class") != "pictures"}
    assert len(folded) == sum(it.expected is not False for it in made.realistic())
    assert all("open" not in e.attributes for e in folded.values())
    assert "op_value: [0.01, -0.02" in folded["outcome-seed-crash-sim3-inv--reference"].text
    assert "against the known truth" not in folded["outcome-tum-desk-013-017--torch"].text


def test_parity_marks_what_is_over_tolerance_and_prints_the_reasons(page: html_tree.Element) -> None:
    for tolerance in made.TOLERANCES.values():
        assert tolerance["reason"] in page.all("table", "tolerances")[0].text
    parity, baseline = page.all("table", "parity")
    rows = {
        tuple(e.words for e in [row.all("th")[0], row.all("td")[0]]): row.all("td") for row in parity.all("tr") if row.all("td")
    }
    off = rows["tum-desk-drift", "torch"]
    assert [cell.attributes["class"] for cell in off[2:6]] == ["n fails", "n fails", "n", "n fails"]
    assert off[2].words == "0.014 over the tolerance"
    assert [cell.words for cell in off[-4:]] == ["9", "6", "3", "✗ out (not as expected)"]
    near = rows["tum-desk-013-017", "torch"]
    assert near[2].attributes["class"] == "n"
    assert near[6].attributes["class"] == "n over"  # stopped early, so over the tolerance from the optimum, which fails nothing
    assert ("tum-desk-drift", "skip") not in rows
    kept = {row.all("th")[0].words: row.all("td") for row in baseline.all("tr") if row.all("td")}
    assert kept["tum-desk-drift"][0].words == "67.5"
    assert kept["misaligned"][1].words == "NaN over the tolerance"
    assert len(kept["tum-desk-drift"]) == 1 + 3 * 4
    [operation] = [row for row in page.all("tr") if "largest relative difference 0, limit 1e-05" in row.words]
    assert operation.all("th")[0].words == "seed-crash-sim3-inv"


def test_every_case_has_its_pictures_with_failures_first(folder: Path, page: html_tree.Element) -> None:
    names = [it.all("summary")[0].words for it in page.all("details", "pictures")]
    assert names[0].endswith("tum-desk-drift: pictures") and names[0].startswith("\u2717")
    drawn = {it.split()[-2].removesuffix(":") for it in names}
    assert {it.case for it in made.realistic() if it.trace} <= drawn
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert "DejaVu" not in html and "<metadata" not in html
    write_report(folder, pictures=False)
    assert 'class="pictures"' not in (folder / "index.html").read_text(encoding="utf-8")
    write_report(folder)


def test_shows_environment_attribution_and_command(page: html_tree.Element) -> None:
    rows = {row.all("th")[0].text: row.all("td")[0].text for row in page.all("table", "environment")[0].all("tr") if row.all("td")}
    assert rows["memory"] == "16.0 GiB"
    assert rows["packages.numpy"] == "2.1.0"
    assert rows["cuda_available"] == "no"
    assert "CC BY 4.0" in page.all("ul", "attributions")[0].text
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
    code = f"from harness.report import write_report; from pathlib import Path; write_report(Path({str(folder)!r}))"
    code += "; import sys; print('torch' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout == "False\n"
