"""Where a case may be written, what it may replace, and what must fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from case_factory import (
    assert_same,
    make_case,
    names_in,
    written,
)

from harness.case import Case
from harness.casefile import DOCUMENT, find_cases, read_case, write_case
from harness.errors import CaseError

NOTHING: set[str] = set()


def test_an_existing_case_is_kept_unless_replaced(tmp_path: Path) -> None:
    old = written(tmp_path / "c", seed=1)
    with pytest.raises(CaseError, match="exists already"):
        written(tmp_path / "c", seed=2)
    assert_same(read_case(tmp_path / "c"), old)
    new = write_case(make_case(seed=2), tmp_path / "c", replace=True)
    assert_same(read_case(tmp_path / "c"), new)
    assert names_in(tmp_path) == {"c"}


def test_replacing_never_removes_what_is_no_case(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "letters").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = names_in(tmp_path)
    for name in before:
        with pytest.raises(CaseError, match="not a case"):
            write_case(make_case(), tmp_path / name, replace=True)
    assert names_in(tmp_path) == before
    assert (home / "letters").is_dir()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "/", "..", "a/..", "n" * 300, "a\0b", "file/c"])
def test_places_no_case_can_have(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CaseError):
        write_case(make_case(), Path(name))
    assert names_in(tmp_path) == {"file"}


def test_values_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    case = make_case()
    bad = {
        "Xf": {"Xf": case.values["Xf"].astype(np.float64)},
        "Xk": {"Xk": case.values["Xk"][:4]},
        "Qk": {"Qk": case.values["Qk"].astype(">f4")},
        "extra": {"extra": case.values["Xf"]},
        "valid_opt": {"valid_opt": np.full((5, 1), 2, np.uint8).view(np.bool_)},
    }
    for field, change in bad.items():
        with pytest.raises(CaseError) as caught:
            write_case(Case(case.document, {**case.values, **change}), tmp_path / "c")
        assert caught.value.field == field
        assert ".tmp" not in str(caught.value)
    with pytest.raises(CaseError, match="Xf"):
        write_case(Case(case.document, {name: v for name, v in case.values.items() if name != "Xf"}), tmp_path / "c")
    assert names_in(tmp_path) == NOTHING


def test_find_cases(tmp_path: Path) -> None:
    for name in ("b", "a", ".a.1.tmp"):
        written(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert list(find_cases([tmp_path, tmp_path / "b"])) == [tmp_path / "a", tmp_path / "b", tmp_path / "b"]
    for path in (tmp_path / "empty", tmp_path / "none", tmp_path / ("n" * 300), tmp_path / "a" / DOCUMENT):
        with pytest.raises(CaseError):
            list(find_cases([path]))
