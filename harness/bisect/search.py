"""``git bisect`` in a work tree of its own, which holds no file: the user's work tree, index and own bisect are not touched."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from harness.errors import HarnessError
from harness.gitrepo import PACKAGE, GitError, Repository, git

Word = Literal["good", "bad", "skip"]
_NAME = "worktree-"
_FIRST_BAD = re.compile(r"^# first bad commit: \[([0-9a-f]{40,64})\]", re.MULTILINE)
_ONLY_SKIPPED = re.compile(r"^# only skipped commits left to test", re.MULTILINE)
_QUIET = ("-c", f"core.hooksPath={os.devnull}", "-c", "advice.detachedHead=false")


@contextmanager
def worktree(repository: Repository, folder: Path, at: str) -> Iterator[Path]:
    """A work tree below ``folder`` with nothing checked out. Removed at the end, whatever ends it but a kill."""
    remove_worktrees(repository, folder)
    path = folder.resolve() / f"{_NAME}{secrets.token_hex(4)}"
    try:
        with _undisturbed():
            repository.git(*_QUIET, "worktree", "add", "--quiet", "--detach", "--no-checkout", str(path), at)
        yield path
    finally:
        with _undisturbed():
            remove_worktrees(repository, folder)


def remove_worktrees(repository: Repository, folder: Path) -> None:
    """Also those that a killed bisect left behind there."""
    for path in folder.resolve().glob(f"{_NAME}*"):
        with suppress(GitError):  # git does not know it: only the folder is left, or not even that is whole
            repository.git("worktree", "remove", "--force", "--force", str(path))
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until this is done, so that a work tree is never half made or half removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def search(tree: Path, good: str, bad: str, judge: Callable[[str], Word]) -> str | None:
    """The first bad commit that changed the solver, as git finds it by asking ``judge``; None when only skipped ones are left.

    Raises ``HarnessError`` where the question makes no sense, and what ``judge`` raises; then it can be called again.
    """
    git("bisect", "reset", bad, cwd=tree, ok=(0, 1))
    git(*_QUIET, "bisect", "start", "--no-checkout", bad, good, "--", PACKAGE, cwd=tree, ok=(0, 2))
    log = Path(os.fsdecode(git("rev-parse", "--git-path", "BISECT_LOG", cwd=tree).strip()))
    while True:
        said = (tree / log).read_text(encoding="utf-8", errors="replace")
        found = _FIRST_BAD.search(said)
        if found is not None or _ONLY_SKIPPED.search(said):
            return found[1] if found is not None else None
        commit = git("rev-parse", "--verify", "BISECT_HEAD", cwd=tree).decode().strip()
        word = judge(commit)
        try:
            git(*_QUIET, "bisect", word, cwd=tree, ok=(0, 2))
        except GitError as error:
            raise HarnessError(f"{error} (the commit {commit[:12]} was {word})") from error
