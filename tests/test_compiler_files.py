"""What a compiler that is killed leaves behind lies in the build's own folder, which goes with the build."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sim3solve import build, compiler

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the compiler is a shell script")


def test_temporary_files_of_a_killed_compiler_go_with_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, elsewhere = tmp_path / "told", tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = tmp_path / "c++"
    script.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo killed 1.0 && exit 0\n"
        f"echo $TMPDIR >> {told}\necho x > $TMPDIR/ccABCD.s\nkill -9 $$\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setenv("SIM3SOLVE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(build.BuildError, match="exit -9"):
        compiler.shared_library("int x;")
    folders = [Path(line) for line in told.read_text().split()]
    assert folders and all(folder.is_relative_to(tmp_path / "cache") and not folder.exists() for folder in folders)
    assert not list(elsewhere.iterdir())
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
