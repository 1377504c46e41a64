"""A report too large for one page: the details of its outcomes on pages of their own, beside the index that leads to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from harness.errors import ResultError
from harness.report.cases import CaseRow
from harness.report.evidence import Section
from harness.report.page import Page

PAGE_BYTES = 3_000_000
"""A page larger than this is split: what a browser opens from disk without a pause, and any bug tracker takes."""

SHEET_BYTES = 1_500_000
"""What a page of details is filled up to."""

INDEX, PREFIX = "index.html", "cases-"
_LINK = re.compile(r'href="#([^"]+)"')
"""A link within the page. Text of a stranger cannot look like one: its quotation marks are escaped."""


@dataclass(frozen=True)
class Group:
    """What a sheet holds of one case; ``first`` where no sheet before it holds any."""

    case: CaseRow
    first: bool
    entries: tuple[Markup, ...]


@dataclass(frozen=True)
class Sheet:
    file: str
    groups: tuple[Group, ...]

    @property
    def title(self) -> str:
        first, last = self.groups[0].case.id, self.groups[-1].case.id
        return first if first == last else f"{first} to {last}"


@dataclass(frozen=True)
class Stub:
    """What the index keeps of an outcome, and the file that has the rest."""

    section: Section
    file: str


@dataclass(frozen=True)
class StubGroup:
    case: CaseRow
    file: str
    pictures: str
    stubs: tuple[Stub, ...]


@dataclass(frozen=True)
class Split:
    sheets: tuple[Sheet, ...]
    groups: tuple[StubGroup, ...]


def split(page: Page, entries: Mapping[str, Markup]) -> Split:
    """``entries`` is the HTML of every outcome and of every case's pictures, by its anchor. Cases stay in their order, pictures
    first; one that is more than a sheet goes on in the next.
    """
    sections: dict[str, list[Section]] = {}
    for section in page.outcomes:
        sections.setdefault(section.case_href, []).append(section)
    pictures = {it.case_href: it.anchor for it in page.pictures}
    cases = tuple(it.row for it in page.cases)
    filled = {f"{PREFIX}{i:04}.html": groups for i, groups in enumerate(_filled(cases, sections, pictures, entries), 1)}
    where = {anchor: file for file, groups in filled.items() for _, _, anchors in groups for anchor in anchors}
    where |= {case.anchor: file for file, groups in filled.items() for case, first, _ in groups if first}
    sheets = [
        Sheet(
            file,
            tuple(
                Group(case, first, tuple(_relinked(entries[it], file, where) for it in anchors)) for case, first, anchors in groups
            ),
        )
        for file, groups in filled.items()
    ]
    stubs = []
    for case in cases:
        own, drawn = sections.get("#" + case.anchor, []), pictures.get("#" + case.anchor, "")
        first = drawn or (own[0].anchor if own else "")
        stubs.append(StubGroup(case, where.get(first, ""), drawn, tuple(Stub(it, where[it.anchor]) for it in own)))
    return Split(tuple(sheets), tuple(stubs))


def _relinked(html: Markup, file: str, where: Mapping[str, str]) -> Markup:
    """Links as they must be on the page ``file``: to an anchor on another page by its name, to what is on none by the index."""

    def leads(match: re.Match[str]) -> str:
        there = where.get(match[1], INDEX)
        return match[0] if there == file else f'href="{there}#{match[1]}"'

    return Markup(_LINK.sub(leads, html))


def _filled(
    cases: tuple[CaseRow, ...], sections: Mapping[str, list[Section]], pictures: Mapping[str, str], entries: Mapping[str, Markup]
) -> Iterator[list[tuple[CaseRow, bool, list[str]]]]:
    """The sheets as lists of (case, whether it begins there, anchors), none larger than it must be."""
    sheet: list[tuple[CaseRow, bool, list[str]]] = []
    size = 0
    for case in cases:
        href = "#" + case.anchor
        first = True
        for anchor in [*filter(None, [pictures.get(href)]), *(it.anchor for it in sections.get(href, ()))]:
            more = len(entries[anchor].encode())
            if sheet and size + more > SHEET_BYTES:
                yield sheet
                sheet, size = [], 0
            if not sheet or sheet[-1][0] is not case:
                sheet.append((case, first, []))
                first = False
            sheet[-1][2].append(anchor)
            size += more
    if sheet:
        yield sheet


def remove_stale(folder: Path, kept: Mapping[str, object]) -> None:
    """Sheets of an earlier report of the same run that this one does not have. Raises ``ResultError`` naming the file."""
    for file in folder.glob(f"{PREFIX}[0-9]*.html"):
        if file.name not in kept:
            try:
                file.unlink()
            except OSError as error:
                raise ResultError(file, "file", f"cannot be removed: {error.strerror or error}") from None
