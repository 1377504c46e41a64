"""The cache of built binaries: whole under concurrent first use, healed when damaged, and clear when it cannot be written."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim3solve import build, compiler
from sim3solve.build import BuildError, cached, inline_sources, key_of

SOURCE = 'extern "C" __attribute__((visibility("default"))) int sim3solve_answer() { return 42; }\n'
BUILD_IN_CHILD = f"""
import ctypes
from sim3solve import compiler
file = compiler.shared_library({SOURCE!r})
assert ctypes.CDLL(str(file)).sim3solve_answer() == 42
print(file)
"""


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(build.CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def has_compiler() -> None:
    try:
        compiler.find()
    except compiler.CompilerMissing as error:
        pytest.skip(str(error))


class Builds:
    """Writes some bytes and counts how often it was asked to."""

    def __init__(self, data: bytes = b"binary") -> None:
        self.data, self.count = data, 0

    def __call__(self, path: Path) -> None:
        self.count += 1
        path.write_bytes(self.data)


def files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def test_a_second_use_builds_nothing(cache_folder):
    builds = Builds()
    first, second = cached(["source"], ".bin", builds), cached(["source"], ".bin", builds)
    assert first == second
    assert first.read_bytes() == b"binary"
    assert builds.count == 1
    assert files_in(cache_folder) == [first]  # no temporary file is left


def test_other_parts_are_another_entry():
    parts = [["a", "b"], ["a", "c"], ["ab"], ["a", "b", ""], ["", "ab"]]
    assert len({key_of(each) for each in parts}) == len(parts)
    assert cached(parts[0], ".bin", Builds(b"1")) != cached(parts[1], ".bin", Builds(b"2"))


@pytest.mark.parametrize("damage", [b"", b"bin", b"binary and more", b"BINARY"])
def test_a_damaged_entry_is_built_again(damage):
    builds = Builds()
    file = cached(["source"], ".bin", builds)
    file.write_bytes(damage)
    assert cached(["source"], ".bin", builds).read_bytes() == b"binary"
    assert builds.count == 2


@pytest.mark.usefixtures("has_compiler")
def test_a_damaged_library_is_compiled_again():
    file = compiler.shared_library(SOURCE)
    file.write_bytes(file.read_bytes()[:1000])
    again = compiler.shared_library(SOURCE)
    assert ctypes.CDLL(str(again)).sim3solve_answer() == 42


@pytest.mark.usefixtures("has_compiler")
def test_four_processes_at_once_each_get_a_whole_library(cache_folder):
    argv = [sys.executable, "-X", "utf8", "-c", BUILD_IN_CHILD]  # it prints the folder, which a code page may not spell
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") for _ in range(4)]
    answers = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0] * 4, answers
    for file in {out.strip() for out, _ in answers}:
        assert ctypes.CDLL(file).sim3solve_answer() == 42
    assert not list(cache_folder.rglob("*.tmp"))


@pytest.mark.usefixtures("has_compiler")
def test_flags_and_source_make_another_library():
    plain = compiler.shared_library(SOURCE)
    assert compiler.shared_library(SOURCE, extra_flags=("-DUNUSED",)).parent != plain.parent
    other = compiler.shared_library(SOURCE.replace("42", "43"))
    assert ctypes.CDLL(str(other)).sim3solve_answer() == 43


@pytest.mark.usefixtures("has_compiler")
def test_what_the_compiler_says_is_in_the_error(cache_folder):
    with pytest.raises(BuildError, match=r"(?s)exit 1: .*no_such_type"):
        compiler.shared_library("no_such_type x;\n")
    assert files_in(cache_folder) == []


def test_a_failed_build_leaves_nothing_and_the_next_one_works(cache_folder):
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise BuildError("the compiler died")

    with pytest.raises(BuildError, match="the compiler died"):
        cached(["source"], ".bin", fails)
    assert files_in(cache_folder) == []
    assert cached(["source"], ".bin", Builds()).read_bytes() == b"binary"


@pytest.mark.parametrize("blocked", ["file", "inside"])
def test_a_cache_that_cannot_be_written_is_named(cache_folder, blocked):
    """A file where a folder should be: fails for root too, whom permissions do not stop."""
    where = cache_folder if blocked == "file" else cache_folder / key_of(["source"])
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(b"")
    with pytest.raises(BuildError, match=r"cannot be kept there.*set SIM3SOLVE_CACHE") as caught:
        cached(["source"], ".bin", Builds())
    assert str(where) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not stop root")
def test_a_read_only_cache_is_named_and_still_read(cache_folder):
    kept = cached(["kept"], ".bin", Builds())
    cache_folder.chmod(0o500)
    try:
        assert cached(["kept"], ".bin", Builds()) == kept
        with pytest.raises(BuildError, match="Permission denied"):
            cached(["source"], ".bin", Builds())
    finally:
        cache_folder.chmod(0o700)


@pytest.mark.skipif(os.name == "nt" or not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named():
    def onto_a_full_disk(path: Path) -> None:
        path.symlink_to("/dev/full")
        path.write_bytes(b"binary")

    with pytest.raises(BuildError, match="No space left on device"):
        cached(["source"], ".bin", onto_a_full_disk)


def test_the_folder_is_the_variable_or_the_users_own(monkeypatch, tmp_path):
    assert build.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv(build.CACHE_VARIABLE)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / "sim3solve"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert build.cache_folder() == Path.home() / ".cache" / "sim3solve"


@pytest.mark.parametrize("name", ["host.cpp", "gauss_newton.cuh"])
def test_sources_become_one_text_with_each_header_once(name):
    text = inline_sources(name)
    assert '#include "' not in text
    assert "#pragma once" not in text
    for header in ("portable.cuh", "sim3.cuh", "problem.cuh"):
        assert text.count(f'#line 1 "sim3solve/kernels/{header}"') == 1


def test_line_directives_tell_the_true_line():
    wanted = "SIM3_FN void advance("
    number, file = 0, ""
    for line in inline_sources("host.cpp").splitlines():
        if line.startswith("#line"):
            _, n, file = line.split(maxsplit=2)
            number = int(n) - 1
            continue
        number += 1
        if line.startswith(wanted):
            break
    assert file == '"sim3solve/kernels/gauss_newton.cuh"'
    assert (build.KERNELS / "gauss_newton.cuh").read_text(encoding="utf-8").splitlines()[number - 1].startswith(wanted)
