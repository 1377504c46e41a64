"""``reports/latest``: a link where links are allowed; elsewhere a folder that every verb follows. It never costs an older run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from run_cli import ROOT, harness

from harness.runfolder import LATEST, point_latest, resolved

FAULTS = ROOT / "tests" / "windows" / "faults_of_both.py"


@pytest.fixture(params=["links", "no links"])
def links(request, monkeypatch, tmp_path):
    """Whether links are allowed here. Windows says ERROR_PRIVILEGE_NOT_HELD without developer mode."""
    if request.param == "links":
        (tmp_path / "try").mkdir()
        try:
            (tmp_path / "link").symlink_to("try", target_is_directory=True)
        except OSError:
            pytest.skip("links are not allowed here")
        if not (tmp_path / "link").is_dir():
            pytest.skip("wine's links lead nowhere")
    else:
        forbid(monkeypatch)
    return request.param == "links"


def forbid(monkeypatch):
    def refused(self, target, target_is_directory=False):
        raise OSError(22, "A required privilege is not held by the client", str(self))

    monkeypatch.setattr(Path, "symlink_to", refused)


def run(out, name):
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run": name}))
    (folder / "index.html").write_text(f"the report of {name}")
    point_latest(out, folder)
    return folder


def test_it_leads_to_the_newest(links, tmp_path):
    out = tmp_path / "reports"
    for name in ("first", "second"):
        folder = run(out, name)
        assert resolved(out / LATEST).resolve() == folder.resolve()
        found = resolved(out / LATEST / "outcomes" / "a.json")
        assert found.parent.parent.resolve() == folder.resolve() and found.parts[-2:] == ("outcomes", "a.json")
    assert (out / "first" / "index.html").read_text() == "the report of first"
    assert {entry.name for entry in out.iterdir()} == {"first", "second", LATEST}
    page = (out / LATEST / "index.html").read_text()
    assert page == "the report of second" if links else 'url=../second/index.html"' in page


def test_a_link_that_can_no_longer_be_made_costs_no_run(monkeypatch, tmp_path):
    """As when developer mode was switched off: what stands in the old link's place must not be written through it."""
    if os.name == "nt":
        pytest.skip("starts with a link")
    out = tmp_path / "reports"
    run(out, "first")
    forbid(monkeypatch)
    run(out, "second")
    assert {entry.name for entry in (out / "first").iterdir()} == {"run.json", "index.html"}
    assert (out / "first" / "index.html").read_text() == "the report of first"
    assert resolved(out / LATEST) == out / "second"


def test_a_folder_gives_way_to_a_link_once_that_can_be_made(monkeypatch, tmp_path):
    if os.name == "nt":
        pytest.skip("ends with a link")
    out = tmp_path / "reports"
    with monkeypatch.context() as planted:
        forbid(planted)
        run(out, "first")
    run(out, "second")
    assert (out / LATEST).is_symlink() and (out / LATEST / "index.html").read_text() == "the report of second"


def test_what_a_user_put_beside_it_stays(links, monkeypatch, tmp_path):
    out = tmp_path / "reports"
    with monkeypatch.context() as planted:
        forbid(planted)
        run(out, "first")
    (out / LATEST / "audit.json").write_text("mine")
    run(out, "second")
    assert (out / LATEST / "audit.json").read_text() == "mine"
    assert resolved(out / LATEST) == out / "second"


def test_a_user_s_own_folder_of_that_name_is_left_alone(links, tmp_path):
    (tmp_path / "reports" / LATEST).mkdir(parents=True)
    (tmp_path / "reports" / LATEST / "run.json").write_text("mine")
    run(tmp_path / "reports", "first")
    assert [entry.name for entry in (tmp_path / "reports" / LATEST).iterdir()] == ["run.json"]
    assert resolved(tmp_path / "reports" / LATEST) == tmp_path / "reports" / LATEST


@pytest.mark.parametrize("text", [b"", b"..", b"../elsewhere", b"a\\b", b"C:x", b"\xff", b"/etc", b"a\0b"])
def test_a_name_that_is_none_is_not_followed(tmp_path, text):
    (tmp_path / LATEST).mkdir()
    (tmp_path / LATEST / "run.txt").write_bytes(text)
    assert resolved(tmp_path / LATEST / "x") == tmp_path / LATEST / "x"


def test_only_what_is_called_latest_is_followed(tmp_path):
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "run.txt").write_text("elsewhere")
    assert resolved(tmp_path / "case") == tmp_path / "case"


def test_every_verb_that_takes_a_run_follows_it(monkeypatch, tmp_path):
    forbid(monkeypatch)
    out, case = tmp_path / "reports", str(ROOT / "cases" / "degenerate-n-33")
    assert harness("replay", case, "--solver", "skip", "--solver", f"{FAULTS}:exception", "--out", str(out)).returncode == 1
    latest = str(out / LATEST)
    ends = {
        "report": harness("report", latest),
        "diagnose": harness("diagnose", latest),
        "export": harness("export", latest, "--markdown", "-"),
        "compare": harness("compare", latest, latest),
        "bundle": harness("bundle", latest, "--no-doctor", "-o", str(tmp_path / "a.zip")),
        "bundle one": harness("bundle", str(failed(out)), "--no-doctor", "-o", str(tmp_path / "b.zip")),
    }
    codes = {"diagnose": 1}
    assert {verb: done.returncode for verb, done in ends.items()} == {verb: codes.get(verb, 0) for verb in ends}, ends
    assert {entry.name for entry in (out / LATEST).iterdir()} == {"index.html", "run.txt"}
    assert "planted" in ends["diagnose"].stdout and "planted" in ends["export"].stdout


def failed(out):
    """The outcome of the solver that failed, as a user names it who knows only ``latest``."""
    (file,) = resolved(out / LATEST).glob("outcomes/*exception*.json")
    return out / LATEST / "outcomes" / file.name
