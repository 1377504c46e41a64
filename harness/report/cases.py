"""A case as the page shows it: what it is, how each solver did on it, its pictures and its outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness.report.evidence import Section
from harness.report.pictures import case_pictures
from harness.report.text import Anchors, clean
from harness.run import Run

MOST_PICTURES = 80
"""Cases whose pictures a page holds; each is some 20 kB."""


@dataclass(frozen=True)
class CaseRow:
    anchor: str
    id: str
    title: str
    kind: str
    n_points: str
    device: str
    tags: str
    expect: str
    because: str
    sha256: str


@dataclass(frozen=True)
class Pictures:
    """A case's own, folded away until somebody looks."""

    anchor: str
    case: str
    case_href: str
    failed: bool
    html: Markup


@dataclass(frozen=True)
class CaseView:
    """``pictures`` is None where none were drawn. ``outcomes`` are all of the case, in the order of the run."""

    row: CaseRow
    pictures: Pictures | None
    outcomes: tuple[Section, ...]

    @property
    def failed(self) -> bool:
        return any(it.failed for it in self.outcomes)


def case_ids(run: Run) -> list[str]:
    """Every case anything speaks of, in the order of the plan."""
    planned = [case for case, _, _ in run.plan.get("tasks", [])]
    return list(dict.fromkeys([*planned, *(outcome.case for outcome in run.outcomes), *run.cases]))


def draw_pictures(run: Run, anchors: Anchors, hrefs: Mapping[str, str]) -> dict[str, Pictures]:
    """By case; of the cases with a failure first, as many as a page can hold."""
    failed = {outcome.case for outcome in run.outcomes if outcome.expected is False}
    shown = sorted(case_ids(run), key=lambda case: case not in failed)[:MOST_PICTURES]
    made = ((case, case_pictures(run, case)) for case in shown)
    return {
        case: Pictures(anchors.new("pictures", case), clean(case), hrefs[case], case in failed, html) for case, html in made if html
    }


def case_views(
    run: Run, anchors: Mapping[str, str], pictures: Mapping[str, Pictures], sections: Sequence[Section]
) -> tuple[CaseView, ...]:
    """``anchors`` are the cases' own; ``sections`` are those of the run's outcomes, in their order."""
    mine: dict[str, list[Section]] = {}
    for outcome, section in zip(run.outcomes, sections, strict=True):
        mine.setdefault(outcome.case, []).append(section)
    return tuple(
        CaseView(_row(case, anchor, run.cases.get(case, {})), pictures.get(case), tuple(mine.get(case, ())))
        for case, anchor in anchors.items()
    )


def _row(case: str, anchor: str, summary: Mapping[str, Any]) -> CaseRow:
    words = {name: clean(str(summary.get(name) or "")) for name in ("title", "kind", "device", "expect", "because", "sha256")}
    n_points = summary.get("n_points")
    return CaseRow(
        anchor=anchor,
        id=clean(case),
        n_points="\u2013" if n_points is None else str(n_points),
        tags=clean(" ".join(summary.get("tags") or ())),
        **words,
    )
