"""JUnit XML: valid in Ant's form whatever a run holds, and every outcome in it as what it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from forms_run import HOSTILE, hostile_run, with_findings
from junit_form import problems
from report_run import realistic, write_run
from run_cli import harness

from harness.forms.junit import junit
from harness.forms.pick import diagnosed_bugs
from harness.outcome import Kind

ROOT = Path(__file__).parents[1]


def of(folder: Path) -> bytes:
    return junit(diagnosed_bugs(folder)[0])


def test_the_check_itself_sees_what_is_wrong():
    good = of_text('tests="1" failures="0"')
    assert problems(good) == []
    for old, new in (
        (b'hostname="localhost" ', b""), (b'id="0"', b'id="1"'), (b'tests="1"', b'tests="2"'), (b"<system-out/>", b""),
        (b"<testcase", b"<test"), (b'time="0.5"', b'time="nan"'), (b"12:00:00", b"12:00:00Z"), (b'name="c"', b'name=" c"'),
        (b"<properties/>", b"<properties/>x"), (b"/></testsuite>", b"/><x/></testsuite>"),
    ):  # fmt: skip
        changed = good.replace(old, new, 1).replace(b"</testcase>", b"</test>" if old == b"<testcase" else b"</testcase>")
        assert changed != good and problems(changed) != [], (old, new)


def of_text(counts: str) -> bytes:
    return (
        '<testsuites><testsuite name="s" package="p" id="0" hostname="localhost" timestamp="2026-01-01T12:00:00" '
        f'{counts} errors="0" '
        'time="0.5"><properties/><testcase name="c" classname="s" time="0.5"></testcase><system-out/><system-err/></testsuite>'
        "</testsuites>"
    ).encode()


def test_every_kind_of_outcome(tmp_path):
    outcomes = realistic()
    data = of(write_run(tmp_path / "run", outcomes, finished=False, extra_tasks=[["one more", "torch", "none"]]))
    assert problems(data) == []
    cases = {(it.get("classname"), it.get("name")): it for it in ElementTree.fromstring(data).iter("testcase")}
    assert len(cases) == len(outcomes) + 1
    assert cases["torch", "one more"].find("skipped").get("message") == "the run was cut off before this"
    seen = Counter()
    for it in outcomes:
        case = cases[it.solver if it.how == "none" else f"{it.solver} {it.how}", it.case]
        tags = [child.tag for child in case]
        seen[it.kind, *tags] += 1
        assert float(case.get("time")) == pytest.approx(it.seconds, abs=1e-3)
        if it.expected is True:
            assert tags == []
        elif it.expected is False:
            died = it.kind in (Kind.CRASHED, Kind.CUDA_ERROR, Kind.TIMEOUT, Kind.RAISED)
            assert tags == (["error"] if died else ["failure"]), it.kind
            assert (
                f"again: {it.repeat}" in case[0].text and "fix: " in case[0].text and case[0].get("type").startswith(it.kind.value)
            )
        elif it.kind in (Kind.UNAVAILABLE, Kind.INCONCLUSIVE):
            assert case[0].get("message") == it.reason
    assert {kind for kind, *_ in seen} == set(Kind)
    crash = cases["torch", "seed-crash-sim3-inv"][0].text
    assert 'File "lietorch/groups.py", line 187 in inv' in crash and "building group ops" in crash
    hang = cases["reference", "hang"][0].text
    assert "characters ..." in hang and len(hang) < 30_000


def test_findings_are_listed(tmp_path):
    root = ElementTree.fromstring(of(write_run(tmp_path / "run", with_findings())))
    suite = next(suite for suite in root if suite.get("name") == "cuda memcheck")
    assert suite.get("failures") == "2"
    assert "finding: Invalid __global__ read of size 16 bytes at sim3solve/kernels/residual.cuh:88" in suite[1][0].text


def test_hostile_strings(tmp_path):
    """Control characters, surrogates and noncharacters are in no XML document; markup is text."""
    data = of(hostile_run(tmp_path / "run"))
    assert problems(data) == []
    text = data.decode("utf-8")
    assert not set(text) & {chr(i) for i in range(0x20) if chr(i) not in "\n\t"} and "\ufffe" not in text and "\u202e" not in text
    assert "<script" not in text and "\u2401" in text
    failures = [case[0] for case in ElementTree.fromstring(data).iter("testcase") if len(case)]
    assert any("</failure><script>alert(1)</script>" in (failure.text or "") for failure in failures)
    assert "\x00" in HOSTILE


def test_a_damaged_clock_is_no_end(tmp_path):
    folder = write_run(tmp_path / "run", with_findings())
    file = folder / "run.json"
    file.write_text(file.read_text(encoding="utf-8").replace("2025-03-01T10:15:00+00:00", "yesterday"), encoding="utf-8")
    assert problems(of(folder)) == []


def test_command_line(tmp_path):
    folder = write_run(tmp_path / "run", with_findings())
    file = tmp_path / "out.xml"
    done = harness("export", str(folder), "--junit", str(file), "--markdown", "-")
    assert done.returncode == 0, done.stderr
    assert problems(file.read_bytes()) == [] and done.stdout.startswith("## Pose solvers")
    nothing = harness("export", str(folder))
    assert nothing.returncode == 2 and "--sarif" in nothing.stderr
    no_folder = harness("export", str(folder), "--junit", str(tmp_path / "no" / "x.xml"))
    assert no_folder.returncode == 2 and "cannot be written" in no_folder.stderr and "Traceback" not in no_folder.stderr
