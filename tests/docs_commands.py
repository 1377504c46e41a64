"""The commands of README.md and docs/*.md: where they stand, what stands in for what a reader puts in, and which are not run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WINDOWS = "windows.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SUBSTITUTIONS: tuple[tuple[str, str, str], ...] = (
    (r"^(?:py(?: -3)?|\.venv/Scripts/python)(?= )", "python", "Windows' names of Python"),
    (r"C:/src/MASt3R-SLAM|(?<=mast3r-slam:)PATH\b", "checkout", "a checkout of the tests' own, whose tracker dies of SIGSEGV"),
    (r"main\.py (?:--dataset \S+|\.\.\.)", "main.py", "a small program that tracks one frame with that tracker"),
    (r"\bCASE\b|\bmy-crash\b|\bwrong-pose\b", "cases/degenerate-n-33", "a shipped case"),
    (r"reports/(?:RUN_A|RUN_B|RUN)\b", "reports/made", "a run that is made once"),
    (r"(?<![\w/])solver\.py:make", "my_solver.py:make", "the page's own block that defines make(), else one that dies"),
    (r"\bSEQUENCE\b", "sequence", "a small sequence in TUM's format"),
    (r'"[^"]+\.o(?:bj)?"|\S+\.(?:o|obj|so|pyd)\b', "EXTENSION", "a compiled module of NumPy"),
    (r"(?<=--torch )\S+", "TORCH", "the torch that is installed"),
    (r"(?<=bundle )reports/latest", "reports/made", "a run with a failure"),
    (r"[A-Z]:/runs", "runs", "a folder"),
    (r"--size 512x384", "--size 32x24", "a smaller picture"),
)
"""(pattern, what is run in its place, what that is). ``cases`` holds four of the shipped ones."""

NOT_RUN: tuple[tuple[str, str], ...] = (
    (r"^make repro|harness repro\b", "takes minutes; the tests of repro run its parts"),
    (r"^make |pytest tests|tests/lint\.py", "takes minutes; CI runs it"),
    (r"-m pip |^pip |-m venv|^git clone|^git -C", "needs a network, and changes the environment"),
    (r"benchmarks/", "takes minutes"),
    (r"harness doctor --", "as harness doctor, which is run"),
    (r"harness probe\b", "takes minutes, or needs lietorch, which is built from source"),
    (r"--tool (?:asan|ubsan)", "compiles the kernels with sanitizers: half a minute"),
    (r"harness fuzz\b", "runs solvers by the thousand: minutes; the tests of the fuzzer run it"),
    (r"harness bisect\b|@v\d|@HEAD|native@\.|--(?:good|bad) ", "needs a repository with revisions; the tests of bisecting run it"),
    (r"git bisect", "needs a repository with revisions; the tests of bisecting run it"),
    (r"op-sim3|minimize \S+ --solver lietorch", "needs lietorch, which is built from source"),
    (r"--probe probe\.json", "reads what the probe of lietorch wrote"),
    (r"^powershell |^reg |^\$env:", "for Windows; test_docs_windows.py reads it"),
    (r"dask", "needs a cluster; the tests of the executors start one"),
    (r"tests/specimens/", "compiles, and some need a GPU; the tests of the specimens run them"),
)
"""(pattern, reason). These are only checked: verb and options exist, files and targets are there."""

PROGRAMS = ("python", "py", "harness", "pytest", "pip", "make", "git", "unzip", "dask", ".venv\\Scripts\\python")
_START = re.compile(rf"(?:[A-Z_][A-Z0-9_]*=(?:'[^']*'|\S+) +)*(?:{'|'.join(map(re.escape, PROGRAMS))})(?: |$)")
_SHELLS = ("sh", "bash", "shell", "console", "powershell")
_COMMENT = re.compile(r"(?:^|\s+)#(?: .*|)$")


@dataclass(frozen=True)
class Command:
    """One command as a page has it (``text``) and as it is run (``run``); ``not_run`` is the reason where it is only checked."""

    page: str
    line: int
    text: str
    run: str
    not_run: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def blocks(page: Path) -> Iterator[tuple[str, int, list[str]]]:
    """(language, number of the first line, lines) of every fenced block."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            if start is None:
                start, language = number, line.strip().strip("`")
            else:
                yield language, start + 1, lines[start : number - 1]
                start = None
    assert start is None, f"{page}:{start}: the block has no end"


def commands(page: Path) -> list[Command]:
    """The commands of a page in order. An unlabelled block is a shell's when its first line begins with a program's name."""
    found = []
    for language, first, lines in blocks(page):
        if language in _SHELLS or (language == "" and lines and _START.match(lines[0].lstrip())):
            for number, line in enumerate(lines, first):
                for text in _split(line):
                    found.append(_command(page.name, number, text))
    return found


def python_blocks(page: Path) -> list[str]:
    return ["\n".join(lines) + "\n" for language, _, lines in blocks(page) if language == "python"]


def inline(page: Path) -> list[Command]:
    """Whole ``harness`` commands within sentences; a command with an ellipsis names only its verb and options."""
    prose = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [
        _command(page.name, prose.count("\n", 0, span.start()) + 1, " ".join(span[1].split()))
        for span in re.finditer(r"`((?:python -m )?harness [a-z][^`]*)`", prose)
    ]


def _split(line: str) -> list[str]:
    """A line without its comment; PowerShell's several commands on one line; a line that goes on is not allowed."""
    assert not line.rstrip().endswith(("\\", "`")), f"a command must stand on one line: {line}"
    text = _COMMENT.sub("", line).strip()
    return [part.strip() for part in text.split(";")] if "Scripts\\" in text else [text] if text else []


def _command(page: str, line: int, text: str) -> Command:
    run = text.replace("\\", "/")
    for pattern, replacement, _ in SUBSTITUTIONS:
        run = re.sub(pattern, replacement, run)
    reasons = [reason for pattern, reason in NOT_RUN if re.search(pattern, text.replace("\\", "/"))]
    reason = "for Windows; test_docs_windows.py reads the page" if page == WINDOWS else next(iter(reasons), "")
    return Command(page, line, text, run, reason)
