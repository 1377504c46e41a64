"""A bundle: nobody is named in any of its files, it opens as a case, and it reproduces on another machine's folder."""

from __future__ import annotations

import html
import json
import os
import shlex
import shutil
import subprocess
import sys
import urllib.parse
import zipfile
from pathlib import Path

import pytest
from case_factory import PROVENANCE

from harness.casefile import read_case, write_case
from harness.casepack import unpack_case
from harness.doctor.privacy import Identity
from harness.errors import CaseError, ResultError, UsageError
from harness.forms.bundle import bundle
from harness.forms.readme import Repeat, needs, readme
from harness.forms.scrub import Scrubber
from harness.run import read_run

ROOT = Path(__file__).parents[1]
NEEDLES = ("alice", "brown", "desk-7q", "acme", "rocket", "tok-", "hunter2", "00:1a:2b", "10.20.30.40", "fe80::", "corp.example")
TOKEN = 'tok-"\\x/9f81'
WINDOWS = r"C:\Users\Alice Brown\acme rocket\main.py"
LEAK = "\n".join(
    [
        "/home/alice.brown/acme-rocket/main.py", WINDOWS, json.dumps(WINDOWS), json.dumps(json.dumps(WINDOWS)), TOKEN,
        json.dumps(TOKEN), "C%3A%5CUsers%5CAlice%20Brown%5Cacme%20rocket", "alice.brown@corp.example",
        "file:///C:/Users/Alice%20Brown/acme%20rocket/x", "00:1A:2B:3C:4D:5E 10.20.30.40 fe80::1ff:fe23:4567:890a",
        "password=hunter2", "host DESK-7Q", "/data/acme-rocket/x/y.bin",
    ]
).encode() + b"\xff\xfe\x00\x80 " + "alice.brown".encode("utf-16-le") + b"\n"  # fmt: skip
pytestmark = pytest.mark.skipif(os.name == "nt", reason="plants HOME and a POSIX path")


def harness(*words: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
    environ = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(
        [sys.executable, "-m", "harness", *words], cwd=cwd, env=environ, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home folder of somebody, with a secret project in it: a case that names it everywhere, and a solver."""
    project = tmp_path_factory.mktemp("machine") / "home" / "alice.brown" / "acme-rocket"
    case = read_case(ROOT / "cases" / "degenerate-n-33")
    said = f"python {project}/main.py"
    told = {"event": "raised", "exception": f'Traceback\n  File "{project}/main.py", line 3, in f\nRuntimeError: {TOKEN}'}
    told |= {
        "stack": f'Current thread 0x1:\n  File "{project}/main.py", line 3 in f',
        "tracker": f"{project}/mast3r_slam/tracker.py",
    }
    fields = {
        "id": "crash-of-alice", "title": f"{project} on desk-7q", "tags": ("alice",), "generator": None,
        "provenance": PROVENANCE.model_copy(update={"source": said, "versions": {"tracker": WINDOWS}}),
        "recorded": case.document.recorded.model_copy(update=told),
    }  # fmt: skip
    changed = case.document.model_copy(update=fields)
    write_case(type(case)(changed, case.values), project / "crash-of-alice")
    shutil.copy(ROOT / "tests" / "leaky_solver.py", project / "my_solver.py")
    (project / "leak").write_bytes(LEAK)
    return project


@pytest.fixture(scope="module")
def machine(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home.parent),
        "USER": "alice.brown",
        "HOSTNAME": "desk-7q",
        "DEPLOY_TOKEN": TOKEN,
        "LEAK": str(home / "leak"),
    }


@pytest.fixture(scope="module")
def run(home: Path, machine: dict[str, str]) -> Path:
    words = (
        "replay",
        "crash-of-alice",
        "--solver",
        f"{home}/my_solver.py:make",
        "--solver",
        "torch",
        "--memory",
        "exact",
        "--timeout",
        "20",
    )
    done = harness(*words, cwd=home, **machine)
    assert done.returncode == 1, done.stderr
    return (home / "reports" / "latest").resolve()


@pytest.fixture(scope="module")
def crash(run: Path, home: Path, machine: dict[str, str]) -> Path:
    """The bundle, with the doctor's word and the solver's file."""
    done = harness("bundle", str(run), "-o", "crash.zip", "--solver-file", "--json", cwd=home, **machine)
    assert done.returncode == 0, done.stderr
    (home / "said.json").write_text(done.stdout)
    return home / "crash.zip"


def plain(data: bytes) -> str:
    """With every escape undone that a reader could undo."""
    text = data.decode("utf-8", "replace").replace("\0", "")
    for _ in range(3):
        text = urllib.parse.unquote(html.unescape(text)).replace("\\\\", "\\").replace('\\"', '"').replace("\\u0000", "")
    return text.lower().replace("\\x00", "")


def test_nobody_is_named_in_any_file(crash, run):
    leaked = plain(b"".join(file.read_bytes() for file in (run / "outcomes").iterdir()))
    assert all(needle in leaked for needle in NEEDLES)  # the run has them all
    with zipfile.ZipFile(crash) as archive:
        names = archive.namelist()
        for name in names:
            text = plain(archive.read(name)) + name.lower()
            assert [needle for needle in NEEDLES if needle in text] == [], name
        assert (
            names[0] == "README.txt" and "crash-of-user/case.json" in names and "my_solver.py" in names and "doctor.json" in names
        )
        assert b"<path>/main.py" in archive.read("outcome.json") and b"<secret>" in archive.read("outcome.json")
        recorded = json.loads(archive.read("crash-of-user/case.json"))["recorded"]
        assert "main.py" in recorded["stack"] and recorded["tracker"].endswith("tracker.py")  # scrubbed, not taken out
        assert b"The recorded call of crash-of-user raised RuntimeError" in archive.read("report.html")


def test_it_says_what_it_holds_before_it_is_sent(crash, home):
    said = json.loads((home / "said.json").read_text())
    with zipfile.ZipFile(crash) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        readme = archive.read("README.txt").decode()
    assert {it["name"]: it["bytes"] for it in said["contents"]} == sizes
    assert all(name in readme for name in sizes if name != "README.txt")
    kinds = {"path", "home folder", "user name", "host name", "secret", "MAC address", "IP address", "e-mail address"}
    assert {kind for kind in kinds if said["taken_out"].get(kind)} >= kinds - {"home folder"}
    assert "\r\n" in readme and said["repeat"]["posix"] in readme and said["repeat"]["powershell"] in readme
    assert "Expand-Archive crash.zip" in readme and "CRASHED" in readme


def test_the_values_are_untouched_and_the_case_opens(crash, home, tmp_path):
    folder = unpack_case(crash, tmp_path)
    assert folder.name == "crash-of-user"
    before, after = read_case(home / "crash-of-alice"), read_case(folder)
    assert (folder / "tensors.safetensors").read_bytes() == (home / "crash-of-alice" / "tensors.safetensors").read_bytes()
    same = {"id", "title", "tags", "provenance", "recorded"}
    assert after.document.model_dump(exclude=same) == before.document.model_dump(exclude=same)
    assert "<path>/main.py" in after.document.recorded.exception
    assert harness("case", "unpack", str(crash), "--into", str(tmp_path / "again")).returncode == 0


def test_it_reproduces_in_another_folder(crash, run, tmp_path):
    """The README's own command, somewhere else, without any of the first machine's variables."""
    with zipfile.ZipFile(crash) as archive:
        archive.extractall(tmp_path / "elsewhere")
        command = archive.read("README.txt").decode().partition("Linux, macOS:")[2].splitlines()[3].strip()
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "harness", "replay"]
    assert words[4:] == ["crash-of-user", "--solver", "my_solver.py:make", "--memory", "exact", "--timeout", "20"]
    done = harness(*words[3:], "--json", cwd=tmp_path / "elsewhere", HOME=str(tmp_path))
    assert done.returncode == 1, done.stderr
    bug = json.loads(harness("diagnose", str(tmp_path / "elsewhere" / "reports" / "latest"), "--json").stdout)["bugs"][0]
    with zipfile.ZipFile(crash) as archive:
        first = json.loads(archive.read("outcome.json"))
    assert json.loads(done.stdout)["outcomes"][0]["outcome"] == first["outcome"] == "CRASHED"
    assert bug["signature"] == first["signature"] != ""


def test_the_same_bytes_again_and_nothing_is_overwritten(crash, run, home, machine):
    done = harness("bundle", str(run), "-o", "again/crash.zip", "--solver-file", cwd=home, **machine)
    assert done.returncode == 0 and "not sent to anybody" in done.stdout
    assert (home / "again" / "crash.zip").read_bytes() == crash.read_bytes()
    before = crash.read_bytes()
    refused = harness("bundle", str(run), "-o", "crash.zip", cwd=home, **machine)
    assert refused.returncode == 2 and "exists already" in refused.stderr and crash.read_bytes() == before
    assert [file.name for file in home.iterdir() if file.name.startswith(".")] == []


def scrubber() -> Scrubber:
    return Scrubber(Identity((), (), ()), {})


def an_outcome(run: Path, solver: str) -> Path:
    return next(file for file in sorted((run / "outcomes").glob("*.json")) if solver in file.name)


def test_the_outcome_that_is_asked_for(run, tmp_path):
    made = bundle(
        an_outcome(run, "torch"), tmp_path / "x.zip", case=run.parents[1] / "crash-of-alice", doctor=False, scrubber=scrubber()
    )
    assert made.outcome.solver == "torch" and made.other_failures == 2  # the solver's crash, and what was recorded
    assert made.repeat.words[6] == "torch"


def test_the_words_say_what_has_to_be_asked_for_and_that_a_pose_is_wrong():
    mine = Repeat(("python", "-m", "harness", "replay", "a-case", "--solver", "mine.py:make"))
    assert needs(mine, has_solver=False) == [
        "The solver is a file that is not in here: ask for mine.py (harness bundle --solver-file adds it)."
    ]
    assert needs(mine, has_solver=True) == []
    outcome = {"outcome": "OK", "expected": False, "signature": "parity | mine"}
    for expected, word in ((False, "OK, the pose wrong,"), (True, "OK")):
        text = readme(outcome | {"expected": expected}, mine, (), {}, "crash.zip", has_solver=False)
        assert f"It is repeated when the outcome is {word} with the signature" in text and needs(mine, has_solver=False)[0] in text


def test_a_smaller_case_takes_the_place_of_the_recorded_one(run, tmp_path):
    """A case folder, or the folder that harness minimize wrote."""
    (tmp_path / "small").mkdir()
    shutil.copytree(ROOT / "cases" / "degenerate-n-31", tmp_path / "small" / "degenerate-n-31")
    (tmp_path / "small" / "minimize.json").write_text('{"case": "degenerate-n-31", "rows": []}')
    for number, case in enumerate((ROOT / "cases" / "degenerate-n-31", tmp_path / "small")):
        made = bundle(run, tmp_path / f"{number}.zip", case=case, doctor=False, scrubber=scrubber())
        assert (
            made.repeat.words[4] == "degenerate-n-31"
            and unpack_case(made.archive, tmp_path / str(number)).name == "degenerate-n-31"
        )
    (tmp_path / "small" / "minimize.json").write_text('{"case": null}')
    with pytest.raises(UsageError, match="nothing smaller"):
        bundle(run, tmp_path / "no.zip", case=tmp_path / "small", doctor=False)


def test_what_cannot_be_bundled(run, tmp_path):
    healthy = tmp_path / "runs"
    assert harness("replay", "cases/degenerate-n-33", "--solver", "torch", "--out", str(healthy)).returncode == 0
    with pytest.raises(UsageError, match="nothing failed"):
        bundle(healthy / "latest", tmp_path / "a.zip")
    with pytest.raises(UsageError, match="give it with --case"):  # its path was relative to the folder it was run in
        bundle(run, tmp_path / "a.zip", doctor=False)
    with pytest.raises(UsageError, match="--solver-file"):
        case = run.parents[1] / "crash-of-alice"
        bundle(an_outcome(run, "torch"), tmp_path / "a.zip", case=case, solver_file=True, doctor=False)
    with pytest.raises(ResultError, match=r"run\.json"):
        bundle(tmp_path, tmp_path / "a.zip")
    with pytest.raises(UsageError, match=r"nope\.json: there is no such run"):
        bundle(run / "outcomes" / "nope.json", tmp_path / "a.zip")
    with pytest.raises(CaseError, match=r"case\.json"):
        bundle(run, tmp_path / "a.zip", case=tmp_path, doctor=False)
    other = shutil.copytree(healthy / "latest", tmp_path / "other")
    document = json.loads((other / "run.json").read_text())
    document["cases"]["degenerate-n-33"]["sha256"] = "0" * 64
    document["cases"]["degenerate-n-33"]["path"] = str(ROOT / "cases" / "degenerate-n-33")
    (other / "run.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="not the case that was run"):
        bundle(an_outcome(other, "torch"), tmp_path / "a.zip", doctor=False)
    assert not (tmp_path / "a.zip").exists()


def test_the_command_is_made_of_fields_never_of_a_stranger_s_words(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    file = an_outcome(copy, "my_solver")
    document = json.loads(file.read_text()) | {"repeat": "rm -rf ~", "layout": "shift-4'; calc"}
    file.write_text(json.dumps(document))
    plan = json.loads((copy / "run.json").read_text())
    plan["plan"]["tasks"] = []
    (copy / "run.json").write_text(json.dumps(plan))
    made = bundle(file, tmp_path / "a.zip", case=run.parents[1] / "crash-of-alice", doctor=False, scrubber=scrubber())
    assert "rm" not in made.repeat.posix and "'shift-4''; calc'" in made.repeat.powershell
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert b"rm -rf" not in b"".join(archive.read(name) for name in archive.namelist())
    assert read_run(copy).outcomes
