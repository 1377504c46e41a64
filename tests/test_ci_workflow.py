""".github/workflows/ci.yml: valid by GitHub's schema, and every command in it names what exists. Run only where it is hosted."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app

yaml = pytest.importorskip("yaml", reason="needs PyYAML, of the extra test")
ROOT = Path(__file__).parents[1]
FILE = ROOT / ".github" / "workflows" / "ci.yml"
WORKFLOW = yaml.safe_load(FILE.read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]
RUNS = [(job, step["run"]) for job, it in JOBS.items() for step in it["steps"] if "run" in step]
SHELL = {"sudo", "apt-get"}


def check(file: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema, of the extra test")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_follows_githubs_schema(tmp_path):
    assert check(FILE).returncode == 0, check(FILE).stdout
    wrong = tmp_path / "ci.yml"
    wrong.write_text(FILE.read_text(encoding="utf-8").replace("runs-on:", "runs-at:"), encoding="utf-8")
    assert check(wrong).returncode != 0


def test_the_jobs_are_those_that_were_promised():
    assert JOBS["linux"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert JOBS["windows"]["runs-on"] == "windows-latest"
    assert JOBS["gpu"]["runs-on"] == ["self-hosted", "gpu"]
    assert "workflow_dispatch" in JOBS["gpu"]["if"] and "inputs.gpu" in JOBS["gpu"]["if"]  # it would wait for ever otherwise
    uses = {job: [step.get("uses", "").partition("@")[0] for step in it["steps"]] for job, it in JOBS.items()}
    assert all("actions/upload-artifact" in it for it in uses.values())
    assert all("actions/setup-python" in uses[job] for job in ("linux", "windows"))


def commands(text: str) -> list[list[str]]:
    """Commands as words, backslashes as slashes; PowerShell's own lines are left out."""
    lines = [line for line in text.replace("\\", "/").splitlines() if not line.startswith(("$", "Get-Content"))]
    return [shlex.split(part) for line in lines for part in re.split(r" && | >> ", line) if not part.startswith('"$GITHUB')]


@pytest.mark.parametrize(("job", "text"), RUNS)
def test_every_command_exists(job, text):
    for words in commands(text):
        if words[0] in SHELL:
            continue
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M), words
        elif words[0].endswith(".ps1"):
            assert (ROOT / words[0]).is_file()
            declared = (ROOT / words[0]).read_text(encoding="ascii").split("param(")[1].splitlines()[0]
            assert all(f"${word[1:]}" in declared for word in words[1:]), words
        else:
            assert re.search(r"(^|/)python(3|\.exe)?$", words[0]), words
            _python(words[1:])


def _python(words: list[str]) -> None:
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), words
        shown = subprocess.run([sys.executable, words[0], "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert all(option in shown.stdout for option in words[1:] if option.startswith("--")), words
    elif words[1] == "harness":
        shown = CliRunner().invoke(app, [words[2], "--help"], env={"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"})
        assert shown.exit_code == 0, words
        assert all(option in shown.output for option in words[3:] if option.startswith("--")), words
    else:
        assert words[1] in ("venv", "pip", "pytest"), words
        assert all((ROOT / word).exists() for word in words[2:] if word in ("tests", "cases", "constraints.txt")), words


def test_wine_is_there_before_the_tests_that_run_windows_programs():
    texts = {"ci.yml": FILE.read_text(encoding="utf-8"), ".ci/run": (ROOT / ".ci" / "run").read_text(encoding="utf-8")}
    for name, text in texts.items():
        installed, tested = re.search(r"apt-get install .*wine wine64", text), re.search(r"^( *- run: )?make test", text, re.M)
        assert installed.start() < tested.start(), name


def test_the_extras_and_markers_it_names_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    everything = "\n".join(text for _, text in RUNS)
    assert (extras := re.findall(r"\.\[([\w,]+)\]", everything))
    assert all(re.search(rf"^{extra} = \[", project, re.M) for it in extras for extra in it.split(","))
    assert (markers := re.findall(r"-m (\w+)$", everything, re.M))
    assert all(f'"{marker}: ' in project for marker in markers)


def test_what_a_step_reads_an_earlier_one_wrote():
    """The SARIF file is exported before it is uploaded, the report made before it is kept."""
    for name in ("linux", "windows"):
        text = FILE.read_text(encoding="utf-8").split(f"\n  {name}:")[1]
        assert text.index("repro") < text.index("--sarif harness.sarif") < text.index("upload-artifact")
        assert "harness.sarif" in kept(name)


@pytest.mark.parametrize("job", JOBS)
def test_every_page_of_a_report_is_kept(job, tmp_path):
    """Also those of a report too large for one page, and the specimens' own."""
    pages = [tmp_path / "reports" / "a-run" / name for name in ("index.html", "cases-0001.html", "specimens/their-run/index.html")]
    for page in pages:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.touch()
    assert {file for pattern in kept(job) for file in tmp_path.glob(pattern)} == set(pages)


def kept(job: str) -> list[str]:
    return next(step["with"] for step in JOBS[job]["steps"] if "upload-artifact" in step.get("uses", ""))["path"].split()
