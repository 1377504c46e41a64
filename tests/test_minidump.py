"""Minidumps of Windows Error Reporting: a made winreg and made dumps. No proof for Windows itself."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import types
import zipfile

import pytest
from case_factory import make_case

from harness import minidump
from harness.casefile import write_case
from harness.doctor import windows
from harness.exitcode import decode
from harness.forms.bundle import bundle
from harness.isolation import with_dump
from harness.jsonfile import write_json
from harness.minidump import LOCAL_DUMPS, WER, LocalDumps, local_dumps, of_child
from harness.outcome import Kind, Outcome
from harness.record import minidumps
from harness.run import OUTCOMES, RUN_FILE
from harness.worker_files import JOURNAL
from sim3solve import held

PYTHON = LOCAL_DUMPS + r"\python.exe"
DIED = Outcome("c", "s", "none", Kind.CRASHED, "solving", 1.0, "again", exit=decode(0xC0000005, windows=True))


@pytest.fixture
def plant(monkeypatch):
    """A winreg with these keys, as {(hive, key): {name: value}}; an exception in place of the values is raised."""

    def made(keys):
        class Key:
            def __init__(self, values):
                self.values = values

            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

        def open_key(hive, key, reserved, access):
            assert (reserved, access) == (0, 0x20119)
            found = keys.get((hive, key), FileNotFoundError(2, "no key"))
            if isinstance(found, Exception):
                raise found
            return Key(found)

        def query(key, name):
            if name not in key.values:
                raise FileNotFoundError(2, "not set")
            return key.values[name], 1

        winreg = types.SimpleNamespace(
            HKEY_LOCAL_MACHINE="HKLM", HKEY_CURRENT_USER="HKCU", KEY_READ=0x20019, KEY_WOW64_64KEY=0x100, OpenKey=open_key,
            QueryValueEx=query,
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, "winreg", winreg)

    return made


@pytest.mark.parametrize(
    ("keys", "folder", "quiet"),
    [
        ({("HKLM", LOCAL_DUMPS): {}}, minidump.DEFAULT_FOLDER, False),
        ({("HKLM", LOCAL_DUMPS): {"DumpFolder": r"D:\dumps"}, ("HKLM", WER): {"DontShowUI": 1}}, r"D:\dumps", True),
        ({("HKLM", LOCAL_DUMPS): {"DumpFolder": "all"}, ("HKLM", PYTHON): {"DumpFolder": "mine"}}, "mine", False),
        ({("HKLM", LOCAL_DUMPS): {"DumpFolder": "all"}, ("HKLM", PYTHON): {}}, "all", False),
        ({("HKCU", LOCAL_DUMPS): {"DumpFolder": "user's"}, ("HKCU", WER): {"DontShowUI": 1}}, "user's", True),
        ({("HKLM", LOCAL_DUMPS): {"DumpFolder": 7}, ("HKLM", WER): {"DontShowUI": 0}}, minidump.DEFAULT_FOLDER, False),
    ],
)
def test_where_windows_leaves_dumps(plant, keys, folder, quiet):
    plant(keys)
    assert local_dumps() == LocalDumps(minidump.Path(folder), quiet)


def test_a_folder_may_name_variables(plant, monkeypatch):
    monkeypatch.setattr(minidump.os.path, "expandvars", lambda text: text.replace("%LOCALAPPDATA%", r"C:\Jörg"))
    plant({("HKLM", LOCAL_DUMPS): {}})
    assert str(local_dumps().folder) == r"C:\Jörg\CrashDumps"


@pytest.mark.parametrize("keys", [{}, {("HKLM", WER): {"DontShowUI": 1}}, {("HKLM", LOCAL_DUMPS): PermissionError(13, "no")}])
def test_off(plant, keys):
    plant(keys)
    assert local_dumps() is None


def test_not_on_windows(monkeypatch):
    monkeypatch.setitem(sys.modules, "winreg", None)
    assert local_dumps() is None


@pytest.fixture
def job(tmp_path):
    """A job's folder whose child was process 4242, and the folder for dumps."""
    (tmp_path / "job").mkdir()
    (tmp_path / "dumps").mkdir()
    line = json.dumps({"stage": "spawned", "time": time.time(), "pid": 4242})
    (tmp_path / "job" / JOURNAL).write_text(line + "\n{damaged", encoding="utf-8")
    return tmp_path / "job", LocalDumps(tmp_path / "dumps", True)


def leave(dumps, name, data=b"MDMP", age_s=0.0):
    (dumps.folder / name).write_bytes(data)
    os.utime(dumps.folder / name, (time.time() - age_s,) * 2)


def test_the_dump_of_the_child_is_moved_and_listed(job):
    folder, dumps = job
    leave(dumps, "python.exe.4242.dmp", b"MDMP" * 300_000)
    leave(dumps, "python.exe.42.dmp")
    outcome = with_dump(DIED, folder, dumps)
    assert outcome.values["minidump"] == {"file": "python.exe.4242.dmp", "bytes": 1_200_000, "moved": True}
    assert "python.exe.4242.dmp, 1.1 MiB, in the job's folder" in outcome.notes[0] and str(folder) not in outcome.notes[0]
    assert (folder / "python.exe.4242.dmp").read_bytes()[:4] == b"MDMP"
    assert [file.name for file in dumps.folder.iterdir()] == ["python.exe.42.dmp"]
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_an_older_dump_of_the_same_number_is_of_another_process(job):
    folder, dumps = job
    leave(dumps, "python.exe.4242.dmp", age_s=60)
    assert with_dump(DIED, folder, dumps) == DIED
    assert (dumps.folder / "python.exe.4242.dmp").exists()


def test_only_of_a_child_that_died(job):
    folder, dumps = job
    leave(dumps, "python.exe.4242.dmp")
    fine = dataclasses.replace(DIED, kind=Kind.TIMEOUT, limit_s=1.0)
    assert with_dump(fine, folder, dumps) == fine and with_dump(DIED, folder, None) == DIED
    assert (dumps.folder / "python.exe.4242.dmp").exists()


def test_a_huge_dump_stays_where_it_is(job, monkeypatch):
    folder, dumps = job
    monkeypatch.setattr(minidump, "MAX_BYTES", 3 << 20)
    leave(dumps, "python.exe.4242.dmp", bytes((3 << 20) + 1))
    outcome = with_dump(DIED, folder, dumps)
    assert outcome.values["minidump"]["moved"] is False and "larger than 3 MiB" in outcome.notes[0]
    assert (dumps.folder / "python.exe.4242.dmp").exists() and not list(folder.glob("*.dmp"))


def test_a_file_that_is_held_is_tried_again_then_left(job, monkeypatch):
    folder, dumps = job
    leave(dumps, "python.exe.4242.dmp")
    tries, move = [], minidump.shutil.move

    def refused(source, target):
        tries.append(source)
        if len(tries) < 3:
            raise PermissionError(13, "in use")
        return move(source, target)

    monkeypatch.setattr(minidump.shutil, "move", refused)
    monkeypatch.setattr(held, "_WINDOWS", True)
    assert of_child(folder / JOURNAL, dumps, folder).moved and len(tries) == 3
    leave(dumps, "python.exe.4242.dmp")
    tries.clear()
    monkeypatch.setattr(minidump, "_WAIT_S", 0.0)
    left = of_child(folder / JOURNAL, dumps, folder)
    assert not left.moved and left.why == "in use" and left.file.exists()


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'{"pid": "x", "time": 1}', b'{"pid": 1e999, "time": 1}', b"[" * 5000, b'{"pid": 1}', b"\xff"]
)
def test_a_journal_that_was_overrun(job, line):
    folder, dumps = job
    (folder / JOURNAL).write_bytes(line)
    assert of_child(folder / JOURNAL, dumps, folder) is None


def test_no_journal_and_no_folder(job, tmp_path):
    folder, _ = job
    assert of_child(folder / JOURNAL, LocalDumps(tmp_path / "none", True), folder) is None
    assert of_child(folder / "none", LocalDumps(tmp_path, True), folder) is None


def test_a_bundle_says_that_there_is_a_dump_and_does_not_hold_it(tmp_path):
    case = write_case(make_case(), tmp_path / "c").document
    (tmp_path / "run" / "jobs" / "c__s__none").mkdir(parents=True)
    (tmp_path / "run" / "jobs" / "c__s__none" / "python.exe.4242.dmp").write_bytes(b"MDMP")
    died = dataclasses.replace(
        DIED, case=case.id, notes=("minidump python.exe.4242.dmp, 1.0 MiB",), values={"minidump": {"file": "python.exe.4242.dmp"}}
    )
    (tmp_path / "run" / OUTCOMES).mkdir()
    write_json(tmp_path / "run" / OUTCOMES / "0.json", died.to_json())
    summary = {"path": str(tmp_path / "c"), "sha256": case.tensors_sha256}
    header = {"run": "r", "started": "2026-01-01T00:00:00+00:00", "finished": None, "command": "", "environment": {}}
    write_json(tmp_path / "run" / RUN_FILE, header | {"plan": {"tasks": [died.key], "solvers": {}}, "cases": {case.id: summary}})
    made = bundle(tmp_path / "run", tmp_path / "crash.zip", doctor=False)
    assert not [it.name for it in made.contents if "dmp" in it.name]
    with zipfile.ZipFile(made.archive) as packed:
        assert "python.exe.4242.dmp" in packed.read("outcome.json").decode()
        assert not any(b"MDMP" in packed.read(name) for name in packed.namelist())


@pytest.mark.parametrize(
    ("found", "state", "said", "fix"),
    [
        (None, "skip", "off (LocalDumps)", "LocalDumps\" /v DumpType /t REG_DWORD /d 1 /f; as administrator: reg add"),
        (LocalDumps(minidump.Path("D:/dumps"), False), "warn", "dialogue", "/v DontShowUI /t REG_DWORD /d 1"),
        (LocalDumps(minidump.Path("D:/dumps"), True), "ok", "dumps, and the harness moves", ""),
    ],
)  # fmt: skip
def test_the_doctors_line(found, state, said, fix):
    check = windows.crash_dumps(found)
    assert check.state == state and said in check.detail and fix in check.fix


def settings(monkeypatch, folder):
    names = []

    def asked(program):
        names.append(program)
        return LocalDumps(folder, True) if folder is not None else None

    monkeypatch.setattr(minidumps, "_WINDOWS", True)
    monkeypatch.setattr(minidump, "local_dumps", asked)
    return names


def test_of_a_recorded_program_that_died(job, monkeypatch):
    """Its processes are known by the journals of the recording; a virtual environment's python.exe starts another one."""
    _, dumps = job
    names = settings(monkeypatch, dumps.folder)
    since = time.time()
    leave(dumps, "python.exe.4242.dmp", b"MDMP" * 300_000)
    leave(dumps, "python.exe.7.dmp", age_s=60)
    leave(dumps, "python.exe.9.dmp")
    left = minidumps.left_by([4242, 7, 4242], since, r"python")
    assert [dump.file.name for dump in left.dumps] == ["python.exe.4242.dmp"] and "1.1 MiB" in left.words
    assert left.to_json()["files"] == [{"file": str(dumps.folder / "python.exe.4242.dmp"), "bytes": 1_200_000}]
    assert names == ["python.exe"] and (dumps.folder / "python.exe.4242.dmp").exists()


def test_where_there_is_none_it_is_said_why(job, monkeypatch):
    _, dumps = job
    settings(monkeypatch, dumps.folder)
    assert "left no minidump" in minidumps.left_by([4242], time.time(), "python.exe").words
    settings(monkeypatch, None)
    assert "docs/windows.md" in minidumps.left_by([4242], time.time(), "python.exe").words
    monkeypatch.setattr(minidumps, "_WINDOWS", False)
    assert minidumps.left_by([4242], time.time(), "python.exe") is None
