"""What the host's C++ compiler is called with."""

from __future__ import annotations

import json
import sys

import pytest

from sim3solve import build, compiler

FAKE = """
import json, os, pathlib, sys
words = sys.argv[1:]
if "--version" in words:
    print("fake 1.0")
else:
    out = words[words.index("-o") + 1]
    said = {"words": words, "TMP": os.environ.get("TMP"), "cwd": os.getcwd(), "source": pathlib.Path("source.cpp").is_file()}
    pathlib.Path(out).write_text(json.dumps(said))
"""


def test_a_folder_that_no_code_page_can_spell_is_not_on_the_compiler_s_command_line(tmp_path, monkeypatch):
    """mingw's g++ reads its arguments and its temporary folder in the code page; the cache lies below the user's own folder."""
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE, encoding="utf-8")
    home = tmp_path / "Zoë 山田"
    monkeypatch.setenv("CXX", f'"{sys.executable}" "{fake}"')
    monkeypatch.setenv(build.CACHE_VARIABLE, str(home))
    monkeypatch.setenv("TMP", str(home))
    made = compiler.shared_library("int x;")
    assert made.is_relative_to(home)
    said = json.loads(made.read_text(encoding="utf-8"))
    assert said["source"] and not [word for word in said["words"] if "山" in word], said
    assert said["TMP"] == ("." if sys.platform == "win32" else said["cwd"])


def test_what_a_compiler_says_is_passed_on(tmp_path, monkeypatch):
    fake = tmp_path / "fake.py"
    fake.write_text("import sys\nif '--version' not in sys.argv: sys.exit('no room for int x')", encoding="utf-8")
    monkeypatch.setenv("CXX", f'"{sys.executable}" "{fake}"')
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    with pytest.raises(compiler.CompileFailed, match="no room for int x"):
        compiler.shared_library("int x;")
