"""Things that stand where a case's files should, and generated cases that lie."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_factory import edit_document, make_generated, written
from hostile_case import BIG, bytes_of, put, refused, tensor, top

from harness.case import Case
from harness.casefile import DOCUMENT, TENSORS, write_case

pytestmark = pytest.mark.usefixtures("quick_disk")  # what survives a power cut is not at issue here

# Files that are no files


def make_hostile(path: Path, what: str, original: Case) -> None:
    if what == "missing":
        return
    if what == "link":
        assert original.path is not None
        path.symlink_to(original.path / path.name)
    elif what == "dangling":
        path.symlink_to(path.with_name("nowhere"))
    elif what == "loop":
        path.symlink_to(path)
    elif what == "zero":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif what == "device":
        try:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("no permission to make a device")
    elif what == "sparse":
        path.touch()
        os.truncate(path, 3 << 30)


@pytest.mark.skipif(os.name == "nt", reason="made of POSIX files")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", [DOCUMENT, TENSORS])
@pytest.mark.parametrize("what", ["missing", "link", "dangling", "loop", "zero", "folder", "pipe", "socket", "device", "sparse"])
def test_files_that_are_no_files(original: Case, tmp_path: Path, name: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    folder = Path()
    put(folder, original)
    (folder / name).unlink()
    make_hostile(folder / name, what, original)
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    start = time.perf_counter()
    error = refused(folder)
    assert time.perf_counter() - start < 1
    assert (Path(error.file).name, error.field) == (name, "file")
    if before:
        assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize("extra", [1, 2 << 20])
def test_a_tensor_file_longer_than_its_document_allows(original: Case, place: Path, extra: int) -> None:
    put(place, original)
    os.truncate(place / TENSORS, len(bytes_of(original, TENSORS)) + extra)
    assert refused(place).field == ("sha256" if extra == 1 else "file")


def test_a_file_that_grows_while_it_is_read(original: Case, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, original)
    look = os.fstat

    def look_and_grow(descriptor: int) -> os.stat_result:
        state = look(descriptor)
        with (place / DOCUMENT).open("ab") as file:
            file.write(b" ")
        return state

    monkeypatch.setattr(os, "fstat", look_and_grow)
    assert "changed" in refused(place).reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a POSIX pipe")
def test_a_file_exchanged_for_a_pipe_after_it_was_looked_at(
    original: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, original)
    look = os.lstat

    def look_and_exchange(path: Any, **rest: Any) -> os.stat_result:
        state = look(path, **rest)
        if Path(path).name == DOCUMENT:
            Path(path).unlink()
            os.mkfifo(path)
        return state

    monkeypatch.setattr(os, "lstat", look_and_exchange)
    assert "regular" in refused(tmp_path).reason


@pytest.mark.parametrize("path", ["nowhere", "n" * 300, "a\0b", "file", "file/below", "\udcff", ""])
def test_folders_that_are_none(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    error = refused(tmp_path / path)
    assert error.field == "file"
    assert str(error).isprintable()


# Generated cases


def test_a_generator_must_make_what_the_tensors_say(tmp_path: Path) -> None:
    """Refused before a point is made: the stranger's number of points costs nothing."""
    write_case(make_generated(4), tmp_path / "c")
    edit_document(tmp_path / "c", lambda fields: fields["generator"].update(n_points=BIG))
    start = time.perf_counter()
    assert refused(tmp_path / "c").field == "generator.n_points"
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("change", [{"seed": 8}, {"scene": "plane"}])
def test_a_generator_that_makes_other_values(tmp_path: Path, change: dict[str, Any]) -> None:
    write_case(make_generated(4), tmp_path / "c")
    edit_document(tmp_path / "c", lambda fields: fields["generator"].update(change))
    assert refused(tmp_path / "c").field == "tensors_sha256"


def test_a_generator_that_makes_other_types(tmp_path: Path) -> None:
    write_case(make_generated(4), tmp_path / "c")
    edit_document(tmp_path / "c", tensor("Xf", dtype="float64"))
    assert refused(tmp_path / "c").field == "Xf"


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["file", "folder", "link"])
def test_a_generated_case_with_values_too(tmp_path: Path, make: Callable[[Path], None]) -> None:
    write_case(make_generated(4), tmp_path / "c")
    make(tmp_path / "c" / TENSORS)
    assert refused(tmp_path / "c").field == "generator"


def test_an_error_carries_no_terminal_commands(tmp_path: Path) -> None:
    written(tmp_path / "c", kind="op", n=1)
    edit_document(tmp_path / "c", top(**{"\x1b[2J\x9b": 1}))
    assert "\\x1b[2J" in str(refused(tmp_path / "c"))


def test_numbers_are_what_they_look_like() -> None:
    assert np.dtype(np.float32).newbyteorder("<") == np.dtype(np.float32), "the format is little endian; so must be the machine"
