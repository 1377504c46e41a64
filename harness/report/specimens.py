"""What was seen of specimens, for the page: beside a run that shows them, or as a run of nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ResultError
from harness.report.text import clean, count, shorten
from harness.report.words import MARKS
from harness.run import SPECIMENS, read_object

_JUDGEMENTS = {True: "found as it must be", False: "NOT found as it must be", None: "could not be run here"}
PLANTED = (
    "Planted on purpose: the solvers of this run are specimens, each with a known fault, to show what a fault looks like here. "
    "“As expected” means that the fault was found and named."
)


@dataclass(frozen=True)
class SpecimenRow:
    name: str
    what: str
    cure: str
    how: str
    must: str
    seen: str
    mark: str
    judgement: str
    missed: bool
    verdict: str
    repeat: str


@dataclass(frozen=True)
class Specimens:
    """``planted``: the run consists of specimens. ``pages`` are the reports with all evidence, relative to this one."""

    planted: bool
    pages: tuple[str, ...]
    rows: tuple[SpecimenRow, ...]

    @property
    def missed(self) -> int:
        return sum(row.missed for row in self.rows)

    @property
    def aside(self) -> str:
        """A sentence that a reader must not miss; empty when there is none."""
        if self.planted:
            return PLANTED
        if not self.missed:
            return ""
        missed = count(self.missed, "fault")
        return f"{missed} planted on purpose went unnoticed: what this run calls clean is in doubt. See Specimens."


def read_specimens(run_folder: Path) -> Specimens | None:
    """None for a run without any. Raises ``ResultError`` naming file and field."""
    file = run_folder / SPECIMENS
    if not file.exists():
        return None
    document = read_object(file)
    try:
        pages = tuple(_local(page) for page in document.get("pages", ()))
        return Specimens(document["planted"] is True, pages, tuple(_row(row) for row in document["rows"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(file, "rows", f"{type(error).__name__}: {error}") from None


def _row(row: dict[str, Any]) -> SpecimenRow:
    words = {name: clean(str(row[name])) for name in ("name", "what", "cure", "how", "must", "verdict", "repeat")}
    state = row["state"]
    if state not in MARKS:
        raise ValueError(f"state is {state!r}")
    missed = state is False
    return SpecimenRow(**words, seen=shorten(str(row["seen"]), 300), mark=MARKS[state], judgement=_JUDGEMENTS[state], missed=missed)


def _local(page: str) -> str:
    if page.startswith("/") or ":" in page or "\\" in page or ".." in page.split("/"):
        raise ValueError(f"page is {page!r}")
    return page
