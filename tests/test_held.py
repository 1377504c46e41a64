"""Windows refuses to move a file that somebody holds: tried again for a while there, and said at once elsewhere."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from case_factory import make_case

from harness import jsonfile
from harness.casefile import pack_tensors, read_case, read_document, write_case
from harness.casepack import pack_case
from harness.errors import CaseError
from harness.record import store
from sim3solve import held


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(held, "_WINDOWS", True)


@pytest.fixture
def holder(monkeypatch):
    """Somebody who refuses every move of a file or folder ``times`` times. ``met`` counts the moves of each."""

    class Holder:
        def __init__(self) -> None:
            self.times = 0
            self.met: Counter[tuple[str, str]] = Counter()

    holder = Holder()

    for name in ("replace", "rename"):
        real = getattr(os, name)

        def refused(source, target, *, real=real):
            move = (str(source), str(target))
            holder.met[move] += 1
            if holder.met[move] <= holder.times:
                raise PermissionError(13, "Access is denied", str(source))
            real(source, target)

        monkeypatch.setattr(os, name, refused)
    return holder


def test_a_document_is_written_once_its_holder_lets_go(windows, holder, tmp_path):
    jsonfile.write_json(tmp_path / "a.json", {"old": 1})
    holder.times = 3
    jsonfile.write_json(tmp_path / "a.json", {"new": 1})
    assert jsonfile.parse((tmp_path / "a.json").read_bytes()) == {"new": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_case_is_replaced_once_its_holders_let_go(windows, holder, tmp_path):
    write_case(make_case(id="first"), tmp_path / "case")
    holder.times = 2
    write_case(make_case(id="second"), tmp_path / "case", replace=True)
    assert read_document(tmp_path / "case").id == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["case"]


def test_a_case_is_put_back_once_its_holders_let_go(windows, holder, tmp_path, monkeypatch):
    """What fails after the old case was moved aside is put right, holders or not."""
    write_case(make_case(id="first"), tmp_path / "case")
    holder.times = 2

    def failed(folder):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as planted:
        planted.setattr(jsonfile, "sync_folder", failed)
        planted.setattr(jsonfile, "write_bytes", lambda path, data: path.write_bytes(data))
        with pytest.raises(CaseError):
            write_case(make_case(id="second"), tmp_path / "case", replace=True)
    assert read_document(tmp_path / "case").id == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["case"]


def test_an_archive_is_written_once_its_holder_lets_go(windows, holder, tmp_path):
    write_case(make_case(id="first"), tmp_path / "case")
    holder.times = 2
    assert pack_case(tmp_path / "case", tmp_path / "case.zip").is_file()


@pytest.mark.parametrize("sync", [True, False])
def test_a_recorded_call_is_kept_once_its_holder_lets_go(windows, holder, tmp_path, sync):
    """A virus scanner looks at every new file, and the call that is recorded may be the one that kills."""
    case = make_case(id="call")
    holder.times = 2
    image = memoryview(pack_tensors(case.values, case.document))
    document = store.write(tmp_path / "call", case.document, image, sync=sync)
    store.update(tmp_path / "call", document.model_copy(update={"title": "came back"}), sync=sync)
    assert read_case(tmp_path / "call").document.title == "came back"


def test_who_never_lets_go_is_an_error(windows, holder, tmp_path):
    holder.times = 1000
    with pytest.raises(PermissionError):
        held.replace(tmp_path / "a", tmp_path / "b", 0.2)
    assert holder.met.popitem()[1] > 1


def test_elsewhere_it_means_not_allowed(holder, tmp_path):
    if os.name == "nt":
        pytest.skip("of other systems")
    holder.times = 2
    with pytest.raises(PermissionError):
        held.replace(tmp_path / "a", tmp_path / "b")
    assert holder.met.popitem()[1] == 1


def test_a_new_folder_is_empty(tmp_path):
    (tmp_path / "job" / "deep").mkdir(parents=True)
    (tmp_path / "job" / "result.json").write_text("of an earlier run")
    held.new_folder(tmp_path / "job")
    assert list((tmp_path / "job").iterdir()) == []


def test_a_new_folder_where_the_old_one_is_still_going(windows, tmp_path, monkeypatch):
    """Windows keeps the name of what is removed until its last holder lets go."""
    (tmp_path / "job").mkdir()
    tries, mkdir = [], os.mkdir

    def pending(path, *more, **words):
        tries.append(path)
        if len(tries) < 3:
            raise PermissionError(13, "Access is denied", str(path))
        mkdir(path, *more, **words)

    monkeypatch.setattr(os, "mkdir", pending)
    held.new_folder(tmp_path / "job")
    assert len(tries) == 3 and (tmp_path / "job").is_dir()


def test_what_cannot_be_removed_is_never_passed_for_an_empty_folder(windows, tmp_path, monkeypatch):
    """A result that an earlier child left would be taken for the next one's."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "result.json").write_text("of an earlier run")

    def refused(path, ignore_errors=False):
        if not ignore_errors:
            raise PermissionError(13, "Access is denied", str(path))

    monkeypatch.setattr(held.shutil, "rmtree", refused)
    with pytest.raises(PermissionError):
        held.new_folder(tmp_path / "job", 0.1)
