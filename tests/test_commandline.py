"""Command lines to be typed again, and streams that must take any name of a folder."""

from __future__ import annotations

import json
import subprocess
import sys

from harness import commandline
from harness.commandline import command_line
from sim3solve.compiler import Compiler, words_of


def test_a_command_is_quoted_for_the_shell_of_the_system():
    words = ["python", r"C:\a b\c", "x"]
    assert command_line(words, windows=True) == r'python "C:\a b\c" x'
    assert command_line(words, windows=False) == r"python 'C:\a b\c' x"


def test_a_compiler_in_a_folder_with_spaces_is_found(tmp_path):
    assert words_of(r'"C:\Program Files\x\g++.exe" -m64', windows=True) == [r"C:\Program Files\x\g++.exe", "-m64"]
    program = tmp_path / "a folder" / "g++.exe"
    program.parent.mkdir()
    program.touch(mode=0o755)
    assert words_of(str(program), windows=True) == [str(program)]
    assert words_of("g++ -m64", windows=False) == ["g++", "-m64"]


def test_mingw_links_its_runtime_in_and_aligns_no_vector_move(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    first, last = Compiler(("g++",), "gnu", "").flag_sets()
    assert "-static" in first and "-static" in last
    assert "-march=native" not in last
    assert first[first.index("-march=native") + 1] == "-Wa,-muse-unaligned-vector-move"


def test_what_a_code_page_cannot_spell_ends_nothing():
    """A pipe of a strict 8-bit encoding, as Windows' pipes are."""
    code = "from harness.cli import console; console.out.print('Zo\u00eb \u5c71'); print('\u5c71')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment("ascii:strict"), timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"\\u5c71" in done.stdout


def test_json_on_a_pipe_is_json():
    code = "import json; from harness.cli import console; print(json.dumps(['\u5c71'], ensure_ascii=False))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(None), timeout=60)
    assert json.loads(done.stdout.decode("utf-8")) == ["\u5c71"], done


def environment(encoding: str | None) -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    return kept if encoding is None else kept | {"PYTHONIOENCODING": encoding}


def test_a_program_is_looked_for_on_path_first_on_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(commandline.shutil, "which", lambda name: str(tmp_path / "Scripts" / name) if name == "python" else None)
    assert commandline.found_on_path(["python", "main.py"], windows=True) == [str(tmp_path / "Scripts" / "python"), "main.py"]
    assert commandline.found_on_path(["nothing", "x"], windows=True) == ["nothing", "x"]
    assert commandline.found_on_path(["python", "main.py"], windows=False) == ["python", "main.py"]
