"""docs/reference/ is what docs/generate.py makes of the code, and it is true."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forms_run import with_findings
from report_run import realistic
from typer.testing import CliRunner

from harness.cli.main import app
from harness.jsonfile import dumps

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)
MADE = generate.documents()


@pytest.mark.parametrize("name", sorted(MADE))
def test_what_is_committed_is_what_the_code_says(name):
    committed = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    same = json.loads(committed) == json.loads(MADE[name]) if name.endswith(".json") else committed == MADE[name]
    assert same, f"docs/reference/{name} is not what the code says; run python docs/generate.py"


def test_no_file_is_left_from_earlier():
    assert {file.name for file in (ROOT / "docs" / "reference").iterdir()} == set(MADE)


def test_the_script_writes_them_and_takes_old_ones_away(tmp_path):
    """In a copy, from another folder."""
    for name in ("docs/generate.py", "harness", "sim3solve", "cases/README.md"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    (tmp_path / "docs" / "reference").mkdir()
    (tmp_path / "docs" / "reference" / "old.md").write_text("old")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "docs" / "generate.py")], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "docs" / "reference").iterdir()} == MADE


VERBS = {name: callback for name, callback, _ in generate._commands(app)}


@pytest.mark.parametrize("name", VERBS)
def test_every_option_of_a_verb_is_in_the_reference_and_exists(name):
    """Against typer's own help, which the reference is not made from."""
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    helped = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown.output))
    section = MADE["cli.md"].partition(f"## harness {name}\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert len(rows) == len(generate.inspect.signature(VERBS[name]).parameters)
    named = set(re.findall(r"--[a-z][a-z-]*", " ".join(rows)))
    assert named <= helped, named - helped


def test_every_shipped_case_is_valid_and_a_wrong_one_is_not():
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(MADE["case.schema.json"]))
    for file in (ROOT / "cases").glob("*/case.json"):
        assert list(check.iter_errors(json.loads(file.read_text(encoding="utf-8")))) == [], file
    document = json.loads((ROOT / "cases" / "degenerate-n-33" / "case.json").read_text(encoding="utf-8"))
    for name, value in (("id", "a/b"), ("kind", "x"), ("more", 1), ("schema", "sim3solve-case/2"), ("tensors_sha256", "0")):
        assert list(check.iter_errors(document | {name: value})) != [], name


def test_every_outcome_is_valid_and_a_wrong_one_is_not():
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(MADE["outcome.schema.json"]))
    documents = [json.loads(dumps(it.to_json()).encode("utf-8", "backslashreplace")) for it in realistic() + with_findings()]
    for document in documents:
        assert list(check.iter_errors(document)) == []
    for name, value in (("outcome", "FINE"), ("seconds", "soon"), ("case", None), ("more", 1), ("trace", 3)):
        assert list(check.iter_errors(documents[0] | {name: value})) != [], name
    assert list(check.iter_errors({name: value for name, value in documents[0].items() if name != "outcome"})) != []
