"""What a bisect found, as a section of the HTML report of the run that replays both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.bisect import document as documents
from harness.bisect.document import Bisected, Tested

BISECT_CSS = (
    ".diff { overflow-x: auto; } .diff span { display: block; min-height: 1.2em; white-space: pre; } "
    ".diff .plus { color: var(--good); } .diff .minus { color: var(--bad); } .diff .hunk { color: var(--muted); }"
)
_LONGEST_DIFF_LINES = 2000


@dataclass(frozen=True)
class _Row:
    test: Tested
    mark: str
    chance: float | None
    fits: bool


def bisect_section(run_folder: Path) -> str:
    """HTML of one ``<section>``, safe in any page; empty where the run is of no bisect.

    Raises ``ResultError`` where its ``bisect.json`` cannot be read.
    """
    if not (run_folder / documents.FILE).exists():
        return ""
    found = documents.read(run_folder)
    environment = Environment(
        loader=PackageLoader("harness.bisect"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["clean"] = _clean
    lines = found.diff.splitlines()
    return environment.get_template("bisect.html.j2").render(
        it=found, rows=_rows(found), diff=[(_kind(line), line) for line in lines[:_LONGEST_DIFF_LINES]],
        cut=found.diff_cut or len(lines) > _LONGEST_DIFF_LINES, sure=_sure(sum(one.probability for one in found.suspects)),
    )  # fmt: skip


def _rows(found: Bisected) -> list[_Row]:
    chance = {one.sha: one.probability for one in found.suspects}
    marks = {"good": "✓", "bad": "✗", "skipped": "?"}
    return [_Row(test, marks[test.verdict], chance.get(test.sha), test.sha not in found.against) for test in found.tested]


def _kind(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ", "@@")):
        return "hunk"
    return {"+": "plus", "-": "minus"}.get(line[:1], "same")


def _sure(probability: float) -> str:
    return "over 99.99 %" if probability > 0.9999 else f"{100 * probability:.4g} %"


def _clean(text: str) -> str:
    """Text of a repository, in which nothing hides: no control characters, no marks that turn its direction round."""
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)
