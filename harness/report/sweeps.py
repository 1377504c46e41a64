"""The layout sweeps of a run: for each what it came to, and for those that found a fault a grid of layouts and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.outcome import Outcome, how
from harness.relayout import LAYOUTS
from harness.report.text import Anchors, clean
from harness.sweep.files import has_fault, read_sweeps

MAX_GRIDS = 24
SECTION = "sweeps"

Key = tuple[str, str, str]


@dataclass(frozen=True)
class SweepCell:
    mark: str
    words: str
    style: str
    repeat: str


@dataclass(frozen=True)
class SweepRow:
    layout: str
    all: SweepCell | None
    tensors: tuple[SweepCell | None, ...]


@dataclass(frozen=True)
class SweepGrid:
    """``base`` is the healthy layout of the other tensors where one alone is moved; ``more`` are (layout, cell, is a test)."""

    anchor: str
    title: str
    rule: str
    base: str
    tensors: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    more: tuple[tuple[str, SweepCell, bool], ...]


@dataclass(frozen=True)
class Sweeps:
    """``rest`` is (rule, sweeps it is true of) for those without a fault; ``hrefs`` maps (case, solver, tool) to a grid's link."""

    grids: tuple[SweepGrid, ...]
    left_out: int
    rest: tuple[tuple[str, tuple[str, ...]], ...]
    hrefs: Mapping[Key, str]

    def href(self, outcome: Outcome) -> str:
        """Where an outcome in another layout is shown."""
        return self.hrefs.get((outcome.case, outcome.solver, how(outcome.tool, outcome.memory)), f"#{SECTION}")


def build_sweeps(folder: Path, anchors: Anchors) -> Sweeps | None:
    """None for a run without a sweep. Raises ``ResultError`` when one cannot be read."""
    sweeps = read_sweeps(folder)
    if not sweeps:
        return None
    faulty = [sweep for sweep in sweeps if has_fault(sweep)]
    rest: dict[str, list[str]] = {}
    for sweep in sweeps:
        if not has_fault(sweep):
            rest.setdefault(clean(sweep["rule"]), []).append(_title(sweep))
    shown = faulty[:MAX_GRIDS]
    anchor_of = {_key(sweep): anchors.new("sweep", *_key(sweep)) for sweep in shown}
    grids = tuple(_grid(sweep, anchor_of[_key(sweep)]) for sweep in shown)
    healthy = tuple((rule, tuple(titles)) for rule, titles in rest.items())
    return Sweeps(grids, len(faulty) - len(shown), healthy, {key: f"#{anchor}" for key, anchor in anchor_of.items()})


def _key(sweep: dict[str, Any]) -> Key:
    return sweep["case"], sweep["solver"], sweep["tool"]


def _title(sweep: dict[str, Any]) -> str:
    how = "" if sweep["tool"] == "none" else f" \u00d7 {sweep['tool']}"
    return clean(f"{sweep['case']} \u00d7 {sweep['solver']}{how}")


def _grid(sweep: dict[str, Any], anchor: str) -> SweepGrid:
    entries = {str(entry["layout"]): entry for entry in sweep["layouts"]}
    tensors = list(dict.fromkeys(name for entry in sweep["layouts"] for name in entry["tensors"]))
    base = next((layout.split(",")[0] for layout in entries if "," in layout), "")
    rows, shown = [], set()
    for variant in LAYOUTS:
        alone = [f"{base},{name}={variant}" for name in tensors]
        shown |= {variant, *alone}
        rows.append(SweepRow(variant, _at(entries, variant), tuple(_at(entries, layout) for layout in alone)))
    more = tuple(
        (clean(layout.removeprefix(f"{base},")), _cell(entry), layout in sweep["tests"])
        for layout, entry in entries.items()
        if layout not in shown
    )
    return SweepGrid(anchor, _title(sweep), clean(sweep["rule"]), clean(base), _names(tensors), tuple(rows), more)


def _names(tensors: Sequence[str]) -> tuple[str, ...]:
    return tuple(clean(name) for name in tensors)


def _at(entries: dict[str, dict[str, Any]], layout: str) -> SweepCell | None:
    return _cell(entries[layout]) if layout in entries else None


def _cell(entry: dict[str, Any]) -> SweepCell:
    mark = {True: "\u2717", False: "\u2713", None: "\u2013"}[entry["faulted"]]
    wrong = entry["faulted"] and entry["outcome"] in ("OK", "SOLVER_STATUS")
    style = "k-wrong" if wrong else "k-" + clean(entry["outcome"]).lower().replace("_", "-")
    return SweepCell(mark, clean(entry["signature"]), style, clean(entry["repeat"]))
