"""``native@REV``: what a name means, its sources in the cache, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from solver_history import CRASH, ROOT, write_history

from harness import registry, revision
from harness.errors import HarnessError, UsageError
from harness.gitrepo import Repository, git
from sim3solve import build


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("history") / "repository"
    return folder, write_history(folder, {3: CRASH}, n=6)


@pytest.fixture(autouse=True)
def here(history, tmp_path, monkeypatch):
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.chdir(history[0])


def entry_of(found: revision.Revision) -> dict[str, bytes]:
    package = found.folder / "sim3solve"
    return {file.relative_to(package).as_posix(): file.read_bytes() for file in package.rglob("*") if file.is_file()}


def test_every_word_for_a_commit_is_one_solver_named_by_its_id(history):
    sha = history[1][2]
    names = {registry.resolve(f"native@{word}") for word in (sha, sha[:10], "main~3", "main^{/Edit 2}")}
    assert {spec.name for spec in names} == {f"native@{sha[:12]}"} and len(names) == 1
    spec = names.pop()
    assert sha in spec.summary and "Edit 2" in spec.summary
    assert spec.base == "native" and not spec.uses_torch
    assert registry.resolve(f"torch@{sha}").uses_torch


def test_the_sources_are_those_of_the_commit_to_the_byte(history):
    found = revision.find(f"native@{history[1][3]}")
    listed = git("ls-tree", "-r", "--name-only", f"{history[1][3]}:sim3solve", cwd=history[0]).decode().split()
    assert sorted(entry_of(found)) == sorted(listed)
    for path, data in entry_of(found).items():
        assert data == git("cat-file", "blob", f"{history[1][3]}:sim3solve/{path}", cwd=history[0]), path
    assert b"string_at(0)" in entry_of(found)["native.py"]
    assert b"string_at(0)" not in entry_of(revision.find(f"native@{history[1][2]}"))["native.py"]


def test_line_ends_are_not_changed_by_settings(history):
    before = entry_of(revision.find("native@main"))
    git("config", "core.autocrlf", "true", cwd=history[0])
    attributes = history[0] / ".git" / "info" / "attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("* text eol=crlf export-ignore\n")
    try:
        revision.shutil.rmtree(build.cache_folder())
        assert entry_of(revision.find("native@main")) == before
    finally:
        git("config", "--unset", "core.autocrlf", cwd=history[0])
        attributes.unlink()


def test_work_tree_and_index_are_left_alone(tmp_path, monkeypatch):
    shas = write_history(tmp_path / "mine", {}, n=3)
    git("reset", "--quiet", "--hard", "main", cwd=tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("not committed")
    (tmp_path / "mine" / "sim3solve" / "native.py").write_text("my work")
    git("add", "notes.txt", cwd=tmp_path / "mine")
    before = [(tmp_path / "mine" / ".git" / "index").read_bytes(), git("status", "--porcelain", cwd=tmp_path / "mine")]
    monkeypatch.chdir(tmp_path / "mine")
    revision.find(f"native@{shas[0]}")
    assert [(tmp_path / "mine" / ".git" / "index").read_bytes(), git("status", "--porcelain", cwd=tmp_path / "mine")] == before
    assert Path("sim3solve/native.py").read_text() == "my work"


def test_commits_with_the_same_solver_share_an_entry(history):
    a, b = (revision.find(f"native@{history[1][k]}") for k in (3, 4))  # the fifth touches only what is outside
    assert a.folder == b.folder and a.name != b.name


@pytest.mark.parametrize("name", ["native@--output=x", "native@-1", "native@", "native@main\n", "native@a\0b"])
def test_a_hostile_name_is_refused_before_git_sees_it(name, monkeypatch):
    monkeypatch.setattr(Repository, "git", lambda *words, **more: pytest.fail("git was asked"))
    with pytest.raises(UsageError, match="cannot be a revision"):
        registry.resolve(name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("native@nowhere", "nowhere: no commit of that name"),
        ("native@" + "0" * 40, "no commit of that name"),
        ("native@main:notes.txt", "no commit of that name"),
        ("reference@main", "unknown"),
        ("native@./nowhere", "is no checkout with that solver, it has no sim3solve/native.py"),
    ],
)
def test_what_is_no_revision_says_so(name, says):
    with pytest.raises(UsageError, match=says):
        registry.resolve(name)


def test_outside_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is in no git repository"):
        registry.resolve("native@main")


def test_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="git is not installed"):
        registry.resolve("native@main")


def test_a_revision_without_the_solver(history, tmp_path, monkeypatch):
    folder = tmp_path / "bare"
    folder.mkdir()
    git("init", "--quiet", cwd=folder)
    stream = b"commit refs/heads/empty\ncommitter A <a@b> 1 +0000\ndata 5\nEmpty\n\n"
    stream += b"commit refs/heads/early\ncommitter A <a@b> 1 +0000\ndata 5\nEarly\nM 100644 inline sim3solve/pytorch.py\ndata 0\n\n"
    stream += (
        b"commit refs/heads/link\ncommitter A <a@b> 1 +0000\ndata 4\nLink\nM 120000 inline sim3solve/native.py\ndata 4\n/etc\n"
    )
    stream += (
        b'commit refs/heads/out\ncommitter A <a@b> 1 +0000\ndata 3\nOut\nM 100644 inline "sim3solve/..\\\\native.py"\ndata 0\n\n'
    )
    git("fast-import", "--quiet", cwd=folder, stdin=stream)
    monkeypatch.chdir(folder)
    for branch, says in (
        ("empty", "no folder sim3solve: Empty"), ("early", "no sim3solve/native.py: Early"), ("link", "is a link"),
        ("out", "is no name for a file"),
    ):  # fmt: skip
        with pytest.raises(revision.NoSuchSolver, match=says):
            registry.resolve(f"native@{branch}")


def test_a_shallow_clone_says_what_to_do(history, tmp_path, monkeypatch):
    git("clone", "--quiet", "--depth=1", f"file://{history[0].as_posix()}", str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    with pytest.raises(UsageError, match="git fetch --unshallow"):
        registry.resolve(f"native@{history[1][0]}")


@pytest.mark.parametrize("damage", ["changed", "cut", "more", "less"])
def test_a_damaged_entry_is_written_again(damage):
    found = revision.find("native@main")
    whole = entry_of(found)
    file = found.folder / "sim3solve" / "native.py"
    match damage:
        case "changed":
            file.write_bytes(file.read_bytes().replace(b"float32", b"float64"))
        case "cut":
            file.write_bytes(file.read_bytes()[:100])
        case "more":
            file.with_name("numpy.py").write_bytes(b"")
        case "less":
            file.unlink()
    assert entry_of(revision.find("native@main")) == whole
    assert [path.name for path in found.folder.parent.iterdir()] == [found.folder.name]


def test_many_processes_at_once_make_one_entry(history):
    program = "import sys; from harness import revision; print(revision.find('native@main').folder)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([sys.executable, "-c", program], cwd=history[0], env=environment, stdout=subprocess.PIPE) for _ in range(4)
    ]
    said = {process.communicate()[0] for process in started}
    assert [process.returncode for process in started] == [0] * 4 and len(said) == 1
    assert len(list((build.cache_folder() / "sources").iterdir())) == 1


def test_a_cache_that_cannot_be_written_says_which_variable_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(HarnessError, match="SIM3SOLVE_CACHE"):
        revision.find("native@main")


def test_the_fingerprint_is_that_of_the_sources(history, tmp_path):
    one, same, other = (registry.resolve(f"native@{history[1][k]}").fingerprint() for k in (3, 4, 2))
    assert one == same != other
    git("clone", "--quiet", str(history[0]), str(tmp_path / "checkout"))
    folder = registry.resolve(f"native@{tmp_path / 'checkout'}").fingerprint()
    with open(tmp_path / "checkout" / "sim3solve" / "native.py", "a") as file:
        file.write("# my work\n")
    assert registry.resolve(f"native@{tmp_path / 'checkout'}").fingerprint() != folder


def test_inside_of_git_bisect_run_it_is_the_repository_we_are_in(history, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(history[0] / ".git"))
    monkeypatch.chdir("/")
    assert revision.find("native@main").commit.sha == history[1][-1]
