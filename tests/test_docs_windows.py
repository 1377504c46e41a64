"""docs/windows.md: its commands exist as written, its PowerShell is PowerShell, its registry keys are those that the code reads."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from docs_commands import blocks
from test_repro_script import POWERSHELL, SCRIPT, below, name_of, parsed
from typer.testing import CliRunner

from harness.cli.main import app
from harness.doctor import registry
from harness.exitcode import NTSTATUS
from harness.minidump import DEFAULT_FOLDER, LOCAL_DUMPS, MAX_BYTES, WER

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "windows.md").read_text(encoding="utf-8")
BLOCKS = [(language, text) for language, text in re.findall(r"^ *```(\w*)\n(.*?)^ *```$", PAGE, re.M | re.S)]
LINES = [(language, line.strip()) for language, text in BLOCKS for line in text.splitlines()]
HARNESS = sorted({line.partition("-m harness ")[2] for _, line in LINES if "-m harness " in line})


@pytest.mark.parametrize("words", HARNESS)
def test_a_command_of_the_harness_exists_as_written(words):
    own = shlex.split(words.replace("\\", "/").partition(" -- ")[0])
    verb = own[:2] if own[0] == "case" else own[:1]
    shown = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    for option in (word for word in own if word.startswith("-")):
        assert re.search(rf"(^|[\s,│]){re.escape(option)}[\s,│]", shown.output), option


def test_every_verb_that_the_steps_need_is_there():
    assert {words.split()[0] for words in HARNESS} >= {"doctor", "record", "replay", "diagnose", "probe", "audit", "bundle", "case"}


def test_every_block_is_powershell_or_for_wsl():
    assert [language for language, _ in BLOCKS].count("") == 1
    for language, text in BLOCKS:
        if language == "powershell":
            root = parsed(text.replace(" -- ", " '--' ").encode())  # this grammar, unlike PowerShell, has no word --
            assert not root.has_error, text
            programs = {name_of(it) for it in below(root, "command")}
            assert programs <= {"python", "py", "reg", "powershell", ".venv\\Scripts\\python"}, programs
        else:
            assert "In WSL" in PAGE.partition(text)[0].rstrip("`\n").splitlines()[-1]


@pytest.mark.parametrize("page", ["case-study.md", "tutorial-crash.md"])
def test_a_block_for_powershell_on_another_page_is_powershell(page):
    written = [lines for language, _, lines in blocks(ROOT / "docs" / page) if language == "powershell"]
    assert written
    for lines in written:
        text = "\n".join(lines).replace(" -- ", " '--' ")
        assert not parsed(text.encode()).has_error, text


def test_the_script_takes_what_it_is_given():
    declared = SCRIPT.read_text(encoding="ascii").split("param(")[1].splitlines()[0]
    calls = [line.partition("-File ")[2].split() for _, line in LINES if line.startswith("powershell ")]
    assert [script for script, *_ in calls] == ["scripts\\repro.ps1"] * 2
    assert all(f"${switch[1:]}" in declared for _, *switches in calls for switch in switches)


def test_registry_keys_are_those_that_the_code_reads():
    written = {(key, value) for key, value in re.findall(r'reg (?:add|query) "HKLM\\([^"]+)" /v (\w+)', PAGE)}
    assert written == {
        (LOCAL_DUMPS, "DumpType"), (WER, "DontShowUI"), (registry.GRAPHICS, "TdrDelay"), (registry.GRAPHICS, "HwSchMode"),
        (registry.DEBUGGER, "EnableInterface"), (registry.FILES, "LongPathsEnabled"),
    }  # fmt: skip
    assert DEFAULT_FOLDER in PAGE and f"{MAX_BYTES >> 30} GiB stays" in PAGE


def test_exit_codes_are_those_that_are_decoded():
    codes = {int(code, 16) for code in re.findall(r"0x[0-9A-F]{8}", PAGE)}
    assert len(codes) >= 7 and codes <= set(NTSTATUS)
    assert 0xC0000005 == 3221225477 == -1073741819 & 0xFFFFFFFF


def test_extras_files_and_links_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in re.findall(r"\.\[(\w+)\]", PAGE))
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target
    assert "## Settings of Windows" in PAGE and "(#settings-of-windows)" in PAGE


@pytest.mark.skipif(POWERSHELL is None, reason="needs PowerShell; wine has none")
def test_powershell_finds_no_fault_in_the_script():
    parser = "[System.Management.Automation.Language.Parser]"
    parse = f"$e = $null; [void]{parser}::ParseFile('{SCRIPT}', [ref]$null, [ref]$e); exit $e.Count"
    assert subprocess.run([POWERSHELL, "-NoProfile", "-Command", parse], timeout=120).returncode == 0
