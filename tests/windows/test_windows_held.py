"""Files that somebody holds open on Windows while the harness writes: as a virus scanner, an indexer, or a second harness."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import jsonfile
from harness.casefile import read_case, read_document, write_case
from sim3solve import held

pytestmark = pytest.mark.skipif(os.name != "nt", reason="other systems let a file go that is open")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def hold(monkeypatch):
    """Opens a file, and closes it when somebody who wants to move it has been refused."""
    opened = []

    def let_go(seconds):
        assert opened, "there is nothing to wait for"
        opened.pop().close()

    monkeypatch.setattr(held.time, "sleep", let_go)
    yield lambda file: opened.append(open(file, "rb"))  # noqa: SIM115
    if opened:
        opened.pop().close()
        pytest.skip("wine moves a folder one of whose files is open: nothing was shown")


def test_a_document_that_is_held_is_replaced(tmp_path, hold):
    jsonfile.write_json(tmp_path / "a.json", {"old": 1})
    hold(tmp_path / "a.json")
    jsonfile.write_json(tmp_path / "a.json", {"new": 1})
    assert jsonfile.parse((tmp_path / "a.json").read_bytes()) == {"new": 1}


def test_a_case_one_of_whose_files_is_held_is_replaced(tmp_path, hold):
    write_case(read_case(ROOT / "cases" / "degenerate-n-33"), tmp_path / "case")
    hold(tmp_path / "case" / "case.json")
    write_case(read_case(ROOT / "cases" / "degenerate-n-0"), tmp_path / "case", replace=True)
    assert read_document(tmp_path / "case").id == "degenerate-n-0"


def test_a_job_s_folder_one_of_whose_files_is_held_is_emptied(tmp_path, hold):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "result.json").write_text("of an earlier run")
    hold(tmp_path / "job" / "result.json")
    held.new_folder(tmp_path / "job")
    assert list((tmp_path / "job").iterdir()) == []
