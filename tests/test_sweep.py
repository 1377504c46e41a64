"""A layout sweep of a planted solver names the rule it was planted with, survives any interruption, and shows in the report."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from html_tree import check_links, parse

from harness.errors import ResultError, UsageError
from harness.isolation import Limits
from harness.jsonfile import write_json
from harness.outcome import Kind
from harness.replay import Request, replay
from harness.report.page import build_page
from harness.report.write import render, write_report
from harness.run import SWEPT, read_run
from harness.sweep.files import has_fault, read_sweeps

ROOT = Path(__file__).parent.parent
FAULTS = Path(__file__).with_name("memory_faults.py")
CASE = "layout-offset-views"


def request(out: Path, *solvers: str, cases: tuple[str, ...] = (CASE,), **more) -> Request:
    names = tuple(name if name in ("native", "torch", "reference", "skip") else f"{FAULTS}:{name}" for name in solvers)
    more = {"limits": Limits(), "sweep": True, "command": "test"} | more
    return Request(tuple(ROOT / "cases" / name for name in cases), names, out=out, **more)


PLANTED = {
    "aligned_load": ["T_WCk mod 16 != 0"],
    "aligned_load_of_two": ["T_WCf mod 16 != 0", "T_WCk mod 16 != 0"],
    "aligned_32": ["Xk mod 32 != 0"],
    "ignores_strides": ["Xf is not contiguous"],
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all planted solvers and a healthy one, with its report. Not to be changed."""
    run = replay(request(tmp_path_factory.mktemp("planted"), *PLANTED, "native"))
    write_report(run.folder)
    return run.folder


@pytest.mark.skipif(os.name == "nt", reason="a fatal access becomes an exception of ctypes' on Windows")
@pytest.mark.parametrize("solver", list(PLANTED))
def test_the_planted_rule_is_named(planted, solver):
    (sweep,) = [sweep for sweep in read_sweeps(planted) if sweep["solver"].endswith(f":{solver}")]
    assert sweep["state"] == "rule" and sorted(sweep["rule"].removeprefix("faults exactly when ").split(" or ")) == PLANTED[solver]
    assert len(sweep["tests"]) >= 3 and has_fault(sweep)
    signatures = {entry["signature"] for entry in sweep["layouts"] if entry["faulted"]}
    wrong = {"OK out of tolerance", "SOLVER_STATUS NON_FINITE"}  # what lies between the elements is NaN
    assert signatures == ({"CRASHED SIGSEGV"} if solver != "ignores_strides" else signatures & wrong)


def test_the_document_is_the_documented_one(planted):
    files = sorted((planted / "sweeps").glob("*.json"))
    assert len(files) == len(PLANTED) + 1 and files[-1].name == f"{CASE}__native__none.json"
    for file in files:
        document = json.loads(file.read_text())
        assert set(document) == {"case", "solver", "tool", "layouts", "rule", "state", "tests"}
        for entry in document["layouts"]:
            assert {"layout", "tensors", "outcome", "signature", "faulted"} <= set(entry)
            assert all(spec["mod16"] == spec["mod512"] % 16 for spec in entry["tensors"].values())
    names = [file.stem for file in (planted / SWEPT).glob("*.json")]
    assert all(not set(name) & set('<>:"/\\|?*') for name in names)  # a file name on Windows, too


def test_healthy_in_every_layout(planted):
    (sweep,) = [sweep for sweep in read_sweeps(planted) if sweep["solver"] == "native"]
    assert sweep["rule"] == "healthy in all 9 layouts tried" and not has_fault(sweep)


def test_a_fault_that_comes_and_goes_is_chance_and_how_often_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SOLVES", str(tmp_path / "solves"))
    run = replay(request(tmp_path / "out", "four_times"))
    (sweep,) = read_sweeps(run.folder)
    assert (sweep["state"], sweep["tests"]) == ("by chance", [])
    assert sweep["rule"].startswith("faults by chance: 1 of 4 times in recorded, 0 of 4 times in ")
    repeated = [entry for entry in sweep["layouts"] if entry["layout"].startswith("recorded#")]
    assert len(repeated) == 3 and all(entry["repeat"].endswith("--layout recorded") for entry in repeated)
    text = write_report(run.folder).read_text(encoding="utf-8")
    check_links(parse(text))
    assert sweep["rule"] in text and "recorded#4" in text


def test_the_run_itself_holds_no_layout_but_the_recorded(planted):
    run = read_run(planted)
    assert {outcome.layout for outcome in run.outcomes} == {"recorded"} and len(run.outcomes) == len(PLANTED) + 1


def test_one_layout_again_is_what_the_sweep_says_to_repeat(planted, tmp_path):
    (sweep,) = [sweep for sweep in read_sweeps(planted) if sweep["solver"].endswith(":aligned_load")]
    entry = next(entry for entry in sweep["layouts"] if entry["layout"] == "aligned-512,T_WCk=shift-4")
    words = entry["repeat"].split()
    assert words[-2:] == ["--layout", "aligned-512,T_WCk=shift-4"]
    argv = [sys.executable, *words[1:], "--out", str(tmp_path), "--json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    (again,) = json.loads(done.stdout)["outcomes"]
    assert (done.returncode, again["outcome"], again["layout"]) == (1, entry["outcome"], entry["layout"])
    assert again["repeat"] == entry["repeat"]


@pytest.mark.skipif(os.name == "nt", reason="a fatal access becomes an exception of ctypes' on Windows")
def test_git_bisect_is_told_of_a_fault_that_only_another_layout_has(tmp_path):
    """As recorded all is as expected."""
    argv = [sys.executable, "-m", "harness", "replay", "cases/degenerate-n-33", "--solver", f"{FAULTS}:aligned_load", "--layouts"]
    done = subprocess.run([*argv, "--bisect-exit", "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert "1 of 1 as expected" in done.stdout and "exactly when T_WCk mod 16 != 0" in done.stdout
    assert done.returncode == 1


def test_the_report_shows_grid_and_rule(planted):
    text = (planted / "index.html").read_text(encoding="utf-8")
    check_links(parse(text))
    assert "in other layouts 4 of 5 fault" in text and "faults exactly when T_WCk mod 16 != 0" in text
    assert len(parse(text).all("div", "sweep")) == 4 and "healthy in all 9 layouts tried" in text


# --- what interrupts it -----------------------------------------------------------------------------------------------------------


def unfinish(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", document | {"finished": None})


def test_a_sweep_that_was_cut_off_runs_only_what_is_missing(tmp_path):
    first = replay(request(tmp_path, "ignores_strides"))
    (before,) = read_sweeps(first.folder)
    unfinish(first.folder)
    victims = sorted((first.folder / SWEPT).glob("*.json"))[2:4]
    victims[0].write_text('{"case": "layout-offset')  # cut short
    victims[1].unlink()
    ran = []
    again = replay(request(tmp_path, "ignores_strides"), lambda outcome, done, total: ran.append((outcome.layout, done, total)))
    assert again.id == first.id and len(ran) == 2 and all(done <= total for _, done, total in ran)
    (after,) = read_sweeps(again.folder)
    assert after["rule"] == before["rule"] and [e["layout"] for e in after["layouts"]] == [e["layout"] for e in before["layouts"]]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.slow
def test_two_ends_from_outside_in_the_middle_of_a_sweep(tmp_path):
    """Ctrl-C, then kill -9: what is finished is kept, and the third time the rule is found."""
    solver = "slow_ignores_strides"
    argv = [
        sys.executable,
        "-m",
        "harness",
        "replay",
        f"cases/{CASE}",
        "--solver",
        f"{FAULTS}:{solver}",
        "--layouts",
        "--jobs",
        "2",
    ]
    kept: dict[str, int] = {}
    for how in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen([*argv, "--out", str(tmp_path)], cwd=ROOT, stdout=-3, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while len(found := list(tmp_path.glob(f"2*/{SWEPT}/*.json"))) < len(kept) + 3:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        assert how is signal.SIGKILL or (process.returncode == 130 and "the same command takes it up again" in said)
        kept = {file.name: json.loads(file.read_text())["seconds"] for file in found}
    (folder,) = [file.parent for file in tmp_path.glob("2*/run.json")]
    assert json.loads((folder / "run.json").read_text())["finished"] is None
    write_report(folder)  # of what it has so far
    run = replay(request(tmp_path, solver))
    assert run.folder == folder and run.finished
    assert read_sweeps(folder)[0]["rule"] == "faults exactly when Xf is not contiguous"
    for name, seconds in kept.items():
        assert json.loads((folder / SWEPT / name).read_text())["seconds"] == seconds  # not run again


def test_a_sweep_is_another_run_than_none(tmp_path):
    first = replay(request(tmp_path, "native", sweep=False))
    unfinish(first.folder)
    assert replay(request(tmp_path, "native")).id != first.id


# --- wrong use and damaged files --------------------------------------------------------------------------------------------------


def test_words_that_mean_nothing_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match="an exact allocation lies where it ends"):
        replay(request(tmp_path, "native", memories=("exact",)))
    with pytest.raises(UsageError, match="--memory heap: unknown"):
        replay(request(tmp_path, "native", memories=("heap",)))
    with pytest.raises(UsageError, match="'sideways' is no layout"):
        replay(request(tmp_path, "native", layouts=("sideways",)))
    assert not list(tmp_path.iterdir())
    for words in (["--layout", "sideways"], ["--layouts", "--memory", "exact"]):
        argv = [sys.executable, "-m", "harness", "replay", f"cases/{CASE}", *words, "--out", str(tmp_path)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "Traceback" not in done.stderr and words[-1] in done.stderr


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d.pop("rule"), "rule"),
        (lambda d: d.update(layouts=7), "layouts"),
        (lambda d: d["layouts"].append(None), "layouts.9.layout"),
        (lambda d: d["layouts"][0].update(faulted="yes"), "layouts.0.faulted"),
        (lambda d: d["layouts"][3].pop("tensors"), "layouts.3.tensors"),
    ],
)
def test_a_damaged_sweep_is_named_with_its_field(planted, tmp_path, change, field):
    folder = tmp_path / "run"
    (folder / "sweeps").mkdir(parents=True)
    file = folder / "sweeps" / "one.json"
    shutil.copy(planted / "sweeps" / f"{CASE}__native__none.json", file)
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(ResultError) as caught:
        read_sweeps(folder)
    assert caught.value.field == field
    for data in (b"", b"[]", b"\xff", b"{" * 90_000):
        file.write_bytes(data)
        with pytest.raises(ResultError, match=r"one\.json: json"):
            read_sweeps(folder)


# --- memory modes, in a run -------------------------------------------------------------------------------------------------------


def test_the_report_shows_where_the_modes_disagree(tmp_path):
    run = replay(request(tmp_path, "write_past", "native", sweep=False, memories=("pool", "exact", "poison")))
    assert [(o.memory, o.kind) for o in run.outcomes if "write_past" in o.solver] == [
        ("pool", Kind.OK), ("exact", Kind.CRASHED if os.name != "nt" else Kind.FINDINGS), ("poison", Kind.FINDINGS)
    ]  # fmt: skip
    assert [o.expected for o in run.outcomes] == [True, False, False, True, True, True]
    text = write_report(run.folder).read_text(encoding="utf-8")
    check_links(parse(text))
    assert "Where the modes disagree: 1 of 2" in text and "past the end of T_WCk" in text
    assert "poison found 1 fault: overwrote 4 bytes past the end of T_WCk" in run.outcomes[2].verdict


def test_the_report_says_that_no_mode_disagrees_and_nothing_of_modes_that_were_not_run(tmp_path):
    run = replay(request(tmp_path, "native", sweep=False, memories=("pool", "poison")))
    assert "No mode disagrees with another: 1 of 1 did the same in plain, poisoned memory." in render(build_page(run))
    one = dataclasses.replace(run, outcomes=run.outcomes[:1])
    assert "Memory modes" not in render(build_page(one)) and "Layout sweeps" not in render(build_page(one))


def test_layouts_asked_for_by_name_are_outcomes_of_the_run(tmp_path):
    run = replay(request(tmp_path, "native", "aligned_load", sweep=False, layouts=("recorded", "shift-4", "shift-4")))
    assert [(o.how, o.kind is Kind.OK) for o in run.outcomes] == [
        ("none", True), ("none@shift-4", True), ("none", True), ("none@shift-4", False)
    ]  # fmt: skip
