"""scripts/repro.ps1 is PowerShell, and does what the Makefile does: its commands are read from its syntax tree."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

tree_sitter = pytest.importorskip("tree_sitter", reason="needs tree-sitter, of the extra test")
grammar = pytest.importorskip("tree_sitter_powershell", reason="needs tree-sitter-powershell, of the extra test")
ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "repro.ps1"
POWERSHELL = shutil.which("pwsh") or shutil.which("powershell")


def parsed(source: bytes):
    return tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(source).root_node


def below(node, kind: str):
    """Every node of a kind, in the order of the text."""
    for child in node.children:
        if child.type == kind:
            yield child
        yield from below(child, kind)


def texts(node) -> list[str]:
    return [literal.text.decode().strip("'") for literal in below(node, "string_literal")]


def name_of(command) -> str:
    return command.child_by_field_name("command_name").text.decode()


def makes(target: str) -> list[list[str]]:
    """The commands of ``make target`` from nothing, as the words after the interpreter."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # make test runs this, too
    argv = [make, "-n", "-B", target, "VENV=.venv"]
    shown = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    return [shlex.split(line.partition(" && ")[0])[1:] for line in shown.splitlines()]


def scripts() -> list[tuple[str, list[str]]]:
    """The commands of the script after .venv is made; each is for ``test``, for what is ``else``, or for ``both``."""
    found = []
    for command in below(parsed(SCRIPT.read_bytes()), "command"):
        if name_of(command) != "Invoke-Python":
            continue
        branches, node = [], command
        while node.parent is not None:
            if node.parent.type == "if_statement" and node.parent.child_by_field_name("condition").text == b"$Test":
                branches.append("else" if node.type == "else_clause" else "test")
            node = node.parent
        found.append((branches[0] if branches else "both", texts(command)))
    return found


@pytest.mark.parametrize(("target", "branch"), [("repro", "else"), ("test", "test")])
def test_it_runs_the_commands_of_the_makefile(target, branch):
    venv, *rest = makes(target)
    assert "& $found[0] @words " + " ".join(venv) in SCRIPT.read_text(encoding="ascii")
    assert [words for where, words in scripts() if where in ("both", branch)] == rest


def test_it_is_powershell_without_a_fault():
    root = parsed(SCRIPT.read_bytes())
    assert not root.has_error
    assert {name_of(it) for it in below(root, "command") if not it.text.startswith(b"&")} == {
        "Write-Output", "Write-Host", "Get-Command", "Select-Object", "Out-Host", "Get-Item", "Test-Path", "Where-Object",
        "Push-Location", "Split-Path", "Join-Path", "Find-Python",
        "Test-Ready", "Invoke-Python", "Set-Content", "Pop-Location", "Get-Location",
    }  # fmt: skip


def test_the_python_of_path_comes_first():
    """Which is that of an active environment; the launcher ``py -3`` takes the newest that is installed."""
    (found,) = [it for it in below(parsed(SCRIPT.read_bytes()), "function_statement") if b"Find-Python" in it.text[:40]]
    first = next(it for it in below(found, "assignment_expression") if it.text.startswith(b"$candidates"))
    assert texts(first) == ["python", "py", "-3"]


def test_every_parameter_can_be_given_by_file():
    """With ``powershell -File`` every word is a string: no list, and nothing that begins with a dash, comes through."""
    declared = SCRIPT.read_text(encoding="ascii").split("param(")[1].splitlines()[0]
    assert "[]" not in declared and "$Python" in declared
    assert "$python" not in SCRIPT.read_text(encoding="ascii"), "PowerShell takes it for the parameter"


def test_a_fault_in_it_would_be_seen():
    assert parsed(SCRIPT.read_bytes().replace(b"} finally {", b"finally {")).has_error


def test_windows_powershell_5_reads_it_too():
    """What PowerShell 7 has and 5.1 does not; and 5.1 takes what is not ASCII for the code page's."""
    code = SCRIPT.read_bytes().decode("ascii")
    for newer in ("&&", "||", "??", "?.", "$IsWindows", "-AsHashtable", "-Parallel"):
        assert newer not in code, newer
    for command in below(parsed(SCRIPT.read_bytes()), "command"):
        assert b"2>" not in command.text, (
            "with ErrorActionPreference Stop, 5.1 ends at a program's first word on a redirected stderr"
        )
        if command.text.startswith(b"&"):
            assert b'"' not in command.text, "5.1 loses double quotes in a program's arguments"


def test_no_path_is_split_or_taken_for_a_pattern():
    """Folders may have blanks, brackets and letters of any language: every path is -LiteralPath or quoted by PowerShell itself."""
    for command in below(parsed(SCRIPT.read_bytes()), "command"):
        if name_of(command) in ("Test-Path", "Get-Item", "Set-Content", "Push-Location"):
            assert b"-LiteralPath" in command.text, command.text


@pytest.mark.skipif(POWERSHELL is None, reason="needs PowerShell; wine has none")
def test_its_help(tmp_path):
    folder = tmp_path / "Jörg's [own] folder" / "scripts"
    folder.mkdir(parents=True)
    shutil.copy(SCRIPT, folder)
    command = [POWERSHELL, "-NoProfile", "-ExecutionPolicy", "Bypass", "-File", str(folder / SCRIPT.name), "-Help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "-Test" in done.stdout
