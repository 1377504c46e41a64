"""Specimens that an audit must name: built, audited, and what is missed, misnamed or not built is said to be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness import specimens
from harness.diagnosis.documents import read_documents
from harness.diagnosis.ofrun import bugs_of, documents_of
from harness.specimens import Look, objects
from harness.specimens.look import ROOT
from harness.specimens.table import AUDIT_HOW, Audit, Specimen, read_table
from sim3solve import compiler

try:
    compiler.find()
except compiler.CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)

TABLE = read_table()
CASE = ROOT / TABLE.case
PAIR, LONG = ("collision/collision_pair.py",), ("long_kernel.py",)
KERNEL = "void inverse_kernel<float>(float const*, float*, int)"


def audited(folder: Path, check: str, *symbols: str, build: tuple[str, ...] = PAIR) -> objects.Audited:
    made = TABLE.specimen[0].model_copy(update={"audit": Audit(build=build, check=check, symbols=symbols)})
    return objects.audit_all([made], folder)[made.name]


def test_the_collision_is_named(tmp_path: Path) -> None:
    found = audited(tmp_path, "collisions", "inverse_kernel<float>")
    assert (found.is_found, found.seen) == (True, f"audit: 1 launch stub collides: {KERNEL}")
    assert "a linker that folds them" in found.verdict
    assert found.document is not None and len(found.document["collisions"]) == 1
    assert found.repeat.startswith("python -m harness audit ") and "gpu_stand_in.o" in found.repeat


def test_the_long_is_named(tmp_path: Path) -> None:
    found = audited(tmp_path, "long", "copy_rows<float>", build=LONG)
    assert found.is_found is True
    assert found.seen == "audit: 1 kernel takes a long: void copy_rows<float>(float const*, float*, long, long)"


@pytest.mark.parametrize(("check", "symbols", "build"), [
    ("collisions", ("other_kernel",), PAIR), ("collisions", ("inverse_kernel<float>", "other_kernel"), PAIR),
    ("long", ("inverse_kernel<float>",), PAIR), ("collisions", ("copy_rows<float>",), LONG),
])  # fmt: skip
def test_what_goes_by_another_name_is_missed(tmp_path: Path, check: str, symbols: tuple[str, ...], build: tuple[str, ...]) -> None:
    found = audited(tmp_path, check, *symbols, build=build)
    assert found.is_found is False and found.document is not None


def test_a_cured_pair_is_not_found(tmp_path: Path) -> None:
    script = tmp_path / "cured.py"
    pair = ROOT / "tests" / "specimens" / PAIR[0]
    text = (
        f"import runpy, sys\nsys.argv = [sys.argv[0], sys.argv[-1], '--cured']\nrunpy.run_path({str(pair)!r}, None, '__main__')\n"
    )
    script.write_text(text)
    found = audited(tmp_path / "objects", "collisions", "inverse_kernel<float>", build=(str(script),))
    assert (found.is_found, found.seen) == (False, "audit: nothing")


@pytest.mark.parametrize(("program", "said"), [
    ("import sys; sys.exit('no nvcc here')", "no nvcc here"), ("pass", "it left no objects"), ("import os; os._exit(3)", "exit 3"),
])  # fmt: skip
def test_objects_that_cannot_be_built_are_not_run_and_why_is_said(tmp_path: Path, program: str, said: str) -> None:
    script = tmp_path / "build.py"
    script.write_text(program)
    found = audited(tmp_path / "objects", "collisions", "x", build=(str(script),))
    assert (found.is_found, found.document, found.seen) == (None, None, f"its objects could not be built: {said}")


def test_objects_that_cannot_be_read_are_a_failure(tmp_path: Path) -> None:
    script = tmp_path / "build.py"
    script.write_text("import pathlib, sys; pathlib.Path(sys.argv[-1], 'a.o').write_bytes(b'\\x7fELF')")
    assert audited(tmp_path / "objects", "collisions", "x", build=(str(script),)).is_found is False


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> specimens.Found:
    wanted = [look for look in specimens.looks(TABLE, gpu=False) if look.name == "cpu-collision"]
    return specimens.run(wanted, CASE, tmp_path_factory.mktemp("audited"), command="a test")


def test_the_death_is_diagnosed_by_the_audit(found: specimens.Found) -> None:
    """The death alone says nothing of its cause: with the audit beside it the collision is likely."""
    [run] = found.runs
    documents, problems = documents_of(run)
    assert not problems and documents.planted
    [bug] = bugs_of(run, documents)
    assert (bug.diagnosis.cause, bug.diagnosis.confidence, bug.failure) == ("host-symbol-collision", "likely", False)
    named = next(fact for fact in bug.diagnosis.facts if fact.where == "audits/cpu-collision.json: collisions[0]")
    assert KERNEL in named.quote and "gpu_stand_in" in named.quote
    (run.folder / "audits" / "cpu-collision.json").rename(run.folder / "audit.json")
    assert bugs_of(run, documents_of(run)[0])[0].diagnosis.cause == "host-symbol-collision"
    (run.folder / "audit.json").rename(run.folder / "unknown.json")
    assert bugs_of(run, documents_of(run)[0])[0].diagnosis.cause == "access-violation"


def test_audit_rows_are_in_the_list_of_their_run(found: specimens.Found) -> None:
    rows = json.loads((found.runs[0].folder / "specimens.json").read_text())["rows"]
    assert [(row["name"], row["how"]) for row in rows] == [(row.name, row.how) for row in found.rows]
    assert [row.how for row in found.rows] == ["none", "audit"]


def test_an_audit_alone_needs_no_run(tmp_path: Path) -> None:
    subject = next(it for it in TABLE.specimen if it.name == "cpu-windows-long")
    assert isinstance(subject, Specimen)
    found = specimens.run([Look(subject, AUDIT_HOW)], CASE, tmp_path, command="a test")
    assert [(row.how, row.must, row.state) for row in found.rows] == [("audit", "audit: long: copy_rows<float>", True)]
    assert found.runs == ()


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc to build the CUDA pair")
def test_the_real_pair_is_named_without_a_gpu(tmp_path: Path) -> None:
    wanted = [look for look in specimens.looks(TABLE, gpu=True) if look.how == AUDIT_HOW]
    found = specimens.run(wanted, CASE, tmp_path, command="a test")
    assert [(row.name, row.state) for row in found.rows] == [("collision", True)], found.rows[0].seen
    assert found.rows[0].seen == f"audit: 1 launch stub collides: {KERNEL}"


def test_of_an_own_run_what_is_as_expected_is_no_bug(found: specimens.Found) -> None:
    """Only a specimen is explained although it ends as it must."""
    [run] = found.runs
    (run.folder / "specimens.json").rename(run.folder / "aside.json")
    assert not read_documents(run.folder, {})[0].planted
    assert bugs_of(run, documents_of(run)[0]) == ()
    (run.folder / "aside.json").rename(run.folder / "specimens.json")
