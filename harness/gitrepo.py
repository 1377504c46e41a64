"""A git repository, asked by the program ``git``: what a revision means, and what stood in it. Reads only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError

PACKAGE = "sim3solve"
"""The folder of a revision that the solver is; it needs nothing else of it."""
_LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE", "GIT_EXTERNAL_DIFF")
_LIMIT_S = 120.0


class GitError(HarnessError):
    """git is missing, or said no; the message is its own."""


@dataclass(frozen=True)
class Commit:
    sha: str
    subject: str
    author: str
    date: str  # ISO 8601
    tree: str | None  # of the solver's folder; None where there was none

    @property
    def short(self) -> str:
        return self.sha[:12]


@dataclass(frozen=True)
class Blob:
    """One file of a tree. ``path`` is as git has it; nobody has yet looked whether it is a safe one."""

    mode: str
    id: str
    path: str


def git(*words: str, cwd: Path | None = None, stdin: bytes = b"", ok: Sequence[int] = (0,), own: bool = True) -> bytes:
    """What git prints. ``own`` leaves out what a hook or ``git bisect run`` around us says of its own. Raises ``GitError``."""
    environment = {key: value for key, value in os.environ.items() if not (own and key in _LOCAL)}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_PAGER": "cat", "GIT_EDITOR": ":"}
    try:
        # In a group of its own: the terminal's Ctrl-C is for us, who know whether git may be ended in the middle.
        done = subprocess.run(
            ["git", *words], cwd=cwd, env=environment, input=stdin, capture_output=True, timeout=_LIMIT_S, start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise GitError("git is not installed, or not on PATH; a solver of a revision needs it") from error
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git {' '.join(words)[:200]}: {error}") from error
    if done.returncode not in ok:
        said = (done.stderr or done.stdout).decode("utf-8", errors="replace").strip()
        raise GitError(f"git {words[0]}: {said[-1000:] or f'exit {done.returncode}'}")
    return done.stdout


@dataclass(frozen=True)
class Repository:
    """``git_dir`` is that of the work tree we are in, so that its HEAD and BISECT_HEAD are meant."""

    git_dir: Path

    @classmethod
    def around(cls, folder: Path) -> Repository:
        """The repository that a folder lies in. Raises ``GitError``."""
        try:
            # What is in the environment counts here: it is how git tells a program it starts where it is.
            found = git("rev-parse", "--absolute-git-dir", cwd=folder, own=False)
        except GitError as error:
            raise GitError(f"{folder.resolve()} is in no git repository: {error}") from error
        return cls(Path(os.fsdecode(found.rstrip(b"\n"))))

    def git(self, *words: str, stdin: bytes = b"", ok: Sequence[int] = (0,)) -> bytes:
        return git(f"--git-dir={self.git_dir}", "--no-replace-objects", *words, stdin=stdin, ok=ok)

    def commit(self, revision: str) -> Commit:
        """Raises ``GitError`` for what names no commit here, also for a name that would be an option."""
        if not revision or revision.startswith("-") or not revision.isprintable():
            raise GitError(f"{revision!r} cannot be a revision")
        found = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", ok=(0, 1, 128))
        sha = found.decode("ascii", errors="replace").strip().splitlines()[-1:]
        if not sha or not _is_id(sha[0]):
            raise GitError(f"{revision}: no commit of that name in {self.git_dir}{self._shallow()}")
        return self.commits(sha)[0]

    def commits(self, shas: Sequence[str]) -> list[Commit]:
        """The facts of commits, in their order."""
        if not shas:
            return []
        words = ["log", "--no-walk=unsorted", "--stdin", "-z", "--no-color", "--encoding=UTF-8", "--format=%H%x1f%an%x1f%aI%x1f%s"]
        text = self.git("-c", "log.showSignature=false", *words, stdin="\n".join(shas).encode() + b"\n")
        facts = {}
        for record in text.decode("utf-8", errors="replace").split("\0"):
            if record:
                sha, author, date, subject = record.split("\x1f", 3)
                facts[sha] = (subject, author, date)
        return [Commit(sha, *facts[sha], tree=self.tree(sha)) for sha in shas]

    def tree(self, sha: str) -> str | None:
        """The id of the solver's folder at a commit."""
        row = self.git("ls-tree", "-d", "-z", "--full-tree", sha, PACKAGE).decode("utf-8", errors="replace")
        return row.partition("\t")[0].split()[2] if row else None

    def files(self, tree: str) -> list[Blob]:
        rows = self.git("ls-tree", "-r", "-z", "--full-tree", tree).split(b"\0")
        blobs = []
        for facts, path in (row.split(b"\t", 1) for row in rows if row):
            mode, _, id = facts.decode().split()
            blobs.append(Blob(mode, id, os.fsdecode(path)))
        return blobs

    def contents(self, ids: Sequence[str]) -> list[bytes]:
        """The bytes of blobs as they were committed: no line ends changed, nothing filled in."""
        stream = self.git("cat-file", "--batch", stdin="\n".join(ids).encode() + b"\n")
        found, at = [], 0
        for id in ids:
            end = stream.index(b"\n", at)
            header = stream[at:end].split()
            if len(header) != 3 or header[1] != b"blob":
                raise GitError(f"{id}: {stream[at:end].decode(errors='replace')}{self._shallow()}")
            at = end + 1 + int(header[2])
            found.append(stream[end + 1 : at])
            at += 1
        return found

    def changes_between(self, good: str, bad: str) -> dict[str, tuple[str, ...]]:
        """The commits that changed the solver from good to bad, oldest first, each with its parents among such commits."""
        words = ["rev-list", "--topo-order", "--reverse", "--parents", bad, f"^{good}", "--", PACKAGE]
        rows = [row.split() for row in self.git(*words).decode().splitlines()]
        return {row[0]: tuple(row[1:]) for row in rows}

    def diff(self, sha: str) -> str:
        """What a commit changed of the solver, against its first parent."""
        words = [
            "diff-tree",
            "-p",
            "--root",
            "-m",
            "--first-parent",
            "--no-commit-id",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
        ]
        return self.git(*words, sha, "--", PACKAGE).decode("utf-8", errors="replace")

    def _shallow(self) -> str:
        shallow = self.git("rev-parse", "--is-shallow-repository", ok=(0, 128)).strip() == b"true"
        return "; this clone is shallow: git fetch --unshallow brings its history" if shallow else ""


def _is_id(text: str) -> bool:
    return len(text) in (40, 64) and all(c in "0123456789abcdef" for c in text)
